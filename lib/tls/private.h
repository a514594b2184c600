/* SPDX-License-Identifier: Apache-2.0 */
/* private.h - what the files of lib/tls share: PEM in and out, and the note a failed verification leaves */
#ifndef PEERPOD_TLS_PRIVATE_H
#define PEERPOD_TLS_PRIVATE_H

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include "base/cleanup.h"
#include "tls/tls.h"

DEFINE_CLEANUP(BIO, BIO_free)
DEFINE_CLEANUP(X509, X509_free)
DEFINE_CLEANUP(EVP_PKEY, EVP_PKEY_free)
DEFINE_CLEANUP(SSL_CTX, SSL_CTX_free)
DEFINE_CLEANUP(SSL, SSL_free)

/*
 * Fails with "<what>: <the reason OpenSSL gives>" and empties OpenSSL's queue of errors.
 * Returns -1.
 */
int tls_error(struct error *err, enum error_kind kind, const char *what);

/* The first certificate, or key, of a PEM text. what names it in messages. Never asks for a password. */
X509 *tls_pem_cert(const char *pem, const char *what, struct error *err);
EVP_PKEY *tls_pem_key(const struct secret *pem, const char *what, struct error *err);
/* All certificates of a PEM text; at least one. */
STACK_OF(X509) * tls_pem_certs(const char *pem, const char *what, struct error *err);

/*
 * What was wrong with the peer's certificate, in words; kept with the connection by the verification
 * callback, since OpenSSL lets go of a certificate that it refused. Owned by ssl; NULL: nothing.
 */
const char *tls_note(const SSL *ssl);
/* Takes note over. */
void tls_note_set(SSL *ssl, char *note);

/* ---- contexts: context.c ---- */

/* Sets minimum version and suites of a profile (NULL: TLS 1.2 and the library's suites). */
int tls_profile_apply(SSL_CTX *context, const struct tls_profile *profile, struct error *err);
/* Settings that both sides have, and those of the profile. */
int tls_context_prepare(SSL_CTX *context, const struct tls_profile *profile, struct error *err);
/* Whom we trust. name_them: their subjects go into the CertificateRequest. */
int tls_context_trust(SSL_CTX *context, const char *pem, const char *what, bool name_them,
	struct error *err);

/* ---- clients: client.c ---- */

struct shared_context;

struct tls_client {
	atomic_uint references;
	struct shared_context *shared;
	char *cert_pem; /* our certificate and what follows it; NULL: none. Owned */
	struct secret key_pem;
	bool skip_verify; /* foreign, expired and misnamed certificates pass */
	bool has_pin;
	uint8_t pin[TLS_DIGEST_SIZE]; /* of the only certificate that the peer may show */
};

/* ---- verification: verify.c ---- */

/* Before the first connection. -1: no memory. */
int tls_verify_prepare(void);
/* The connection is verified as this client wants; it keeps a reference. */
int tls_verify_for(SSL *ssl, struct tls_client *client);
/* The verification callback of both sides. */
int tls_verify(int ok, X509_STORE_CTX *store);
bool tls_cert_digest(const X509 *cert, uint8_t digest[TLS_DIGEST_SIZE]);

#endif
