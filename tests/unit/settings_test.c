/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The adaptor's options: every one of upstream's by name, variable and default, so that an existing
 * ConfigMap drives this program; and what is wrong is refused with the option named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "adaptor/settings.h"
#include "base/base64.h"
#include "base/bound.h"
#include "initdata/initdata.h"

static const char *no_variable(const char *name)
{
	(void)name;
	return NULL;
}

static int parse(struct settings *settings, int argc, char *const *argv, option_getenv *variables,
	struct error *err)
{
	bool help;
	*settings = (struct settings){0};
	struct option_set set = settings_option_set(settings);
	return options_parse(&set, 1, argc, argv, variables, &help, err);
}

static void test_every_option_of_upstream_is_here(void **state)
{
	(void)state;
	/* name, variable, default, as in upstream's flags and manifests */
	static const struct {
		const char *name, *env, *def;
	} upstream[] = {
		{"socket", "REMOTE_HYPERVISOR_ENDPOINT", "/run/peerpod/hypervisor.sock"},
		{"pods-dir", "PODS_DIR", "/run/peerpod/pods"},
		{"pause-image", "PAUSE_IMAGE", ""},
		{"forwarder-port", "FORWARDER_PORT", "15150"},
		{"ca-cert-file", "CACERT_FILE", ""},
		{"cert-file", "CERT_FILE", ""},
		{"cert-key", "CERT_KEY", ""},
		{"tls-skip-verify", "TLS_SKIP_VERIFY", "false"},
		{"tls-min-version", "TLS_MIN_VERSION", ""},
		{"tls-cipher-suites", "TLS_CIPHER_SUITES", ""},
		{"proxy-timeout", "PROXY_TIMEOUT", "5m0s"},
		{"tunnel-type", "TUNNEL_TYPE", "vxlan"},
		{"vxlan-port", "VXLAN_PORT", "4789"},
		{"vxlan-min-id", NULL, "555000"},
		{"host-interface", NULL, ""},
		{"initdata", "INITDATA", ""},
		{"cloud-config-verify", "CLOUD_CONFIG_VERIFY", "false"},
		{"peerpods-limit-per-node", "PEERPODS_LIMIT_PER_NODE", "10"},
		{"enable-scratch-space", "ENABLE_SCRATCH_SPACE", "false"},
		{"ext-network-via-podvm", "EXTERNAL_NETWORK_VIA_PODVM", "false"},
		{"pod-subnet-cidrs", "POD_SUBNET_CIDRS", ""},
		{"disable-tls", NULL, "false"},
	};
	for (size_t i = 0; i < array_size(upstream); i++) {
		const struct option *found = NULL;
		for (size_t j = 0; j < settings_option_count; j++) {
			if (settings_options[j].name &&
				!strcmp(settings_options[j].name, upstream[i].name))
				found = &settings_options[j];
		}
		assert_non_null(found);
		if (!found)
			return;
		assert_string_equal(found->def ? found->def : "", upstream[i].def);
		if (upstream[i].env)
			assert_string_equal(found->env, upstream[i].env);
		else
			assert_null(found->env);
	}
}

static void test_no_two_options_share_a_name_or_a_variable(void **state)
{
	(void)state;
	for (size_t i = 0; i < settings_option_count; i++) {
		for (size_t j = i + 1; j < settings_option_count; j++) {
			const struct option *a = &settings_options[i], *b = &settings_options[j];
			assert_false(a->name && b->name && !strcmp(a->name, b->name));
			assert_false(a->env && b->env && !strcmp(a->env, b->env));
		}
	}
}

static const char *config_map(const char *name)
{
	static const struct {
		const char *name, *value;
	} data[] = {
		{"REMOTE_HYPERVISOR_ENDPOINT", "/run/other/h.sock"},
		{"PODS_DIR", "/run/other/pods"},
		{"FORWARDER_PORT", "15151"},
		{"PROXY_TIMEOUT", "7m"},
		{"VXLAN_PORT", "9000"},
		{"TLS_MIN_VERSION", "VersionTLS13"},
		{"PEERPODS_LIMIT_PER_NODE", "-1"},
		{"ENABLE_SCRATCH_SPACE", "TRUE"},
		{"EXTERNAL_NETWORK_VIA_PODVM", "1"},
		{"POD_SUBNET_CIDRS", "10.0.0.0/8, 2001:db8::/32"},
		{"CLOUD_CONFIG_VERIFY", "no"},
		{"PAUSE_IMAGE", ""},
		{"TUNNEL_TYPE", ""},
		{"NODE_NAME", "worker-1"},
		{"PROBE_PORT", "8000"},
	};
	for (size_t i = 0; i < array_size(data); i++) {
		if (!strcmp(data[i].name, name))
			return data[i].value;
	}
	return NULL;
}

static void test_a_config_map_drives_it(void **state)
{
	(void)state;
	struct settings s;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(parse(&s, 0, NULL, config_map, &err), 0);
	assert_int_equal(settings_check(&s, &err), 0);
	assert_string_equal(s.socket, "/run/other/h.sock");
	assert_string_equal(s.pods_dir, "/run/other/pods");
	assert_int_equal(s.forwarder_port, 15151);
	assert_int_equal(s.proxy_timeout_ns, 420 * NS_PER_S);
	assert_int_equal(s.vxlan_port, 9000);
	assert_string_equal(s.profile.min_version, "VersionTLS13");
	assert_int_equal(s.peerpods_limit, -1);
	assert_true(s.scratch_space);
	assert_true(s.ext_network_via_podvm);
	assert_false(s.cloud_config_verify);
	assert_string_equal(s.tunnel_type, "vxlan");
	assert_string_equal(s.node_name, "worker-1");
	assert_int_equal(s.probe_port, 8000);
	settings_free(&s);
}

static void test_the_host_is_the_node_where_nobody_says(void **state)
{
	(void)state;
	struct settings s;
	assert_int_equal(parse(&s, 0, NULL, no_variable, NULL), 0);
	assert_int_equal(settings_check(&s, NULL), 0);
	assert_true(*s.node_name != 0);
	settings_free(&s);
}

static void test_what_is_wrong_is_refused_with_the_option_named(void **state)
{
	(void)state;
	static const struct {
		const char *arguments[3];
		const char *message;
	} rows[] = {
		{{"-pods-dir=run"},
			"option -pods-dir: \"run\" must be an absolute path of letters, digits, '.', '_' and '-'"},
		{{"-socket", "/run/a:b"},
			"option -socket: \"/run/a:b\" must be an absolute path of letters, digits, '.', '_' and '-'"},
		{{"-proxy-timeout=0"},
			"option -proxy-timeout (PROXY_TIMEOUT) must be longer than 0"},
		{{"-proxy-timeout=5"},
			"option -proxy-timeout (PROXY_TIMEOUT): \"5\" is no duration: write it like 5m, 1h30m or "
			"200ms"},
		{{"-forwarder-port=70000"},
			"option -forwarder-port (FORWARDER_PORT): 70000 is not between 1 and 65535"},
		{{"-vxlan-min-id=16777216"},
			"option -vxlan-min-id: 16777216 is not between 1 and 16777215"},
		{{"-tunnel-type=gre"},
			"option -tunnel-type (TUNNEL_TYPE): \"gre\" is none of: vxlan"},
		{{"-cert-file=/dev/null"},
			"options -cert-file (CERT_FILE) and -cert-key (CERT_KEY) go together: -cert-key is not set"},
		{{"-cert-key=/dev/null"},
			"options -cert-file (CERT_FILE) and -cert-key (CERT_KEY) go together: -cert-file is not set"},
		{{"-ca-cert-file=/dev/null", "-tls-skip-verify"},
			"options -ca-cert-file (CACERT_FILE) and -tls-skip-verify (TLS_SKIP_VERIFY) exclude each "
			"other"},
		{{"-ca-cert-file=/nonexistent"},
			"option -ca-cert-file: open /nonexistent: No such file or directory"},
		{{"-ca-cert-file=/dev/null"}, "option -ca-cert-file: /dev/null is empty"},
		{{"-ca-cert-file=/proc/version"},
			"options -ca-cert-file, -cert-file and -cert-key: TLS server CA: holds no PEM certificate"},
		{{"-cert-file=/proc/version", "-cert-key=/proc/version"},
			"options -ca-cert-file, -cert-file and -cert-key: TLS client certificate: holds no PEM "
			"certificate"},
		{{"-create-grace=0s"},
			"option -create-grace (CREATE_GRACE) must be longer than 0: no sandbox could be started"},
		{{"-pod-subnet-cidrs=10.0.0.0/8,10.1.0.0"},
			"option -pod-subnet-cidrs (POD_SUBNET_CIDRS): \"10.1.0.0\" is no prefix: write it like "
			"10.0.0.0/8"},
		{{"-pod-subnet-cidrs=10.0.0.0/33"},
			"option -pod-subnet-cidrs (POD_SUBNET_CIDRS): \"10.0.0.0/33\" is no prefix: write it like "
			"10.0.0.0/8"},
		{{"-socket="},
			"option -socket (REMOTE_HYPERVISOR_ENDPOINT) is required and not set: Unix socket of "
			"the hypervisor service"},
		{{"-colour=red"}, "unknown option -colour: --help lists what there is"},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		struct settings s;
		cleanup_error err = ERROR_INIT;
		int argc = 0;
		while (argc < 3 && rows[i].arguments[argc])
			argc++;
		if (parse(&s, argc, (char *const *)rows[i].arguments, no_variable, &err) == 0) {
			assert_int_equal(settings_check(&s, &err), -1);
			settings_free(&s);
		}
		assert_string_equal(error_message(&err), rows[i].message);
	}
}

static void test_a_tls_profile_that_cannot_work_is_refused(void **state)
{
	(void)state;
	static const char *const arguments[][2] = {
		{"-tls-min-version=VersionTLS11", NULL},
		{"-tls-cipher-suites=TLS_NO_SUCH_SUITE", NULL},
		{"-tls-min-version=VersionTLS13",
			"-tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
	};
	for (size_t i = 0; i < array_size(arguments); i++) {
		struct settings s;
		cleanup_error err = ERROR_INIT;
		assert_int_equal(parse(&s, arguments[i][1] ? 2 : 1, (char *const *)arguments[i],
					 no_variable, &err),
			0);
		assert_int_equal(settings_check(&s, &err), -1);
		assert_memory_equal(error_message(&err),
			"options -tls-min-version and -tls-cipher-suites: ", 49);
		settings_free(&s);
	}
}

static void check_initdata(const char *toml, const char *message)
{
	struct settings s;
	cleanup_error err = ERROR_INIT;
	cleanup(buf_free) struct buf argument = BUF_INIT;
	buf_append_text(&argument, "-initdata=");
	assert_int_equal(initdata_encode(toml, strlen(toml), &argument, NULL), 0);
	char *const arguments[] = {(char *)argument.data};
	assert_int_equal(parse(&s, 1, arguments, no_variable, &err), 0);
	assert_int_equal(settings_check(&s, &err), message ? -1 : 0);
	if (message)
		assert_string_equal(error_message(&err), message);
	settings_free(&s);
}

static void test_default_initdata_is_checked_at_start(void **state)
{
	(void)state;
	check_initdata("algorithm = \"sha256\"\nversion = \"0.1.0\"\n[data]\n\"aa.toml\" = \"\"\n",
		NULL);
	check_initdata("algorithm = \"sha256\"\nversion = \"0.1.0\"\n[data]\n",
		"option -initdata (INITDATA): [data] has no \"aa.toml\", without which nothing starts in the pod "
		"VM: add it, an empty text will do");
	struct settings s;
	cleanup_error err = ERROR_INIT;
	char *const arguments[] = {(char *)"-initdata=AAAA"};
	assert_int_equal(parse(&s, 1, arguments, no_variable, &err), 0);
	assert_int_equal(settings_check(&s, &err), -1);
	assert_memory_equal(error_message(&err), "option -initdata (INITDATA): ", 29);
	settings_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_option_of_upstream_is_here),
		cmocka_unit_test(test_no_two_options_share_a_name_or_a_variable),
		cmocka_unit_test(test_a_config_map_drives_it),
		cmocka_unit_test(test_the_host_is_the_node_where_nobody_says),
		cmocka_unit_test(test_what_is_wrong_is_refused_with_the_option_named),
		cmocka_unit_test(test_a_tls_profile_that_cannot_work_is_refused),
		cmocka_unit_test(test_default_initdata_is_checked_at_start),
	};
	return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
