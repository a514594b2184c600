/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.h - the TLS of the agent tunnel: per-node CA, per-VM certificates, profiles, contexts
 *
 * The adaptor is the TLS client, the forwarder in the pod VM the server; both show certificates. Facts
 * and names: the certificates look as upstream's do (podvm.md 4.1), so each half works with the other
 * project's other half.
 */
#ifndef PEERPOD_TLS_TLS_H
#define PEERPOD_TLS_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/secret.h"

/* A key pair with its certificate, both PEM. */
struct tls_identity {
	char *cert_pem;        /* owned */
	struct secret key_pem; /* PKCS#8 */
};
void tls_identity_free(struct tls_identity *identity);

/*
 * What one pod VM's tunnel needs, made at CreateVM. A CA per node signs a server certificate per VM; the client
 * certificate is per VM too and self-signed, so that one VM learns nothing that opens another's tunnel.
 */
struct tls_ca; /* the node's CA; lives in memory and in <state>/tls/, mode 0600 */

/* Makes a CA: ECDSA P-256, O=agent-protocol-forwarder, from 5 min ago for two years. NULL on failure. */
struct tls_ca *tls_ca_new(struct error *err);
struct tls_ca *tls_ca_load(const char *cert_pem, const struct secret *key_pem, struct error *err);
void tls_ca_free(struct tls_ca *ca);
DEFINE_CLEANUP(struct tls_ca, tls_ca_free)
const char *tls_ca_cert_pem(const struct tls_ca *ca);
int tls_ca_key_pem(const struct tls_ca *ca, struct secret *key_pem, struct error *err);
/* Seconds until it expires, negative once it has. */
int64_t tls_ca_lifetime_s(const struct tls_ca *ca);

/*
 * O=agent-protocol-forwarder, CN=<name>, DNS SAN <name>, EKU serverAuth, clipped to the CA's life. name: a DNS
 * label as tls_instance_name makes it. What identity held before is freed.
 */
int tls_issue_server(const struct tls_ca *ca, const char *name, struct tls_identity *identity,
	struct error *err);
/* O=cloud-api-adaptor, self-signed, CA:FALSE, EKU clientAuth. */
int tls_issue_client(struct tls_identity *identity, struct error *err);

/* Minimum version and TLS 1.2 suites. Names are Go's: VersionTLS12, VersionTLS13; IANA suite names. */
struct tls_profile {
	char *min_version;    /* "" (TLS 1.2), "VersionTLS12", "VersionTLS13"; owned */
	char **cipher_suites; /* IANA names as given, NULL-terminated or NULL; owned */
	char *openssl_ciphers; /* the same for SSL_CTX_set_cipher_list, NULL: library default; owned */
};
/*
 * suites: comma separated, blanks trimmed; NULL or "": the library's. Refuses unknown names, TLS 1.0/1.1, suites
 * with 1.3. Names that OpenSSL cannot serve (RC4, 3DES, TLS 1.3's own) choose nothing; where nothing at
 * all is chosen, openssl_ciphers is "" and only TLS 1.3 is spoken.
 */
int tls_profile_parse(const char *min_version, const char *suites, struct tls_profile *profile,
	struct error *err);
void tls_profile_free(struct tls_profile *profile);

#define TLS_DIGEST_SIZE 32 /* SHA-256 of a certificate, as DER */

struct tls_client_settings {
	const char *ca_pem;   /* trust anchor; required unless skip_verify */
	const char *cert_pem; /* own certificate */
	const struct secret *key_pem;
	const char *pinned_cert_pem; /* NULL or "": no pin */
	const uint8_t *pin; /* instead of pinned_cert_pem: TLS_DIGEST_SIZE bytes; NULL: none */
	const struct tls_profile *profile; /* NULL: defaults */
	bool skip_verify;                  /* testing only */
};
/*
 * What connections to one pod VM are made from; small, since a node keeps hundreds. May be used by several threads.
 * With skip_verify a pin still counts.
 */
struct tls_client *tls_client_new(const struct tls_client_settings *settings, struct error *err);
/* One more holder; each frees it. */
struct tls_client *tls_client_ref(struct tls_client *client);
void tls_client_free(struct tls_client *client);
DEFINE_CLEANUP(struct tls_client, tls_client_free)
/*
 * A connection that will check the server's name (SNI and SAN). SSL_free it. Writes may be partial
 * (SSL_MODE_ENABLE_PARTIAL_WRITE). Once the handshake is done SSL_certs_clear(3) frees what only that needed.
 */
SSL *tls_client_connection(struct tls_client *client, const char *server_name, struct error *err);

/*
 * What a client was made of, so that another process can make the same. Views, which live as long as the client does.
 */
struct tls_client_parts {
	const char *ca_pem, *cert_pem; /* "": none */
	const struct secret *key_pem;
	const uint8_t *pin;               /* TLS_DIGEST_SIZE bytes; NULL: none */
	const char *min_version, *suites; /* as tls_profile_parse takes them */
};
void tls_client_look(const struct tls_client *client, struct tls_client_parts *parts);

struct tls_server_settings {
	const char *cert_pem;
	const struct secret *key_pem;
	const char *client_ca_pem; /* required: without one nobody is let in (refused here) */
	const struct tls_profile *profile;
};
/*
 * The trust anchor may be a self-signed leaf (upstream's client certificate itself). Its subject is
 * in the CertificateRequest, as Go clients need.
 */
SSL_CTX *tls_server_context(const struct tls_server_settings *settings, struct error *err);

/*
 * Turns the failure of SSL_connect/accept/read/write into an error. ERROR_DENIED for what will not pass by
 * trying again (wrong name, foreign or expired certificate, no common version or suite, the peer's
 * alert about ours, pin mismatch), with words for what is wrong and what to do; ERROR_RETRY for the rest.
 */
int tls_failure(SSL *ssl, int result, int saved_errno, const char *doing, struct error *err);
/* The same where somebody else took the code (of ERR_get_error(3), 0: none) off OpenSSL's queue: a bufferevent. */
int tls_failure_code(SSL *ssl, unsigned long code, int saved_errno, const char *doing,
	struct error *err);

/*
 * "podvm-<pod>-<8 of the sandbox id>": lower case, others than [a-z0-9-] become '-', at most max long (0 or more
 * than 63: 63). Freed by the caller; NULL: no memory.
 */
char *tls_instance_name(const char *pod, const char *sandbox, size_t max);

#endif
