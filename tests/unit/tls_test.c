/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_test.c - certificates, profiles and handshakes of the tunnel
 *
 * Handshakes run between two connections in this process over a socket pair, one step of either
 * side after the other, so that every case ends by itself. tests/integration/test_tls.py does the
 * same with OpenSSL's own programs as peers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include "base/buf.h"
#include "tls/private.h"

/* ---- certificates as they must look -------------------------------------------------------- */

static X509 *cert_of(const char *pem)
{
	X509 *cert = tls_pem_cert(pem, "test", NULL);
	assert_non_null(cert);
	return cert;
}

/* The extensions and names of a certificate as text, one a line, in the order of this function. */
static char *dump(X509 *cert)
{
	cleanup(BIO_free_ptr) BIO *bio = BIO_new(BIO_s_mem());
	BIO_puts(bio, "subject: ");
	X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253);
	BIO_puts(bio, "\nissuer: ");
	X509_NAME_print_ex(bio, X509_get_issuer_name(cert), 0, XN_FLAG_RFC2253);
	EVP_PKEY *key = X509_get0_pubkey(cert);
	char group[40] = "";
	EVP_PKEY_get_group_name(key, group, sizeof group, NULL);
	BIO_printf(bio, "\nkey: %s\nsignature: %s\n", group,
		OBJ_nid2ln(X509_get_signature_nid(cert)));
	static const int nids[] = {NID_key_usage, NID_ext_key_usage, NID_basic_constraints,
		NID_subject_alt_name, NID_subject_key_identifier, NID_authority_key_identifier};
	for (size_t i = 0; i < array_size(nids); i++) {
		int at = X509_get_ext_by_NID(cert, nids[i], -1);
		if (at < 0)
			continue;
		X509_EXTENSION *extension = X509_get_ext(cert, at);
		BIO_printf(bio, "%s%s: ", OBJ_nid2sn(nids[i]),
			X509_EXTENSION_get_critical(extension) ? " (critical)" : "");
		if (nids[i] == NID_subject_key_identifier ||
			nids[i] == NID_authority_key_identifier)
			BIO_puts(bio, "yes");
		else
			X509V3_EXT_print(bio, extension, 0, 0);
		BIO_puts(bio, "\n");
	}
	BIO_printf(bio, "extensions: %d\n", X509_get_ext_count(cert));
	char *text = NULL;
	long len = BIO_get_mem_data(bio, &text);
	return strndup(text, (size_t)len);
}

static void assert_dump(const char *pem, const char *expected)
{
	cleanup(X509_free_ptr) X509 *cert = cert_of(pem);
	cleanup(free_ptr) char *text = dump(cert);
	assert_string_equal(text, expected);
	/* Random serials of 128 bits; the chance of fewer than 96 is one in four thousand million. */
	BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	assert_in_range(BN_num_bits(serial), 96, 128);
	assert_false(BN_is_negative(serial));
	BN_free(serial);
	int days = 0, seconds = 0;
	assert_true(ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(cert), NULL));
	assert_int_equal(days, 0);
	assert_in_range(seconds, 300, 360);
	assert_true(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)));
	assert_in_range(days * 86400 + seconds, 2 * 365 * 86400 - 60, 2 * 365 * 86400);
}

static void test_certificates_look_as_upstreams_do(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	cleanup(tls_ca_free_ptr) struct tls_ca *ca = tls_ca_new(&err);
	assert_non_null(ca);
	assert_dump(tls_ca_cert_pem(ca),
		"subject: O=agent-protocol-forwarder\n"
		"issuer: O=agent-protocol-forwarder\n"
		"key: prime256v1\n"
		"signature: ecdsa-with-SHA256\n"
		"keyUsage (critical): Digital Signature, Certificate Sign\n"
		"extendedKeyUsage: TLS Web Server Authentication\n"
		"basicConstraints (critical): CA:TRUE\n"
		"subjectKeyIdentifier: yes\n"
		"extensions: 4\n");
	cleanup(tls_identity_free) struct tls_identity server = {0}, client = {0};
	assert_int_equal(tls_issue_server(ca, "podvm-web-0123abcd", &server, &err), 0);
	assert_dump(server.cert_pem, "subject: CN=podvm-web-0123abcd,O=agent-protocol-forwarder\n"
				     "issuer: O=agent-protocol-forwarder\n"
				     "key: prime256v1\n"
				     "signature: ecdsa-with-SHA256\n"
				     "keyUsage (critical): Digital Signature, Certificate Sign\n"
				     "extendedKeyUsage: TLS Web Server Authentication\n"
				     "basicConstraints (critical): CA:FALSE\n"
				     "subjectAltName: DNS:podvm-web-0123abcd\n"
				     "authorityKeyIdentifier: yes\n"
				     "extensions: 5\n");
	assert_int_equal(tls_issue_client(&client, &err), 0);
	assert_dump(client.cert_pem, "subject: O=cloud-api-adaptor\n"
				     "issuer: O=cloud-api-adaptor\n"
				     "key: prime256v1\n"
				     "signature: ecdsa-with-SHA256\n"
				     "keyUsage (critical): Digital Signature, Certificate Sign\n"
				     "extendedKeyUsage: TLS Web Client Authentication\n"
				     "basicConstraints (critical): CA:FALSE\n"
				     "extensions: 3\n");
	assert_memory_equal(secret_reveal(&server.key_pem), "-----BEGIN PRIVATE KEY-----\n", 28);
	assert_memory_equal(secret_reveal(&client.key_pem), "-----BEGIN PRIVATE KEY-----\n", 28);
}

/* A copy of a certificate with other times and without the extension drop (0: none), signed anew by ca. */
static char *reissued(const char *cert_pem, const struct tls_ca *ca, long from_s, long until_s,
	int drop)
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

static void test_ca_survives_a_restart_and_issues_within_its_own_life(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	cleanup(tls_ca_free_ptr) struct tls_ca *ca = tls_ca_new(&err);
	cleanup_secret key = SECRET_INIT;
	assert_int_equal(tls_ca_key_pem(ca, &key, &err), 0);
	assert_in_range(tls_ca_lifetime_s(ca), 2 * 365 * 86400 - 60, 2 * 365 * 86400);

	cleanup(free_ptr) char *nearly_over = reissued(tls_ca_cert_pem(ca), ca, -100, 1000, 0);
	cleanup(tls_ca_free_ptr) struct tls_ca *old = tls_ca_load(nearly_over, &key, &err);
	assert_non_null(old);
	assert_in_range(tls_ca_lifetime_s(old), 900, 1000);
	cleanup(tls_identity_free) struct tls_identity server = {0};
	assert_int_equal(tls_issue_server(old, "podvm-a-b", &server, &err), 0);
	cleanup(X509_free_ptr) X509 *cert = cert_of(server.cert_pem),
				    *issuer = cert_of(nearly_over);
	assert_int_equal(ASN1_TIME_compare(X509_get0_notAfter(cert), X509_get0_notAfter(issuer)),
		0);
	assert_int_equal(ASN1_TIME_compare(X509_get0_notBefore(cert), X509_get0_notBefore(issuer)),
		0);

	cleanup(free_ptr) char *over = reissued(tls_ca_cert_pem(ca), ca, -1000, -100, 0);
	cleanup(tls_ca_free_ptr) struct tls_ca *expired = tls_ca_load(over, &key, &err);
	assert_non_null(expired);
	assert_true(tls_ca_lifetime_s(expired) < 0);
	assert_int_equal(tls_issue_server(expired, "podvm-a-b", &server, &err), -1);
	assert_string_equal(error_message(&err),
		"a server certificate: the node's CA has expired; make a new one");
}

static void test_ca_files_that_do_not_fit_are_refused(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	cleanup(tls_ca_free_ptr) struct tls_ca *ca = tls_ca_new(&err);
	cleanup(tls_identity_free) struct tls_identity client = {0};
	assert_int_equal(tls_issue_client(&client, &err), 0);
	cleanup_secret key = SECRET_INIT, empty = SECRET_INIT, garbage = SECRET_INIT;
	assert_int_equal(tls_ca_key_pem(ca, &key, &err), 0);
	assert_true(secret_set(&garbage, "not a key", 9));
	const struct {
		const char *cert;
		const struct secret *key;
		const char *message;
	} cases[] = {
		{"", &key, "the node's CA: certificate: holds no PEM certificate"},
		{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key,
			"the node's CA: certificate: wrong tag"},
		{tls_ca_cert_pem(ca), &empty, "the node's CA: key: holds no PEM private key"},
		{tls_ca_cert_pem(ca), &garbage,
			"the node's CA: key: holds no PEM private key that can be read (an encrypted one cannot)"},
		{tls_ca_cert_pem(ca), &client.key_pem,
			"the node's CA: certificate and key do not belong together"},
		{client.cert_pem, &client.key_pem,
			"the node's CA: the certificate is not that of a CA"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		assert_null(tls_ca_load(cases[i].cert, cases[i].key, &err));
		assert_string_equal(error_message(&err), cases[i].message);
		assert_int_equal(err.kind, ERROR_INVALID);
	}
	assert_int_equal(tls_issue_server(ca, "a,DNS:b", &client, &err), -1);
	assert_string_equal(error_message(&err),
		"a server certificate: the name \"a,DNS:b\" must be 1 to 63 of a-z, 0-9 and -");
}

/* ---- names and profiles ---------------------------------------------------------------------- */

static void test_instance_name_is_a_dns_label(void **state)
{
	(void)state;
	static const struct {
		const char *pod, *sandbox;
		size_t max;
		const char *name;
	} cases[] = {
		{"web", "0123abcdef", 63, "podvm-web-0123abcd"},
		{"Web_1.shop", "0123ABCDEF", 63, "podvm-web-1-shop-0123abcd"},
		{"a123456789b123456789c123456789d123456789e123456789f123456789", "s", 0,
			"podvm-a123456789b123456789c123456789d123456789e1234567-s"},
		{"a123456789b123456789c123456789d123456789e123456789f123456789", "0123456789", 63,
			"podvm-a123456789b123456789c123456789d123456789e1234567-01234567"},
		{"a123456789b123456789c123456789d123456789e123456789f123456789", "0123456789", 47,
			"podvm-a123456789b123456789c123456789d1-01234567"},
		{"", "", 63, "podvm--"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup(free_ptr) char *name =
			tls_instance_name(cases[i].pod, cases[i].sandbox, cases[i].max);
		assert_string_equal(name, cases[i].name);
	}
}

static void test_profiles(void **state)
{
	(void)state;
	static const struct {
		const char *version, *suites;
		const char *ciphers; /* expected; NULL: the library's */
		const char *message; /* or this refusal */
	} cases[] = {
		{"", "", NULL, NULL},
		{"VersionTLS12", "", NULL, NULL},
		{"VersionTLS13", " , ,", NULL, NULL},
		{"", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 ,\tTLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
			"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305", NULL},
		{"", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
			"ECDHE-ECDSA-AES256-SHA:ECDHE-ECDSA-AES128-SHA256", NULL},
		{"", "TLS_RSA_WITH_RC4_128_SHA,TLS_AES_128_GCM_SHA256", "", NULL},
		{"VersionTLS11", "", NULL,
			"tls-min-version: VersionTLS11 is too old to be safe; use VersionTLS12 or VersionTLS13"},
		{"VersionTLS10", "", NULL,
			"tls-min-version: VersionTLS10 is too old to be safe; use VersionTLS12 or VersionTLS13"},
		{"1.3", "", NULL,
			"tls-min-version: \"1.3\" is unknown; use VersionTLS12 or VersionTLS13"},
		{"", "ECDHE-ECDSA-AES128-SHA", NULL,
			"tls-cipher-suites: \"ECDHE-ECDSA-AES128-SHA\" is unknown; use IANA names such as "
			"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
		{"", "TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384", NULL,
			"tls-cipher-suites: \"TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384\" is unknown; use "
			"IANA names such as TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
		{"VersionTLS13", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", NULL,
			"tls-cipher-suites: they restrict TLS 1.2 only and mean nothing with tls-min-version "
			"VersionTLS13; leave one of the two out"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		cleanup(tls_profile_free) struct tls_profile profile;
		int result = tls_profile_parse(cases[i].version, cases[i].suites, &profile, &err);
		assert_int_equal(result, cases[i].message ? -1 : 0);
		if (cases[i].message) {
			assert_string_equal(error_message(&err), cases[i].message);
			continue;
		}
		assert_string_equal(profile.min_version, cases[i].version);
		if (cases[i].ciphers)
			assert_string_equal(profile.openssl_ciphers, cases[i].ciphers);
		else
			assert_null(profile.openssl_ciphers);
		/* Every profile that parses makes a context. */
		cleanup(SSL_CTX_free_ptr) SSL_CTX *context = SSL_CTX_new(TLS_method());
		assert_int_equal(tls_profile_apply(context, &profile, &err), 0);
	}
}

static void test_every_suite_name_of_go_parses(void **state)
{
	(void)state;
	/* crypto/tls: CipherSuites() and InsecureCipherSuites() of Go 1.24 */
	static const char *const names[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
		"TLS_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
		"TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
		"TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
		"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
		"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
		"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "TLS_RSA_WITH_RC4_128_SHA",
		"TLS_RSA_WITH_3DES_EDE_CBC_SHA", "TLS_RSA_WITH_AES_128_CBC_SHA",
		"TLS_RSA_WITH_AES_256_CBC_SHA", "TLS_RSA_WITH_AES_128_CBC_SHA256",
		"TLS_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_256_GCM_SHA384",
		"TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
		"TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
		"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"};
	for (size_t i = 0; i < array_size(names); i++) {
		cleanup(tls_profile_free) struct tls_profile profile;
		assert_int_equal(tls_profile_parse("", names[i], &profile, NULL), 0);
		assert_string_equal(profile.cipher_suites[0], names[i]);
		assert_null(profile.cipher_suites[1]);
		if (*profile.openssl_ciphers) {
			cleanup(SSL_CTX_free_ptr) SSL_CTX *context = SSL_CTX_new(TLS_method());
			assert_int_equal(tls_profile_apply(context, &profile, NULL), 0);
		}
	}
}

/* ---- handshakes ------------------------------------------------------------------------------ */

struct world {
	struct tls_ca *ca, *foreign_ca;
	struct tls_identity server, other_server, foreign_server, client, foreign_client;
	char *expired_cert, *future_cert; /* of server's key */
	char *no_name_cert;
};

static void world_make(struct world *w)
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

static void world_free(struct world *w)
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

/* The highest version that the client of shake() speaks; 0: all. */
static int client_version_max;

/* Handshake and one byte each way. The texts of both sides' failures, "" where there was none. */
static void shake(struct tls_client *client_settings, SSL_CTX *server_context, const char *name,
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

/* A text with the moments of a certificate replaced by "DATE", so that it can be compared. */
static char *without_dates(const char *text)
{
	struct buf out = BUF_INIT;
	while (*text) {
		unsigned year, month, day, hour, minute, second;
		int used = 0;
		if (sscanf(text, "%4u-%2u-%2u %2u:%2u:%2uZ%n", &year, &month, &day, &hour, &minute,
			    &second, &used) == 6 &&
			used == 20) {
			buf_append_text(&out, "DATE");
			text += used;
		} else {
			buf_append(&out, text++, 1);
		}
	}
	return buf_take(&out);
}

static void test_handshakes(void **state)
{
	(void)state;
	struct world w;
	world_make(&w);
	const char *ca = tls_ca_cert_pem(w.ca);
	const struct {
		const char *name; /* asked for; NULL: podvm-web-1 */
		const char *server_cert;
		const struct tls_identity *server, *client;
		const char *pin, *client_ca; /* NULL: none; the client's certificate */
		const char *client_suites, *server_suites, *client_version, *server_version;
		const char *client_says, *server_says;
		enum error_kind kind;
		bool skip;
	} cases[] = {
		{.client_says = ""},
		{.pin = w.server.cert_pem, .client_says = ""},
		{.client_version = "VersionTLS13", .server_version = "VersionTLS13"},
		{.client_suites = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
		{.server_suites = "TLS_RSA_WITH_RC4_128_SHA"},
		{.name = "podvm-db-2",
			.kind = ERROR_DENIED,
			.client_says =
				"reach the pod VM: the certificate of the pod VM is for \"podvm-web-1\", "
				"not for \"podvm-db-2\"; another machine answers at this address",
			.server_says =
				"reach the pod VM: the peer refuses our certificate (alert: bad "
				"certificate); it trusts another CA or client certificate than the one "
				"we have"},
		{.server_cert = w.no_name_cert,
			.kind = ERROR_DENIED,
			.client_says =
				"reach the pod VM: the certificate of the pod VM is for no DNS name, not "
				"for \"podvm-web-1\"; another machine answers at this address"},
		{.server_cert = w.expired_cert,
			.kind = ERROR_DENIED,
			.client_says =
				"reach the pod VM: the certificate of the pod VM expired on DATE; check "
				"the clocks of both ends, or make the pod anew",
			.server_says =
				"reach the pod VM: the peer refuses our certificate (alert: certificate "
				"expired); check the clocks of both ends"},
		{.server_cert = w.future_cert,
			.kind = ERROR_DENIED,
			.client_says =
				"reach the pod VM: the certificate of the pod VM is not valid before "
				"DATE; check the clocks of both ends"},
		{.server = &w.foreign_server,
			.kind = ERROR_DENIED,
			.client_says =
				"reach the pod VM: the certificate of the pod VM is foreign: not signed "
				"by the CA that this end trusts (its issuer is "
				"O=agent-protocol-forwarder)"},
		{.server = &w.other_server,
			.pin = w.server.cert_pem,
			.kind = ERROR_DENIED,
			.client_says =
				"reach the pod VM: the pod VM shows another certificate than the one "
				"issued for it; another machine answers at this address"},
		{.server = &w.foreign_server, .skip = true, .client_says = ""},
		{.server = &w.foreign_server,
			.skip = true,
			.pin = w.server.cert_pem,
			.kind = ERROR_DENIED,
			.client_says =
				"reach the pod VM: the pod VM shows another certificate than the one "
				"issued for it; another machine answers at this address"},
		{.client = &w.foreign_client,
			.kind = ERROR_DENIED,
			.server_says =
				"reach the pod VM: the certificate of the client is foreign: not signed "
				"by the CA that this end trusts (its issuer is O=cloud-api-adaptor)",
			.client_says =
				"reach the pod VM: the peer does not trust the issuer of our certificate "
				"(alert: unknown CA)"},
		{.client = &w.server,
			.client_ca = ca,
			.kind = ERROR_DENIED,
			.server_says =
				"reach the pod VM: the certificate of the client is not meant for TLS "
				"clients (extended key usage)",
			.client_says =
				"reach the pod VM: the peer refuses our certificate (alert: unsupported "
				"certificate); its extended key usage is not the one for this end"},
		{.client_version = "VersionTLS13",
			.server_suites = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT, client_error = ERROR_INIT,
			      server_error = ERROR_INIT;
		const struct tls_identity *server = cases[i].server ? cases[i].server : &w.server;
		const struct tls_identity *client = cases[i].client ? cases[i].client : &w.client;
		cleanup(tls_profile_free) struct tls_profile cp, sp;
		assert_int_equal(tls_profile_parse(cases[i].client_version, cases[i].client_suites,
					 &cp, NULL),
			0);
		assert_int_equal(tls_profile_parse(cases[i].server_version, cases[i].server_suites,
					 &sp, NULL),
			0);
		struct tls_client_settings cs = {.ca_pem = ca,
			.cert_pem = client->cert_pem,
			.key_pem = &client->key_pem,
			.pinned_cert_pem = cases[i].pin,
			.profile = &cp,
			.skip_verify = cases[i].skip};
		struct tls_server_settings ss = {.cert_pem = cases[i].server_cert
								     ? cases[i].server_cert
								     : server->cert_pem,
			.key_pem = &server->key_pem,
			.profile = &sp,
			.client_ca_pem =
				cases[i].client_ca ? cases[i].client_ca : w.client.cert_pem};
		cleanup(tls_client_free_ptr) struct tls_client *cc = tls_client_new(&cs, &err);
		cleanup(SSL_CTX_free_ptr) SSL_CTX *sc = tls_server_context(&ss, &err);
		assert_string_equal(error_message(&err), "no error");
		shake(cc, sc, cases[i].name ? cases[i].name : "podvm-web-1", &client_error,
			&server_error);
		cleanup(free_ptr) char *client_text =
			without_dates(client_error.kind ? error_message(&client_error) : "");
		cleanup(free_ptr) char *server_text =
			without_dates(server_error.kind ? error_message(&server_error) : "");
		if (cases[i].client_says || !cases[i].kind)
			assert_string_equal(client_text,
				cases[i].client_says ? cases[i].client_says : "");
		if (cases[i].server_says || !cases[i].kind)
			assert_string_equal(server_text,
				cases[i].server_says ? cases[i].server_says : "");
		if (cases[i].client_says && *cases[i].client_says)
			assert_int_equal(client_error.kind, cases[i].kind);
		if (cases[i].server_says)
			assert_int_equal(server_error.kind, cases[i].kind);
	}
	world_free(&w);
}

static void test_no_common_version_or_suite_is_said_on_both_sides(void **state)
{
	(void)state;
	struct world w;
	world_make(&w);
	cleanup(tls_profile_free) struct tls_profile p13, rsa;
	assert_int_equal(tls_profile_parse("VersionTLS13", "", &p13, NULL), 0);
	assert_int_equal(tls_profile_parse("", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", &rsa, NULL),
		0);
	struct tls_client_settings cs = {.ca_pem = tls_ca_cert_pem(w.ca),
		.cert_pem = w.client.cert_pem,
		.key_pem = &w.client.key_pem};
	struct tls_server_settings ss = {.cert_pem = w.server.cert_pem,
		.key_pem = &w.server.key_pem,
		.client_ca_pem = w.client.cert_pem,
		.profile = &p13};
	client_version_max = TLS1_2_VERSION;
	{
		cleanup_error client_error = ERROR_INIT, server_error = ERROR_INIT;
		cleanup(tls_client_free_ptr) struct tls_client *cc = tls_client_new(&cs, NULL);
		cleanup(SSL_CTX_free_ptr) SSL_CTX *sc = tls_server_context(&ss, NULL);
		shake(cc, sc, "podvm-web-1", &client_error, &server_error);
		assert_string_equal(error_message(&client_error),
			"reach the pod VM: the peer speaks no TLS version that we accept (alert: protocol "
			"version); compare tls-min-version of both ends");
		assert_string_equal(error_message(&server_error),
			"reach the pod VM: the peer speaks no TLS version that we accept; compare "
			"tls-min-version of both ends");
		assert_int_equal(client_error.kind, ERROR_DENIED);
		assert_int_equal(server_error.kind, ERROR_DENIED);
	}
	{
		cleanup_error client_error = ERROR_INIT, server_error = ERROR_INIT;
		ss.profile = &rsa;
		cleanup(tls_client_free_ptr) struct tls_client *cc = tls_client_new(&cs, NULL);
		cleanup(SSL_CTX_free_ptr) SSL_CTX *sc = tls_server_context(&ss, NULL);
		shake(cc, sc, "podvm-web-1", &client_error, &server_error);
		assert_string_equal(error_message(&client_error),
			"reach the pod VM: the peer found no common version, cipher suite or kind of key "
			"(alert: handshake failure); compare tls-min-version and tls-cipher-suites of both "
			"ends");
		assert_string_equal(error_message(&server_error),
			"reach the pod VM: no cipher suite in common with the peer; compare "
			"tls-cipher-suites of both ends");
	}
	client_version_max = 0;
	world_free(&w);
}

/* Clients of one CA share a context, and nothing of what is theirs. */
static void test_clients_of_one_ca_keep_apart(void **state)
{
	(void)state;
	struct world w;
	world_make(&w);
	struct tls_identity server_2 = {0}, client_2 = {0};
	assert_int_equal(tls_issue_server(w.ca, "podvm-web-2", &server_2, NULL), 0);
	assert_int_equal(tls_issue_client(&client_2, NULL), 0);
	const struct tls_client_settings settings[] = {
		{.cert_pem = w.client.cert_pem, .pinned_cert_pem = w.server.cert_pem},
		{.cert_pem = client_2.cert_pem, .pinned_cert_pem = server_2.cert_pem},
		{.cert_pem = client_2.cert_pem, .pinned_cert_pem = w.server.cert_pem},
	};
	struct tls_client *clients[array_size(settings)];
	for (size_t i = 0; i < array_size(settings); i++) {
		struct tls_client_settings with_ca = settings[i];
		with_ca.ca_pem = tls_ca_cert_pem(w.ca);
		with_ca.key_pem = i ? &client_2.key_pem : &w.client.key_pem;
		clients[i] = tls_client_new(&with_ca, NULL);
		assert_non_null(clients[i]);
	}
	static const struct {
		size_t client;
		bool second_server;
		const char *client_says, *server_says;
	} cases[] = {
		{0, false, "", ""},
		{1, true, "", ""},
		{0, true,
			"reach the pod VM: the pod VM shows another certificate than the one issued for it; "
			"another machine answers at this address",
			NULL},
		/* The right server, and the certificate of another VM's client. */
		{2, false, NULL,
			"reach the pod VM: the certificate of the client is foreign: not signed by the CA "
			"that this end trusts (its issuer is O=cloud-api-adaptor)"},
		{0, false, "", ""},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		bool second = cases[i].second_server;
		const struct tls_identity *server = second ? &server_2 : &w.server;
		struct tls_server_settings ss = {.cert_pem = server->cert_pem,
			.key_pem = &server->key_pem,
			.client_ca_pem = second ? client_2.cert_pem : w.client.cert_pem};
		cleanup(SSL_CTX_free_ptr) SSL_CTX *sc = tls_server_context(&ss, NULL);
		cleanup_error client_error = ERROR_INIT, server_error = ERROR_INIT;
		shake(clients[cases[i].client], sc, second ? "podvm-web-2" : "podvm-web-1",
			&client_error, &server_error);
		const char *said = client_error.kind ? error_message(&client_error) : "";
		if (cases[i].client_says)
			assert_string_equal(said, cases[i].client_says);
		said = server_error.kind ? error_message(&server_error) : "";
		if (cases[i].server_says)
			assert_string_equal(said, cases[i].server_says);
		/* The others go on without it. */
		if (cases[i].client == 2)
			tls_client_free(take_ptr(clients[2]));
	}
	tls_client_free(clients[0]);
	tls_client_free(clients[1]);
	tls_identity_free(&server_2);
	tls_identity_free(&client_2);
	world_free(&w);
}

/* What a client tells of itself makes the same again, pin and profile included: for another process. */
static void test_a_client_can_be_made_again_from_its_parts(void **state)
{
	(void)state;
	struct world w;
	world_make(&w);
	cleanup(tls_profile_free) struct tls_profile profile = {0};
	static const char suites[] =
		"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_AES_128_GCM_SHA256";
	assert_int_equal(tls_profile_parse("VersionTLS12", suites, &profile, NULL), 0);
	struct tls_client_settings settings = {.ca_pem = tls_ca_cert_pem(w.ca),
		.cert_pem = w.client.cert_pem,
		.key_pem = &w.client.key_pem,
		.pinned_cert_pem = w.server.cert_pem,
		.profile = &profile};
	struct tls_client *first = tls_client_new(&settings, NULL);
	struct tls_client_parts parts;
	tls_client_look(first, &parts);
	assert_string_equal(parts.min_version, "VersionTLS12");
	assert_string_equal(parts.suites, suites);
	cleanup(tls_profile_free) struct tls_profile again = {0};
	assert_int_equal(tls_profile_parse(parts.min_version, parts.suites, &again, NULL), 0);
	const struct tls_client_settings told = {.ca_pem = parts.ca_pem,
		.cert_pem = parts.cert_pem,
		.key_pem = parts.key_pem,
		.pin = parts.pin,
		.profile = &again};
	cleanup(tls_client_free_ptr) struct tls_client *second = tls_client_new(&told, NULL);
	tls_client_free(first);
	/* The pinned one is let in, another of the same CA and name is not. */
	const struct tls_identity *servers[] = {&w.server, &w.other_server};
	for (size_t i = 0; i < array_size(servers); i++) {
		struct tls_server_settings ss = {.cert_pem = servers[i]->cert_pem,
			.key_pem = &servers[i]->key_pem,
			.client_ca_pem = w.client.cert_pem};
		cleanup(SSL_CTX_free_ptr) SSL_CTX *sc = tls_server_context(&ss, NULL);
		cleanup_error client_error = ERROR_INIT, server_error = ERROR_INIT;
		shake(second, sc, "podvm-web-1", &client_error, &server_error);
		assert_int_equal(client_error.kind, i ? ERROR_DENIED : ERROR_NONE);
	}
	world_free(&w);
}

static void test_a_client_without_certificate_is_not_let_in(void **state)
{
	(void)state;
	struct world w;
	world_make(&w);
	struct tls_client_settings cs = {.ca_pem = tls_ca_cert_pem(w.ca)};
	struct tls_server_settings ss = {.cert_pem = w.server.cert_pem,
		.key_pem = &w.server.key_pem,
		.client_ca_pem = w.client.cert_pem};
	cleanup(tls_client_free_ptr) struct tls_client *cc = tls_client_new(&cs, NULL);
	cleanup(SSL_CTX_free_ptr) SSL_CTX *sc = tls_server_context(&ss, NULL);
	cleanup_error client_error = ERROR_INIT, server_error = ERROR_INIT;
	shake(cc, sc, "podvm-web-1", &client_error, &server_error);
	assert_string_equal(error_message(&client_error),
		"reach the pod VM: the peer wants a client certificate and we showed none that it accepts "
		"(alert: certificate required)");
	assert_string_equal(error_message(&server_error),
		"reach the pod VM: the client showed no certificate");
	assert_int_equal(client_error.kind, ERROR_DENIED);
	world_free(&w);
}

static void test_what_passes_by_itself_may_be_tried_again(void **state)
{
	(void)state;
	struct world w;
	world_make(&w);
	struct tls_client_settings cs = {.ca_pem = tls_ca_cert_pem(w.ca)};
	cleanup(tls_client_free_ptr) struct tls_client *cc = tls_client_new(&cs, NULL);
	static const struct {
		const char *sends;
		enum error_kind kind;
		const char *message;
	} cases[] = {
		{"", ERROR_RETRY, "dial: the peer closed the connection"},
		{"SSH-2.0-x\r\n", ERROR_DENIED,
			"dial: the peer does not speak TLS; was one end started with -disable-tls?"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		int pair[2];
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		assert_int_equal(write(pair[1], cases[i].sends, strlen(cases[i].sends)),
			(ssize_t)strlen(cases[i].sends));
		shutdown(pair[1], SHUT_WR);
		SSL *ssl = tls_client_connection(cc, "podvm-web-1", NULL);
		SSL_set_fd(ssl, pair[0]);
		errno = 0;
		int result = SSL_connect(ssl);
		cleanup_error err = ERROR_INIT;
		assert_int_equal(tls_failure(ssl, result, errno, "dial", &err), -1);
		assert_string_equal(error_message(&err), cases[i].message);
		assert_int_equal(err.kind, cases[i].kind);
		SSL_free(ssl);
		close(pair[0]);
		close(pair[1]);
	}
	cleanup_error err = ERROR_INIT;
	tls_failure_code(NULL, 0, ECONNREFUSED, "dial 10.0.0.1:15150", &err);
	assert_string_equal(error_message(&err), "dial 10.0.0.1:15150: Connection refused");
	assert_int_equal(err.kind, ERROR_RETRY);
	tls_failure_code(NULL, 0, ETIMEDOUT, "dial", &err);
	assert_int_equal(err.kind, ERROR_TIMEOUT);
	world_free(&w);
}

static void test_contexts_refuse_what_cannot_work(void **state)
{
	(void)state;
	struct world w;
	world_make(&w);
	cleanup_error err = ERROR_INIT;
	assert_null(tls_client_new(&(struct tls_client_settings){0}, &err));
	assert_string_equal(error_message(&err), "TLS client: no CA to verify the pod VM with");
	assert_null(tls_server_context(&(struct tls_server_settings){.cert_pem = w.server.cert_pem,
					       .key_pem = &w.server.key_pem,
					       .client_ca_pem = ""},
		&err));
	assert_string_equal(error_message(&err),
		"TLS server: no CA to verify clients with, so nobody could be let in; give one with "
		"-ca-cert-file or \"tls-client-ca\" in apf.json");
	assert_null(tls_server_context(&(struct tls_server_settings){.cert_pem = w.server.cert_pem,
					       .key_pem = &w.client.key_pem,
					       .client_ca_pem = w.client.cert_pem},
		&err));
	assert_string_equal(error_message(&err),
		"TLS server key: does not belong to the certificate");
	assert_null(tls_server_context(&(struct tls_server_settings){.cert_pem = "x",
					       .key_pem = &w.client.key_pem,
					       .client_ca_pem = w.client.cert_pem},
		&err));
	assert_string_equal(error_message(&err),
		"TLS server certificate: holds no PEM certificate");
	cleanup_secret none = SECRET_INIT;
	assert_null(tls_server_context(&(struct tls_server_settings){.cert_pem = w.server.cert_pem,
					       .key_pem = &none,
					       .client_ca_pem = w.client.cert_pem},
		&err));
	assert_string_equal(error_message(&err), "TLS server key: holds no PEM private key");
	assert_null(tls_client_new(&(struct tls_client_settings){.ca_pem = "nothing"}, &err));
	assert_string_equal(error_message(&err), "TLS server CA: holds no PEM certificate");
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_certificates_look_as_upstreams_do),
		cmocka_unit_test(test_ca_survives_a_restart_and_issues_within_its_own_life),
		cmocka_unit_test(test_ca_files_that_do_not_fit_are_refused),
		cmocka_unit_test(test_instance_name_is_a_dns_label),
		cmocka_unit_test(test_profiles),
		cmocka_unit_test(test_every_suite_name_of_go_parses),
		cmocka_unit_test(test_handshakes),
		cmocka_unit_test(test_no_common_version_or_suite_is_said_on_both_sides),
		cmocka_unit_test(test_clients_of_one_ca_keep_apart),
		cmocka_unit_test(test_a_client_can_be_made_again_from_its_parts),
		cmocka_unit_test(test_a_client_without_certificate_is_not_let_in),
		cmocka_unit_test(test_what_passes_by_itself_may_be_tried_again),
		cmocka_unit_test(test_contexts_refuse_what_cannot_work),
	};
	return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
