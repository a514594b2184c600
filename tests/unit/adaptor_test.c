/* SPDX-License-Identifier: Apache-2.0 */
/* CreateVM, StartVM, StopVM and GetInfo against a world in memory: what they leave, and what the user is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "adaptor_rig.h"

static void test_a_pods_life_leaves_nothing(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	node_with(NULL);
	assert_int_equal(fake_create(&node, "s1", &err), 0);
	assert_int_equal(fake_count().instances, 0); /* CreateVM makes nothing in the cloud */
	assert_int_equal(fake_count().reservations, 1);
	assert_int_equal(start("s1", &err), 0);
	struct fake_counts counts = fake_count();
	assert_int_equal(counts.instances, 1);
	assert_int_equal(counts.tunnels, 1);
	assert_int_equal(counts.served, 1);
	assert_int_equal(start("s1", &err), 0); /* again: it runs */
	assert_int_equal(fake_count().creates, 1);
	assert_int_equal(stop("s1", &err), 0);
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_stop_vm_twice_and_for_an_unknown_sandbox_succeeds(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	node_with(NULL);
	assert_int_equal(stop("never-heard-of", &err), 0);
	assert_int_equal(fake_create(&node, "s1", &err), 0);
	assert_int_equal(stop("s1", &err), 0); /* StartVM was never called */
	assert_int_equal(stop("s1", &err), 0);
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_a_sandbox_id_is_used_once(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	node_with(NULL);
	assert_int_equal(fake_create(&node, "s1", &err), 0);
	assert_int_equal(fake_create(&node, "s1", &err), -1);
	assert_int_equal(err.kind, ERROR_EXISTS);
	assert_string_equal(error_message(&err), "pod shop/web: sandbox s1 already exists");
	assert_int_equal(start("s1", &err), 0); /* unharmed */
	assert_int_equal(stop("s1", &err), 0);
	assert_int_equal(fake_create(&node, "s1", &err), 0);
	assert_int_equal(stop("s1", &err), 0);
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_start_vm_needs_a_create_vm(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	node_with(NULL);
	assert_int_equal(start("s1", &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
	assert_string_equal(error_message(&err), "sandbox s1 does not exist");
	fake_node_free(&node);
}

/* ---- what the user is told, and what is left, when a start fails ---- */

static void test_a_failed_start_names_stage_cause_and_pod_and_leaves_nothing(void **state)
{
	(void)state;
	static const struct {
		struct fake_faults faults;
		enum error_kind kind;
		const char *message;
	} rows[] = {
		{{.create = ERROR_CAPACITY}, ERROR_CAPACITY,
			"start pod shop/web: create the pod VM: the cloud is full"},
		{{.create = ERROR_CAPACITY, .create_but_fail = true}, ERROR_CAPACITY,
			"start pod shop/web: create the pod VM: the cloud is full"},
		{{.addresses = ERROR_TIMEOUT}, ERROR_TIMEOUT,
			"start pod shop/web: wait for the address of the pod VM: no lease; the console of the pod VM "
			"ended with: Kernel panic | not syncing"},
		{{.setup = ERROR_GONE}, ERROR_GONE,
			"start pod shop/web: set up the pod network: no such device"},
		{{.open = ERROR_RETRY}, ERROR_RETRY,
			"start pod shop/web: reach the agent in the pod VM: refused: nobody listens; the console of "
			"the pod VM ended with: Kernel panic | not syncing"},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		cleanup_error err = ERROR_INIT;
		node_with(NULL);
		fake_console = "\x1b[1;31mKernel panic\x1b[0m\r\nnot syncing\n";
		fake_faults = rows[i].faults;
		assert_int_equal(fake_create(&node, "s1", &err), 0);
		assert_int_equal(start("s1", &err), -1);
		assert_string_equal(error_message(&err), rows[i].message);
		assert_int_equal(err.kind, rows[i].kind);
		assert_nothing_left();
		assert_int_equal(stop("s1", NULL), 0); /* the shim's StopVM that follows */
		fake_node_free(&node);
	}
}

static void test_a_failed_create_vm_leaves_nothing(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	node_with(NULL);
	fake_faults.inspect = ERROR_INVALID;
	assert_int_equal(fake_create(&node, "s1", &err), -1);
	assert_string_equal(error_message(&err), "pod shop/web: pod network: no default route");
	assert_int_equal(fake_count().reservations, 0);
	assert_null(node.adaptor.table.first);
	fake_node_free(&node);
}

static void test_a_refused_annotation_is_told_with_the_pods_name(void **state)
{
	(void)state;
	static const struct {
		const char *name, *key, *value, *message;
	} rows[] = {
		{"web", "io.katacontainers.config.hypervisor.default_vcpus", "two",
			"pod shop/web: annotation io.katacontainers.config.hypervisor.default_vcpus: \"two\" is no "
			"number of vCPUs: write it like 2 or 1.5"},
		{"k8s_web_shop_a1b2_0", "io.katacontainers.config.hypervisor.machine_type",
			"a,tee=x",
			"pod shop/web: annotation io.katacontainers.config.hypervisor.machine_type: \"tee=x\" is none "
			"of tee=none, tee=sev, tee=snp, tee=tdx, market=spot, market=on-demand"},
		{"", "io.katacontainers.config.hypervisor.image", "x",
			"sandbox s1: annotation io.kubernetes.cri.sandbox-name: is missing or empty"},
	};
	node_with(NULL);
	for (size_t i = 0; i < array_size(rows); i++) {
		cleanup_error err = ERROR_INIT;
		char *socket = NULL;
		const struct annotation annotations[] = {{"io.kubernetes.cri.sandbox-name",
								 rows[i].name},
			{"io.kubernetes.cri.sandbox-namespace", "shop"},
			{rows[i].key, rows[i].value}};
		assert_int_equal(sandbox_create(&node.adaptor, "s1", annotations, 3,
					 "/proc/self/ns/net", &socket, &err),
			-1);
		assert_string_equal(error_message(&err), rows[i].message);
	}
	fake_node_free(&node);
}

static void test_create_vm_refuses_a_pod_without_a_network_namespace(void **state)
{
	(void)state;
	static const struct {
		const char *netns, *message;
	} rows[] = {
		{"", "pod shop/web: networkNamespacePath is empty: a pod with hostNetwork cannot run in a pod VM "
		     "(with runtime-rs, disable_new_netns must be false)"},
		{"run/netns/x",
			"pod shop/web: networkNamespacePath \"run/netns/x\" is no absolute path"},
		{"/nonexistent/ns",
			"pod shop/web: network namespace /nonexistent/ns: No such file or directory"},
	};
	const struct annotation annotations[] = {{"io.kubernetes.cri.sandbox-name", "web"},
		{"io.kubernetes.cri.sandbox-namespace", "shop"}};
	node_with(NULL);
	for (size_t i = 0; i < array_size(rows); i++) {
		cleanup_error err = ERROR_INIT;
		char *socket = NULL;
		assert_int_equal(sandbox_create(&node.adaptor, "s1", annotations, 2, rows[i].netns,
					 &socket, &err),
			-1);
		assert_string_equal(error_message(&err), rows[i].message);
	}
	fake_node_free(&node);
}

static void test_an_agent_socket_too_long_for_a_socket_is_refused(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	char id[100], expected[400];
	memset(id, 'a', sizeof(id));
	id[90] = 0;
	node_with(NULL);
	assert_int_equal(fake_create(&node, id, &err), -1);
	snprintf(expected, sizeof(expected),
		"pod shop/web: path of the agent socket %s/pods/%s/agent.ttrpc has %zu bytes, a Unix socket's "
		"may have 107: use a shorter -pods-dir",
		node.folder, id, strlen(node.folder) + 18 + 90);
	assert_string_equal(error_message(&err), expected);
	fake_node_free(&node);
}

static void test_passing_faults_are_tried_again_with_the_same_user_data(void **state)
{
	(void)state;
	static const enum error_kind kinds[] = {ERROR_RETRY, ERROR_THROTTLED};
	for (size_t i = 0; i < array_size(kinds); i++) {
		cleanup_error err = ERROR_INIT;
		node_with(NULL);
		fake_faults.create = kinds[i];
		fake_faults.create_failures = 1;
		assert_int_equal(fake_create(&node, "s1", &err), 0);
		assert_int_equal(start("s1", &err), 0);
		assert_int_equal(fake_count().creates, 2);
		assert_true(fake_user_data_was_the_same());
		assert_int_equal(stop("s1", &err), 0);
		fake_node_free(&node);
	}
}

static void test_both_ends_of_a_tunnel_get_the_same_tls_version(void **state)
{
	(void)state;
	static const struct {
		const char *options[2];
		const char *version;
	} cases[] = {
		{{NULL}, "VersionTLS13"},
		{{"-tls-min-version=VersionTLS12"}, "VersionTLS12"},
		{{"-tls-min-version=VersionTLS13"}, "VersionTLS13"},
		/* suites are of TLS 1.2 */
		{{"-tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}, ""},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		cleanup(record_free) struct record record = {0};
		cleanup(apf_free) struct apf apf = {0};
		node_with(cases[i].options);
		assert_int_equal(node_identity_issue(&node.adaptor.identity, node.adaptor.settings,
					 "podvm-web-0123abcd", &record.tunnel, &apf, &err),
			0);
		assert_string_equal(record.tunnel.min_version, cases[i].version);
		assert_string_equal(apf.tls_min_version, cases[i].version);
		fake_node_free(&node);
	}
}

/* ---- who the instance is of ---- */

static void test_get_info(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	struct bound soon = bound_within(&BOUND_NONE, 50 * NS_PER_MS);
	node_with(NULL);
	assert_null(sandbox_instance_of(&node.adaptor, "web", "shop", false, &BOUND_NONE, &err));
	assert_int_equal(err.kind, ERROR_GONE);
	assert_string_equal(error_message(&err), "VM ID for shop:web was not found");
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_null(sandbox_instance_of(&node.adaptor, "web", "shop", true, &soon, &err));
	assert_int_equal(err.kind, ERROR_TIMEOUT);
	assert_int_equal(start("s1", NULL), 0);
	cleanup(free_ptr) char *id =
		sandbox_instance_of(&node.adaptor, "web", "shop", true, &BOUND_NONE, &err);
	assert_non_null(id);
	assert_null(sandbox_instance_of(&node.adaptor, "web", "other", false, &BOUND_NONE, &err));
	assert_int_equal(stop("s1", NULL), 0);
	fake_node_free(&node);
}

static void *ask_info(void *argument)
{
	return sandbox_instance_of(&node.adaptor, "web", "shop", true, argument, NULL);
}

static void test_get_info_waits_for_the_instance(void **state)
{
	(void)state;
	pthread_t thread;
	struct bound bound = bound_within(&BOUND_NONE, 20 * NS_PER_S);
	void *id;
	node_with(NULL);
	pthread_create(&thread, NULL, ask_info, &bound); /* the pod is not even known */
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_int_equal(start("s1", NULL), 0);
	pthread_join(thread, &id);
	assert_non_null(id);
	free(id);
	assert_int_equal(stop("s1", NULL), 0);
	fake_node_free(&node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_pods_life_leaves_nothing),
		cmocka_unit_test(test_stop_vm_twice_and_for_an_unknown_sandbox_succeeds),
		cmocka_unit_test(test_a_sandbox_id_is_used_once),
		cmocka_unit_test(test_start_vm_needs_a_create_vm),
		cmocka_unit_test(test_a_failed_start_names_stage_cause_and_pod_and_leaves_nothing),
		cmocka_unit_test(test_a_failed_create_vm_leaves_nothing),
		cmocka_unit_test(test_a_refused_annotation_is_told_with_the_pods_name),
		cmocka_unit_test(test_create_vm_refuses_a_pod_without_a_network_namespace),
		cmocka_unit_test(test_an_agent_socket_too_long_for_a_socket_is_refused),
		cmocka_unit_test(test_passing_faults_are_tried_again_with_the_same_user_data),
		cmocka_unit_test(test_both_ends_of_a_tunnel_get_the_same_tls_version),
		cmocka_unit_test(test_get_info),
		cmocka_unit_test(test_get_info_waits_for_the_instance),
	};
	int failed = cmocka_run_group_tests_name("adaptor", tests, NULL, NULL);
	notice_free(fake_changed);
	return failed;
}
