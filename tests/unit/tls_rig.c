/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_rig.c - see tls_rig.h
 *
 * Handshakes run over a socket pair, one step of either side after the other, so that every case ends by itself.
 */
#include "tls_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include <openssl/err.h>

X509 *cert_of(const char *pem)
{
	X509 *cert = tls_pem_cert(pem, "test", NULL);
	assert_non_null(cert);
	return cert;
}

char *reissued(const char *cert_pem, const struct tls_ca *ca, long from_s, long until_s, int drop)
{
	cleanup(X509_free_ptr) X509 *cert = cert_of(cert_pem);
	if (drop)
		X509_EXTENSION_free(X509_delete_ext(cert, X509_get_ext_by_NID(cert, drop, -1)));
	cleanup_secret key = SECRET_INIT;
	assert_int_equal(tls_ca_key_pem(ca, &key, NULL), 0);
	cleanup(EVP_PKEY_free_ptr) EVP_PKEY *signer = tls_pem_key(&key, "test", NULL);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(cert), from_s));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(cert), until_s));
	assert_true(X509_sign(cert, signer, EVP_sha256()));
	cleanup(BIO_free_ptr) BIO *bio = BIO_new(BIO_s_mem());
	assert_true(PEM_write_bio_X509(bio, cert));
	char *text = NULL;
	long len = BIO_get_mem_data(bio, &text);
	return strndup(text, (size_t)len);
}

void world_make(struct world *w)
{
	*w = (struct world){.ca = tls_ca_new(NULL), .foreign_ca = tls_ca_new(NULL)};
	assert_int_equal(tls_issue_server(w->ca, "podvm-web-1", &w->server, NULL), 0);
	assert_int_equal(tls_issue_server(w->ca, "podvm-web-1", &w->other_server, NULL), 0);
	assert_int_equal(tls_issue_server(w->foreign_ca, "podvm-web-1", &w->foreign_server, NULL),
		0);
	assert_int_equal(tls_issue_client(&w->client, NULL), 0);
	assert_int_equal(tls_issue_client(&w->foreign_client, NULL), 0);
	w->expired_cert = reissued(w->server.cert_pem, w->ca, -86400, -3600, 0);
	w->future_cert = reissued(w->server.cert_pem, w->ca, 3600, 86400, 0);
	w->no_name_cert = reissued(w->server.cert_pem, w->ca, -10, 86400, NID_subject_alt_name);
}

void world_free(struct world *w)
{
	tls_ca_free(w->ca);
	tls_ca_free(w->foreign_ca);
	struct tls_identity *all[] = {&w->server, &w->other_server, &w->foreign_server, &w->client,
		&w->foreign_client};
	for (size_t i = 0; i < array_size(all); i++)
		tls_identity_free(all[i]);
	free(w->expired_cert);
	free(w->future_cert);
	free(w->no_name_cert);
}

/* One step: 1 done, 0 more to do, -1 failed with err. */
static int step(SSL *ssl, bool *shaken, struct error *err)
{
	char byte;
	ERR_clear_error();
	errno = 0;
	int result = *shaken ? SSL_read(ssl, &byte, 1) : SSL_do_handshake(ssl);
	int saved_errno = errno;
	if (result > 0) {
		if (*shaken)
			return 1;
		*shaken = true;
		return SSL_write(ssl, "x", 1) == 1 ? 0 : tls_failure(ssl, -1, errno, "greet", err);
	}
	int why = SSL_get_error(ssl, result);
	if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
		return 0;
	return tls_failure(ssl, result, saved_errno, "reach the pod VM", err);
}

int client_version_max;

void shake(struct tls_client *client_settings, SSL_CTX *server_context, const char *name,
	struct error *client_error, struct error *server_error)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	SSL *client = tls_client_connection(client_settings, name, NULL);
	SSL_set_max_proto_version(client, client_version_max);
	SSL *server = SSL_new(server_context);
	SSL_set_fd(client, pair[0]);
	SSL_set_fd(server, pair[1]);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	bool client_shaken = false, server_shaken = false;
	int c = 0, s = 0;
	for (int i = 0; i < 100 && (!c || !s); i++) {
		if (!c)
			c = step(client, &client_shaken, client_error);
		if (c < 0)
			shutdown(pair[0], SHUT_WR);
		if (!s)
			s = step(server, &server_shaken, server_error);
		if (s < 0)
			shutdown(pair[1], SHUT_WR);
	}
	assert_true(c && s);
	SSL_free(client);
	SSL_free(server);
	close(pair[0]);
	close(pair[1]);
}
