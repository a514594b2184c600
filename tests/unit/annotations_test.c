/* SPDX-License-Identifier: Apache-2.0 */
/* What a shim may say about a pod in CreateVM, and with which words the rest is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "adaptor/annotations.h"
#include "base/cleanup.h"

#define KEY(name) "io.katacontainers.config.hypervisor." name
#define NAME "io.kubernetes.cri.sandbox-name"
#define NAMESPACE "io.kubernetes.cri.sandbox-namespace"

static const char good_initdata[] =
	"algorithm = \"sha256\"\nversion = \"0.1.0\"\n\n[data]\n\"aa.toml\" = \"\"\n";

/* All nine keys, as the Go shim sends them when nothing is asked for. */
static size_t empty_request(struct annotation *a)
{
	static const struct annotation nine[] = {
		{NAME, "web"},
		{NAMESPACE, "shop"},
		{KEY("machine_type"), ""},
		{KEY("image"), ""},
		{KEY("default_vcpus"), "0"},
		{KEY("default_memory"), "0"},
		{KEY("cc_init_data"), ""},
		{KEY("default_gpus"), "0"},
		{KEY("default_gpu_model"), ""},
	};
	memcpy(a, nine, sizeof(nine));
	return array_size(nine);
}

static void set(struct annotation *a, size_t count, const char *key, const char *value)
{
	for (size_t i = 0; i < count; i++) {
		if (!strcmp(a[i].key, key))
			a[i].value = value;
	}
}

static void test_nothing_asked_for_means_defaults(void **state)
{
	(void)state;
	struct annotation a[9];
	struct pod_request r;
	cleanup_error err = ERROR_INIT;
	size_t n = empty_request(a);
	assert_int_equal(annotations_read(a, n, &r, &err), 0);
	assert_string_equal(r.pod, "web");
	assert_string_equal(r.pod_namespace, "shop");
	assert_string_equal(r.pod_uid, "");
	assert_string_equal(r.machine_type, "");
	assert_string_equal(r.image, "");
	assert_string_equal(r.initdata, "");
	assert_int_equal(r.vcpus, 0);
	assert_int_equal(r.memory_mib, 0);
	assert_int_equal(r.gpus, 0);
	pod_request_free(&r);
}

static void test_a_key_that_is_absent_counts_as_empty_and_others_are_ignored(void **state)
{
	(void)state;
	const struct annotation a[] = {{"example.org/other", "x"}, {NAMESPACE, "shop"},
		{NAME, "web"}};
	struct pod_request r;
	assert_int_equal(annotations_read(a, array_size(a), &r, NULL), 0);
	assert_int_equal(r.vcpus, 0);
	pod_request_free(&r);
}

static void test_sizes(void **state)
{
	(void)state;
	static const struct {
		const char *key, *value;
		int64_t vcpus, memory, gpus;
	} rows[] = {
		{KEY("default_vcpus"), "", 0, 0, 0},
		{KEY("default_vcpus"), "2", 2, 0, 0},
		{KEY("default_vcpus"), "1.5", 2, 0, 0},
		{KEY("default_vcpus"), "0.5", 1, 0, 0},
		{KEY("default_vcpus"), "2.000", 2, 0, 0},
		{KEY("default_vcpus"), "0.0", 0, 0, 0},
		{KEY("default_vcpus"), "4096", 4096, 0, 0},
		{KEY("default_memory"), "2048", 0, 2048, 0},
		{KEY("default_memory"), "", 0, 0, 0},
		{KEY("default_gpus"), "4", 0, 0, 4},
		{KEY("default_gpus"), "", 0, 0, 0},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		struct annotation a[9];
		struct pod_request r;
		size_t n = empty_request(a);
		set(a, n, rows[i].key, rows[i].value);
		assert_int_equal(annotations_read(a, n, &r, NULL), 0);
		assert_int_equal(r.vcpus, rows[i].vcpus);
		assert_int_equal(r.memory_mib, rows[i].memory);
		assert_int_equal(r.gpus, rows[i].gpus);
		pod_request_free(&r);
	}
}

static void test_crio_name_is_taken_apart(void **state)
{
	(void)state;
	struct annotation a[9];
	struct pod_request r;
	size_t n = empty_request(a);
	set(a, n, NAME, "k8s_cart-0_shop_3f9d2c1e-0000-4000-8000-1234567890ab_2");
	assert_int_equal(annotations_read(a, n, &r, NULL), 0);
	assert_string_equal(r.pod, "cart-0");
	assert_string_equal(r.pod_namespace, "shop");
	assert_string_equal(r.pod_uid, "3f9d2c1e-0000-4000-8000-1234567890ab");
	pod_request_free(&r);
	set(a, n, NAMESPACE, "");
	assert_int_equal(annotations_read(a, n, &r, NULL), 0);
	assert_string_equal(r.pod_namespace, "shop");
	pod_request_free(&r);
}

static void test_initdata_text_is_kept_byte_for_byte(void **state)
{
	(void)state;
	struct annotation a[9];
	struct pod_request r;
	size_t n = empty_request(a);
	set(a, n, KEY("cc_init_data"), good_initdata);
	assert_int_equal(annotations_read(a, n, &r, NULL), 0);
	assert_string_equal(r.initdata, good_initdata);
	pod_request_free(&r);
}

static void test_what_is_wrong_is_refused_with_the_annotation_named(void **state)
{
	(void)state;
	static const char long_text[] =
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	static const struct {
		const char *key, *value, *message;
	} rows[] = {
		{NAME, "", "annotation " NAME ": is missing or empty"},
		{NAME, "a b", "annotation " NAME ": character 2 (byte 0x20) is not allowed"},
		{NAME, "../../etc", "annotation " NAME ": character 3 (byte 0x2f) is not allowed"},
		{NAME, "k8s_x",
			"annotation " NAME
			": \"k8s_x\" is not k8s_<pod>_<namespace>_<uid>_<attempt>"},
		{NAME, "k8s_a_b_c_0_1",
			"annotation " NAME
			": \"k8s_a_b_c_0_1\" is not k8s_<pod>_<namespace>_<uid>_<attempt>"},
		{NAME, "k8s_web_other_u1_0",
			"annotations " NAME " and " NAMESPACE
			" differ on the namespace: \"other\" and \"shop\""},
		{NAME, "k8s_web_shop_u.1_0",
			"annotation " NAME ": character 2 (byte 0x2e) is not allowed"},
		{NAMESPACE, "", "annotation " NAMESPACE ": is missing or empty"},
		{NAMESPACE, long_text,
			"annotation " NAMESPACE ": 200 characters are more than the limit of 63"},
		{KEY("default_vcpus"), "two",
			"annotation " KEY(
				"default_vcpus") ": \"two\" is no number of vCPUs: write it like 2 or 1.5"},
		{KEY("default_vcpus"), "-1",
			"annotation " KEY(
				"default_vcpus") ": \"-1\" is no number of vCPUs: write it like 2 or 1.5"},
		{KEY("default_vcpus"), "1.",
			"annotation " KEY(
				"default_vcpus") ": \"1.\" is no number of vCPUs: write it like 2 or 1.5"},
		{KEY("default_vcpus"), "1.5.5",
			"annotation " KEY(
				"default_vcpus") ": \"1.5.5\" is no number of vCPUs: write it like 2 or 1.5"},
		{KEY("default_vcpus"), "1e3",
			"annotation " KEY(
				"default_vcpus") ": \"1e3\" is no number of vCPUs: write it like 2 or 1.5"},
		{KEY("default_vcpus"), "4097",
			"annotation " KEY(
				"default_vcpus") ": \"4097\" is more than the limit of 4096"},
		{KEY("default_vcpus"), "99999999999999999999999",
			"annotation " KEY(
				"default_vcpus") ": \"99999999999999999999999\" is more than the limit of 4096"},
		{KEY("default_vcpus"), "4096.5",
			"annotation " KEY(
				"default_vcpus") ": \"4096.5\" is more than the limit of 4096"},
		{KEY("default_memory"), "2Gi",
			"annotation " KEY("default_memory") ": \"2Gi\" is no whole number (MiB)"},
		{KEY("default_memory"), "67108865",
			"annotation " KEY(
				"default_memory") ": \"67108865\" is more than the limit of 67108864 (MiB)"},
		{KEY("default_gpus"), "1.5",
			"annotation " KEY("default_gpus") ": \"1.5\" is no whole number"},
		{KEY("default_gpus"), "65",
			"annotation " KEY("default_gpus") ": \"65\" is more than the limit of 64"},
		{KEY("machine_type"), "big\none",
			"annotation " KEY(
				"machine_type") ": character 4 (byte 0x0a) is not allowed"},
		{KEY("image"), "ami 1",
			"annotation " KEY("image") ": character 4 (byte 0x20) is not allowed"},
		{KEY("default_gpu_model"), "A\x01",
			"annotation " KEY("default_gpu_model") ": holds a control character"},
		{KEY("cc_init_data"),
			"algorithm = \"sha256\"\nversion = \"0.1.0\"\n[data]\n\"cdh.toml\" = \"\"\n",
			"annotation " KEY(
				"cc_init_data") ": [data] has no \"aa.toml\", without which nothing starts in the pod VM: add it, an empty "
						"text will do"},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		struct annotation a[9];
		struct pod_request r;
		cleanup_error err = ERROR_INIT;
		size_t n = empty_request(a);
		set(a, n, rows[i].key, rows[i].value);
		assert_int_equal(annotations_read(a, n, &r, &err), -1);
		assert_string_equal(error_message(&err), rows[i].message);
		assert_int_equal(err.kind, ERROR_INVALID);
	}
}

static void test_the_machine_type_carries_what_no_other_key_can(void **state)
{
	(void)state;
	static const struct {
		const char *value, *type;
		enum instance_tee tee;
		enum instance_market market;
	} rows[] = {
		{"m6a.large", "m6a.large", TEE_DEFAULT, MARKET_DEFAULT},
		{"m6a.large,tee=snp", "m6a.large", TEE_SNP, MARKET_DEFAULT},
		{"m6a.large,market=spot,tee=none", "m6a.large", TEE_NONE, MARKET_SPOT},
		{"tee=tdx", "", TEE_TDX, MARKET_DEFAULT},
		{"market=on-demand,tee=sev", "", TEE_SEV, MARKET_ON_DEMAND},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		struct annotation a[9];
		struct pod_request r;
		size_t n = empty_request(a);
		set(a, n, KEY("machine_type"), rows[i].value);
		assert_int_equal(annotations_read(a, n, &r, NULL), 0);
		assert_string_equal(r.machine_type, rows[i].type);
		assert_int_equal(r.tee, rows[i].tee);
		assert_int_equal(r.market, rows[i].market);
		pod_request_free(&r);
	}
	static const struct {
		const char *value, *word;
	} wrong[] = {{"m6a.large,tee=sgx", "tee=sgx"}, {"m6a.large,", ""}, {"tee=snp,,", ""},
		{"m6a.large,c6a.large", "c6a.large"}, {"market=cheap", "market=cheap"}};
	for (size_t i = 0; i < array_size(wrong); i++) {
		struct annotation a[9];
		struct pod_request r;
		cleanup_error err = ERROR_INIT;
		char message[300];
		size_t n = empty_request(a);
		set(a, n, KEY("machine_type"), wrong[i].value);
		assert_int_equal(annotations_read(a, n, &r, &err), -1);
		snprintf(message, sizeof(message),
			"annotation " KEY(
				"machine_type") ": \"%s\" is none of tee=none, tee=sev, tee=snp, "
						"tee=tdx, market=spot, market=on-demand",
			wrong[i].word);
		assert_string_equal(error_message(&err), message);
	}
}

static void test_bad_initdata_is_refused_at_the_door(void **state)
{
	(void)state;
	static const char *const texts[] = {"not = [toml",
		"algorithm = \"md5\"\nversion = \"0.1.0\"\n[data]\n", "H4sIAAAAAAAA"};
	for (size_t i = 0; i < array_size(texts); i++) {
		struct annotation a[9];
		struct pod_request r;
		cleanup_error err = ERROR_INIT;
		size_t n = empty_request(a);
		set(a, n, KEY("cc_init_data"), texts[i]);
		assert_int_equal(annotations_read(a, n, &r, &err), -1);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_memory_equal(error_message(&err), "annotation " KEY("cc_init_data") ": ",
			strlen("annotation " KEY("cc_init_data") ": "));
	}
}

static void test_sandbox_ids_are_fit_for_paths(void **state)
{
	(void)state;
	static const struct {
		const char *id, *message;
	} rows[] = {
		{"", "empty sandbox id"},
		{"..", "sandbox id \"..\" may hold letters, digits, '.', '_' and '-' only, and begins with a letter "
		       "or digit"},
		{"a/b", "sandbox id \"a/b\" may hold letters, digits, '.', '_' and '-' only, and begins with a letter "
			"or digit"},
		{"-rf", "sandbox id \"-rf\" may hold letters, digits, '.', '_' and '-' only, and begins with a letter "
			"or digit"},
		{"a b", "sandbox id \"a b\" may hold letters, digits, '.', '_' and '-' only, and begins with a letter "
			"or digit"},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		cleanup_error err = ERROR_INIT;
		assert_int_equal(sandbox_id_check(rows[i].id, &err), -1);
		assert_string_equal(error_message(&err), rows[i].message);
	}
	char id[130];
	memset(id, 'a', 129);
	id[129] = 0;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(sandbox_id_check(id, &err), -1);
	assert_string_equal(error_message(&err),
		"sandbox id of 129 characters: more than the limit of 128");
	id[64] = 0;
	assert_int_equal(sandbox_id_check(id, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_asked_for_means_defaults),
		cmocka_unit_test(test_a_key_that_is_absent_counts_as_empty_and_others_are_ignored),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_crio_name_is_taken_apart),
		cmocka_unit_test(test_initdata_text_is_kept_byte_for_byte),
		cmocka_unit_test(test_what_is_wrong_is_refused_with_the_annotation_named),
		cmocka_unit_test(test_the_machine_type_carries_what_no_other_key_can),
		cmocka_unit_test(test_bad_initdata_is_refused_at_the_door),
		cmocka_unit_test(test_sandbox_ids_are_fit_for_paths),
	};
	return cmocka_run_group_tests_name("annotations", tests, NULL, NULL);
}
