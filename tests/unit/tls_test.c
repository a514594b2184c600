/* SPDX-License-Identifier: Apache-2.0 */
/* tls_test.c - certificates, names and profiles of the tunnel */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <openssl/ec.h>
#include "tls_rig.h"

/* ---- certificates as they must look -------------------------------------------------------- */

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_certificates_look_as_upstreams_do),
		cmocka_unit_test(test_ca_survives_a_restart_and_issues_within_its_own_life),
		cmocka_unit_test(test_ca_files_that_do_not_fit_are_refused),
		cmocka_unit_test(test_instance_name_is_a_dns_label),
		cmocka_unit_test(test_profiles),
		cmocka_unit_test(test_every_suite_name_of_go_parses),
	};
	return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
