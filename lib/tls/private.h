/* SPDX-License-Identifier: Apache-2.0 */
/* private.h - what the files of lib/tls share: PEM in and out, and the note a failed verification leaves */
#ifndef PEERPOD_TLS_PRIVATE_H
#define PEERPOD_TLS_PRIVATE_H

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
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

/* Sets minimum version and suites of a profile (NULL: TLS 1.2 and the library's suites). */
int tls_profile_apply(SSL_CTX *context, const struct tls_profile *profile, struct error *err);

/* The verification callback of both sides; finds the pin, if any, with the context. */
int tls_verify(int ok, X509_STORE_CTX *store);
/* pin: a reference is taken; NULL: none. skip: foreign, expired and misnamed certificates pass. */
int tls_verify_settings(SSL_CTX *context, X509 *pin, bool skip, struct error *err);

#endif
