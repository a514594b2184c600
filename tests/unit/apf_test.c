/* SPDX-License-Identifier: Apache-2.0 */
/* apf_test.c - the forwarder's configuration: exact text out, Go's leniency in, refusals in words */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "apf/apf.h"

/* As an upstream adaptor writes it (the PEM texts shortened). */
static const char upstreams[] =
	"{\n"
	"    \"pod-network\": {\n"
	"        \"podip\": \"10.42.7.31/24\",\n"
	"        \"pod-hw-addr\": \"5a:1c:0e:77:20:b4\",\n"
	"        \"interface\": \"eth0\",\n"
	"        \"worker-node-ip\": \"192.168.60.12/22\",\n"
	"        \"tunnel-type\": \"vxlan\",\n"
	"        \"routes\": [\n"
	"            {\n"
	"                \"dst\": \"0.0.0.0/0\",\n"
	"                \"gw\": \"10.42.7.1\",\n"
	"                \"dev\": \"eth0\",\n"
	"                \"protocol\": \"boot\"\n"
	"            },\n"
	"            {\n"
	"                \"dst\": \"10.42.7.0/24\",\n"
	"                \"gw\": \"\",\n"
	"                \"dev\": \"eth0\",\n"
	"                \"protocol\": \"kernel\",\n"
	"                \"scope\": \"link\"\n"
	"            }\n"
	"        ],\n"
	"        \"neighbors\": null,\n"
	"        \"mtu\": 1500,\n"
	"        \"index\": 4,\n"
	"        \"vxlan-port\": 4789,\n"
	"        \"vxlan-id\": 555004,\n"
	"        \"dedicated\": false,\n"
	"        \"external-net-via-pod-vm\": false\n"
	"    },\n"
	"    \"pod-namespace\": \"shop\",\n"
	"    \"pod-name\": \"cart-0\",\n"
	"    \"tls-server-key\": \"-----BEGIN PRIVATE KEY-----\\nMIG\\n-----END PRIVATE KEY-----\\n\",\n"
	"    \"tls-server-cert\": \"-----BEGIN CERTIFICATE-----\\nMII\\n-----END CERTIFICATE-----\\n\",\n"
	"    \"tls-client-ca\": \"-----BEGIN CERTIFICATE-----\\nMIJ\\n-----END CERTIFICATE-----\\n\",\n"
	"    \"tls-min-version\": \"VersionTLS12\",\n"
	"    \"tls-cipher-suites\": [\n"
	"        \"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\"\n"
	"    ]\n"
	"}";

static void wipe(struct buf *b)
{
	buf_wipe(b);
}

static void test_upstreams_document_comes_back_byte_by_byte(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	cleanup(apf_free) struct apf apf = {0};
	if (apf_read(upstreams, strlen(upstreams), &apf, &err) < 0)
		fail_msg("%s", error_message(&err));
	assert_true(apf.has_network);
	assert_string_equal(apf.network.podip, "10.42.7.31/24");
	assert_int_equal(apf.network.vxlan_id, 555004);
	assert_string_equal(apf.pod_namespace, "shop");
	assert_string_equal(apf.pod_name, "cart-0");
	assert_string_equal(secret_reveal(&apf.tls_server_key),
		"-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----\n");
	assert_string_equal(apf.tls_min_version, "VersionTLS12");
	assert_string_equal(apf.tls_cipher_suites[0], "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
	assert_null(apf.tls_cipher_suites[1]);
	cleanup(wipe) struct buf out = BUF_INIT;
	assert_int_equal(apf_write(&apf, &out, &err), 0);
	assert_string_equal(buf_text(&out), upstreams);
}

static void test_reading_is_as_lenient_as_gos(void **state)
{
	(void)state;
	static const char *const same[] = {
		"{}",
		"{} and what follows",
		"{\"pod-network\": null, \"pod-namespace\": null, \"tls-cipher-suites\": null}",
		"{\"tls-cipher-suites\": [], \"sc-pp-prv\": \"aGk=\", \"new\": {\"x\": [1]}}",
	};
	for (size_t i = 0; i < array_size(same); i++) {
		cleanup(apf_free) struct apf apf = {0};
		assert_int_equal(apf_read(same[i], strlen(same[i]), &apf, NULL), 0);
		assert_false(apf.has_network);
		assert_string_equal(apf.pod_namespace, "");
		assert_string_equal(apf.pod_name, "");
		assert_string_equal(apf.tls_server_cert, "");
		assert_string_equal(apf.tls_client_ca, "");
		assert_string_equal(apf.tls_min_version, "");
		assert_true(secret_is_empty(&apf.tls_server_key));
		assert_null(apf.tls_cipher_suites);
	}
	static const char other_case[] = "{\"Pod-Name\": \"a\", \"TLS-Server-Key\": \"k\"}";
	cleanup(apf_free) struct apf apf = {0};
	assert_int_equal(apf_read(other_case, strlen(other_case), &apf, NULL), 0);
	assert_string_equal(apf.pod_name, "a");
	assert_string_equal(secret_reveal(&apf.tls_server_key), "k");
}

static void test_empty_members_are_left_out_as_upstream_does(void **state)
{
	(void)state;
	struct apf apf = {.pod_namespace = (char *)"shop", .pod_name = NULL};
	cleanup(wipe) struct buf out = BUF_INIT;
	assert_int_equal(apf_write(&apf, &out, NULL), 0);
	assert_string_equal(buf_text(&out),
		"{\n    \"pod-network\": null,\n    \"pod-namespace\": \"shop\",\n    \"pod-name\": \"\"\n}");
}

static void test_refusals_name_the_member(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"", "apf.json: line 1: '[' or '{' expected near end of file"},
		{"[]", "apf.json: must be an object"},
		{"{\"pod-name\": 5}", "apf.json: \"pod-name\" must be a string"},
		{"{\"tls-server-key\": 5}", "apf.json: \"tls-server-key\" must be a string"},
		{"{\"tls-cipher-suites\": \"a\"}",
			"apf.json: \"tls-cipher-suites\" must be a list"},
		{"{\"tls-cipher-suites\": [5]}",
			"apf.json: \"tls-cipher-suites\" must hold strings only"},
		{"{\"pod-network\": 5}", "apf.json: pod-network must be an object"},
		{"{\"pod-network\": {\"mtu\": \"1500\"}}",
			"apf.json: pod-network: \"mtu\" must be an integer"},
		{"{\"tls-server-cert\": \"a\\u0000b\"}",
			"apf.json: line 1: \\u0000 is not allowed without JSON_ALLOW_NUL near "
			"'\"a\\u0000b\"'"},
		{"{\"pod-name\": \"\xff\"}",
			"apf.json: line 1: unable to decode byte 0xff near '\"'"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		cleanup(apf_free) struct apf apf = {0};
		assert_int_equal(apf_read(cases[i].text, strlen(cases[i].text), &apf, &err), -1);
		assert_string_equal(error_message(&err), cases[i].message);
		assert_null(apf.pod_name);
	}
	cleanup(buf_free) struct buf many = BUF_INIT;
	buf_append_text(&many, "{\"tls-cipher-suites\": [\"\"");
	for (int i = 0; i < 64; i++)
		buf_append_text(&many, ",\"\"");
	buf_append_text(&many, "]}");
	cleanup_error err = ERROR_INIT;
	struct apf apf;
	assert_int_equal(apf_read(buf_text(&many), many.len, &apf, &err), -1);
	assert_string_equal(error_message(&err),
		"apf.json: \"tls-cipher-suites\" has more than 64 names");
	char *big = calloc(1, APF_SIZE_MAX + 1);
	assert_int_equal(apf_read(big, APF_SIZE_MAX + 1, &apf, &err), -1);
	assert_string_equal(error_message(&err),
		"apf.json: 262145 bytes are more than the limit of 262144");
	free(big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upstreams_document_comes_back_byte_by_byte),
		cmocka_unit_test(test_reading_is_as_lenient_as_gos),
		cmocka_unit_test(test_empty_members_are_left_out_as_upstream_does),
		cmocka_unit_test(test_refusals_name_the_member),
	};
	return cmocka_run_group_tests_name("apf", tests, NULL, NULL);
}
