/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_handshake_test.c - who is let in, and what both ends say otherwise
 *
 * tests/integration/test_tls.py does the same with OpenSSL's own programs as peers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "base/buf.h"
#include "tls_rig.h"

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
		cmocka_unit_test(test_handshakes),
		cmocka_unit_test(test_no_common_version_or_suite_is_said_on_both_sides),
		cmocka_unit_test(test_clients_of_one_ca_keep_apart),
		cmocka_unit_test(test_a_client_can_be_made_again_from_its_parts),
		cmocka_unit_test(test_a_client_without_certificate_is_not_let_in),
		cmocka_unit_test(test_what_passes_by_itself_may_be_tried_again),
		cmocka_unit_test(test_contexts_refuse_what_cannot_work),
	};
	return cmocka_run_group_tests_name("tls_handshake", tests, NULL, NULL);
}
