/* SPDX-License-Identifier: Apache-2.0 */
/*
 * context.c - SSL_CTX: what both ends of the tunnel have in common, and the server's
 *
 * Both ends show a certificate and verify the other's. Any certificate in the list of trust anchors is trusted
 * as it is, CA or not (X509_V_FLAG_PARTIAL_CHAIN), as Go does: towards an upstream adaptor the anchor
 * is the client certificate itself. X509_V_FLAG_X509_STRICT stays off, since it refuses leaves that
 * carry keyCertSign, which is what both implementations issue.
 *
 * No tickets and no session cache: a tunnel is one long connection, and a resumed session would skip the
 * pin. No renegotiation, no compression. Buffers are released while a connection is idle, which
 * is what keeps hundreds of quiet tunnels small.
 */
#include <openssl/err.h>
#include <string.h>
#include "tls/private.h"

/* Upstream's certificates are P-256; X25519 is what Go offers first. P-384 for custom certificates. */
#define GROUPS "X25519:P-256:P-384"

int tls_profile_apply(SSL_CTX *context, const struct tls_profile *profile, struct error *err)
{
	const char *ciphers = profile ? profile->openssl_ciphers : NULL;
	bool only_13 = profile &&
		       ((profile->min_version && !strcmp(profile->min_version, "VersionTLS13")) ||
			       (ciphers && !*ciphers));
	if (!SSL_CTX_set_min_proto_version(context, only_13 ? TLS1_3_VERSION : TLS1_2_VERSION))
		return tls_error(err, ERROR_INTERNAL, "tls-min-version");
	if (ciphers && *ciphers && !SSL_CTX_set_cipher_list(context, ciphers))
		return tls_error(err, ERROR_INVALID, "tls-cipher-suites");
	return 0;
}

int tls_context_prepare(SSL_CTX *context, const struct tls_profile *profile, struct error *err)
{
	SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
					     SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
					  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	if (!SSL_CTX_set_num_tickets(context, 0) || !SSL_CTX_set1_groups_list(context, GROUPS))
		return tls_error(err, ERROR_INTERNAL, "TLS settings");
	if (tls_verify_prepare() < 0)
		return tls_error(err, ERROR_CAPACITY, "TLS settings");
	return tls_profile_apply(context, profile, err);
}

/* Our own certificate, its chain and its key. */
static int set_identity(SSL_CTX *context, const char *cert_pem, const struct secret *key_pem,
	struct error *err)
{
	static const char cert_what[] = "TLS server certificate", key_what[] = "TLS server key";
	STACK_OF(X509) *certs = tls_pem_certs(cert_pem, cert_what, err);
	if (!certs)
		return -1;
	bool ok = SSL_CTX_use_certificate(context, sk_X509_value(certs, 0));
	for (int i = 1; ok && i < sk_X509_num(certs); i++)
		ok = SSL_CTX_add1_chain_cert(context, sk_X509_value(certs, i));
	sk_X509_pop_free(certs, X509_free);
	if (!ok)
		return tls_error(err, ERROR_INVALID, cert_what);
	cleanup(EVP_PKEY_free_ptr) EVP_PKEY *key = tls_pem_key(key_pem, key_what, err);
	if (!key)
		return -1;
	if (!SSL_CTX_use_PrivateKey(context, key)) {
		ERR_clear_error();
		return error_set(err, ERROR_INVALID, "%s: does not belong to the certificate",
			key_what);
	}
	return 0;
}

int tls_context_trust(SSL_CTX *context, const char *pem, const char *what, bool name_them,
	struct error *err)
{
	STACK_OF(X509) *certs = tls_pem_certs(pem, what, err);
	if (!certs)
		return -1;
	X509_STORE *store = SSL_CTX_get_cert_store(context);
	bool ok = X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	for (int i = 0; ok && i < sk_X509_num(certs); i++) {
		X509 *cert = sk_X509_value(certs, i);
		ok = X509_STORE_add_cert(store, cert) &&
		     (!name_them || SSL_CTX_add_client_CA(context, cert));
	}
	sk_X509_pop_free(certs, X509_free);
	return ok ? 0 : tls_error(err, ERROR_INVALID, what);
}

SSL_CTX *tls_server_context(const struct tls_server_settings *settings, struct error *err)
{
	if (!settings->client_ca_pem || !*settings->client_ca_pem) {
		error_set(err, ERROR_INVALID,
			"TLS server: no CA to verify clients with, so nobody could be let in; give one "
			"with -ca-cert-file or \"tls-client-ca\" in apf.json");
		return NULL;
	}
	cleanup(SSL_CTX_free_ptr) SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	if (!context) {
		tls_error(err, ERROR_CAPACITY, "TLS server");
		return NULL;
	}
	if (tls_context_prepare(context, settings->profile, err) < 0 ||
		set_identity(context, settings->cert_pem, settings->key_pem, err) < 0 ||
		tls_context_trust(context, settings->client_ca_pem, "TLS client CA", true, err) < 0)
		return NULL;
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, tls_verify);
	return take_ptr(context);
}
