/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules_test.c - what the rules change, and that they change nothing else
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "proto/agent.pb-c.h"
#include "ttrpc/message.h"
#include "vsock-proxy/rules.h"
#include "vsock-proxy/splice.h"

#define AGENT "grpc.AgentService"

static struct rule_set proxy_set(void)
{
	return (struct rule_set){.rules = proxy_rules, .count = proxy_rule_count};
}

static struct rule_set forwarder_set(void)
{
	return (struct rule_set){.rules = forwarder_rules,
		.count = forwarder_rule_count,
		.settings = {.pod_netns = "/run/netns/podns"}};
}

static int apply(struct rule_set set, const char *method, const struct buf *request,
	struct buf *out, bool *changed, struct error *err)
{
	const struct ttrpc_request call = {
		.service = {(const uint8_t *)AGENT, strlen(AGENT)},
		.method = {(const uint8_t *)method, strlen(method)},
		.payload = {request->data, request->len},
	};
	return rules_apply(&set, &call, out, changed, err);
}

/* Fields that no definition of ours knows, of every wire type. */
static void put_unknown(struct buf *out, uint32_t seed)
{
	static const uint8_t varint[] = {0x80, 0x7d, 0xff, 0x01}; /* field 2000 */
	static const uint8_t fixed64[] = {0x81, 0x7d, 1, 2, 3, 4, 5, 6, 7, 8};
	static const uint8_t fixed32[] = {0x85, 0x7d, 9, 8, 7, 6};
	buf_append(out, varint, sizeof(varint));
	buf_append(out, fixed64, sizeof(fixed64));
	buf_append(out, fixed32, sizeof(fixed32));
	splice_put_bytes(out, 1000 + seed, "unknown", 7);
}

static void put_annotation(struct buf *spec, const char *key, const char *value)
{
	cleanup(buf_free) struct buf entry = BUF_INIT;
	splice_put_text(&entry, 1, key);
	splice_put_text(&entry, 2, value);
	splice_put_bytes(spec, 7, entry.data, entry.len);
}

static void put_mount(struct buf *spec, const char *source, const char *type)
{
	cleanup(buf_free) struct buf mount = BUF_INIT;
	splice_put_text(&mount, 1, "/data");
	splice_put_text(&mount, 2, source);
	splice_put_text(&mount, 3, type);
	put_unknown(&mount, 1);
	splice_put_bytes(spec, 5, mount.data, mount.len);
}

/* A CreateContainerRequest with unknown fields before, between and behind, on every floor. */
static void put_create_container(struct buf *out, const char *gpus, const char *source)
{
	cleanup(buf_free) struct buf spec = BUF_INIT, linux_part = BUF_INIT, namespace = BUF_INIT;
	splice_put_text(&namespace, 1, "pid");
	put_unknown(&namespace, 2);
	put_unknown(&linux_part, 3);
	splice_put_bytes(&linux_part, 6, namespace.data, namespace.len);
	put_unknown(&linux_part, 4);
	splice_put_text(&spec, 1, "1.1.0");
	put_unknown(&spec, 5);
	splice_put_bytes(&spec, 8, linux_part.data, linux_part.len);
	put_mount(&spec, source, "bind");
	if (gpus)
		put_annotation(&spec, "io.katacontainers.config.hypervisor.default_gpus", gpus);
	put_annotation(&spec, "other", "annotation");
	put_unknown(out, 6);
	splice_put_text(out, 1, "c1");
	splice_put_bytes(out, 6, spec.data, spec.len);
	splice_put_text(out, 2, "e1");
	put_unknown(out, 7);
}

/*
 * `after` is `before` with bytes added: walking both, every run of `before` is found in order, except that the
 * lengths of the fields in `path` have grown.
 */
static void assert_only_added(struct ttrpc_bytes before, struct ttrpc_bytes after,
	const uint32_t *path, size_t depth, const char *added, size_t added_len)
{
	struct splice_field a, b;
	size_t at_a = 0, at_b = 0;
	while (splice_next(before, &at_a, &a, NULL) > 0) {
		assert_int_equal(splice_next(after, &at_b, &b, NULL), 1);
		assert_int_equal(a.number, b.number);
		if (depth && a.number == path[0] && a.wire_type == 2) {
			assert_only_added(a.value, b.value, path + 1, depth - 1, added, added_len);
			continue;
		}
		assert_int_equal(a.end - a.start, b.end - b.start);
		assert_memory_equal(before.data + a.start, after.data + b.start, a.end - a.start);
	}
	if (depth == 0) {
		assert_int_equal(after.len - at_b, added_len);
		assert_memory_equal(after.data + at_b, added, added_len);
	} else {
		assert_int_equal(at_b, after.len);
	}
}

static void test_network_namespace_is_added_and_nothing_else_changes(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf request = BUF_INIT, out = BUF_INIT;
	put_create_container(&request, NULL, "/");
	bool changed;
	assert_int_equal(apply(forwarder_set(), "CreateContainer", &request, &out, &changed, NULL),
		0);
	assert_true(changed);
	static const char added[] = "\x32\x1b\x0a\x07network\x12\x10/run/netns/podns";
	assert_only_added((struct ttrpc_bytes){request.data, request.len},
		(struct ttrpc_bytes){out.data, out.len}, (const uint32_t[]){6, 8}, 2, added,
		sizeof(added) - 1);
}

static void test_gpu_annotation_is_added_and_nothing_else_changes(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf request = BUF_INIT, out = BUF_INIT;
	put_create_container(&request, "2", "/");
	bool changed;
	assert_int_equal(apply(proxy_set(), "CreateContainer", &request, &out, &changed, NULL), 0);
	assert_true(changed);
	/* Lengths: key 20, value 18, entry 2 + 20 + 2 + 18. */
	static const char expected[] = "\x3a\x2a\x0a\x14"
				       "cdi.k8s.io/peer-pods"
				       "\x12\x12nvidia.com/gpu=all";
	assert_only_added((struct ttrpc_bytes){request.data, request.len},
		(struct ttrpc_bytes){out.data, out.len}, (const uint32_t[]){6}, 1, expected,
		sizeof(expected) - 1);
}

static void test_no_gpu_no_change(void **state)
{
	(void)state;
	static const char *const none[] = {NULL, "", "0"};
	for (size_t i = 0; i < array_size(none); i++) {
		cleanup(buf_free) struct buf request = BUF_INIT, out = BUF_INIT;
		put_create_container(&request, none[i], "/");
		bool changed;
		assert_int_equal(apply(proxy_set(), "CreateContainer", &request, &out, &changed,
					 NULL),
			0);
		assert_false(changed);
	}
}

static void test_a_request_without_spec_or_linux_gets_both(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf request = BUF_INIT, out = BUF_INIT;
	splice_put_text(&request, 1, "c1");
	bool changed;
	assert_int_equal(apply(forwarder_set(), "CreateContainer", &request, &out, &changed, NULL),
		0);
	cleanup(message_ptr) Agent__CreateContainerRequest *got = (Agent__CreateContainerRequest *)
		message_unpack(&agent__create_container_request__descriptor, out.data, out.len,
			NULL);
	assert_non_null(got);
	assert_string_equal(got->container_id, "c1");
	assert_int_equal(got->oci->linux->n_namespaces, 1);
	assert_string_equal(got->oci->linux->namespaces[0]->type, "network");
	assert_string_equal(got->oci->linux->namespaces[0]->path, "/run/netns/podns");
}

static void test_dns_is_dropped_and_nothing_else_changes(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf request = BUF_INIT, expected = BUF_INIT, out = BUF_INIT;
	splice_put_text(&request, 2, "nameserver 10.0.0.10");
	splice_put_text(&request, 1, "web");
	put_unknown(&request, 1);
	splice_put_text(&request, 2, "search default.svc");
	splice_put_text(&request, 5, "sb1");
	splice_put_text(&request, 2, "");
	splice_put_text(&expected, 1, "web");
	put_unknown(&expected, 1);
	splice_put_text(&expected, 5, "sb1");
	bool changed;
	assert_int_equal(apply(forwarder_set(), "CreateSandbox", &request, &out, &changed, NULL),
		0);
	assert_true(changed);
	assert_int_equal(out.len, expected.len);
	assert_memory_equal(out.data, expected.data, expected.len);
}

static void test_missing_sources_of_bind_mounts_are_made(void **state)
{
	(void)state;
	char folder[] = "/tmp/rules_test.XXXXXX";
	assert_non_null(mkdtemp(folder));
	char source[64], file[64];
	snprintf(source, sizeof(source), "%s/a/b", folder);
	snprintf(file, sizeof(file), "%s/file", folder);
	fclose(fopen(file, "w"));
	static const char *const others[] = {"relative", ""};
	for (size_t i = 0; i < array_size(others) + 2; i++) {
		cleanup(buf_free) struct buf request = BUF_INIT, out = BUF_INIT;
		put_create_container(&request, NULL,
			i == 0   ? source
			: i == 1 ? file
				 : others[i - 2]);
		bool changed;
		assert_int_equal(apply(forwarder_set(), "CreateContainer", &request, &out, &changed,
					 NULL),
			0);
	}
	struct stat st;
	assert_int_equal(stat(source, &st), 0);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(stat(file, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(access("relative", F_OK), -1);
	rmdir(source);
	unlink(file);
	snprintf(source, sizeof(source), "%s/a", folder);
	rmdir(source);
	rmdir(folder);
}

static void test_a_container_with_volumes_is_refused(void **state)
{
	(void)state;
#define CLOUD_VOLUMES "io.confidentialcontainers.org.cloud_volumes"
#define TARGET_PATH "io.confidentialcontainers.org.peerpodvolumes.target_path"
#define REFUSED(annotation)                                                                   \
	"CreateContainer: container c1 has volumes (annotation " annotation "), and volumes " \
	"are not attached yet: what it writes there would be lost; take them out of the pod"
	static const struct {
		const char *annotation, *value, *message;
	} cases[] = {
		{CLOUD_VOLUMES, "", NULL},
		{CLOUD_VOLUMES, "{ }\n", NULL},
		{CLOUD_VOLUMES, "{\"vol-0\":{\"mount_point\":\"/data\",\"lun\":\"0\"}}",
			REFUSED(CLOUD_VOLUMES)},
		{CLOUD_VOLUMES, "not JSON", REFUSED(CLOUD_VOLUMES)},
		{TARGET_PATH, "", NULL},
		{TARGET_PATH, ",, ", NULL},
		{TARGET_PATH, ",/var/lib/kubelet/pods/1/volumes/kubernetes.io~csi/pv/mount",
			REFUSED(TARGET_PATH)},
		{"io.confidentialcontainers.org.other", "/data", NULL},
	};
	char folder[] = "/tmp/rules_test.XXXXXX";
	assert_non_null(mkdtemp(folder));
	char source[64];
	snprintf(source, sizeof(source), "%s/mount", folder);
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup(buf_free) struct buf request = BUF_INIT, spec = BUF_INIT, out = BUF_INIT;
		cleanup_error err = ERROR_INIT;
		put_mount(&spec, source, "bind");
		put_annotation(&spec, cases[i].annotation, cases[i].value);
		splice_put_text(&request, 1, "c1");
		splice_put_bytes(&request, 6, spec.data, spec.len);
		bool changed;
		int result =
			apply(forwarder_set(), "CreateContainer", &request, &out, &changed, &err);
		assert_int_equal(result, cases[i].message ? -1 : 0);
		if (cases[i].message) {
			assert_string_equal(error_message(&err), cases[i].message);
			assert_int_equal(ttrpc_code_of(err.kind), TTRPC_UNIMPLEMENTED);
		}
		/* No empty folder takes the volume's place. */
		assert_int_equal(rmdir(source), cases[i].message ? -1 : 0);
	}
	rmdir(folder);
}

static void test_malformed_requests_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t len;
		const char *method, *message;
	} cases[] = {
		{"\x32\x7f", 2, "CreateContainer", "CreateContainer: malformed message at byte 0"},
		{"\x0a\x01x\x32", 4, "CreateContainer",
			"CreateContainer: malformed message at byte 3"},
		{"\x33", 1, "CreateContainer", "CreateContainer: malformed message at byte 0"},
		{"\x00\x00", 2, "CreateSandbox", "CreateSandbox: malformed message at byte 0"},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11, "CreateSandbox",
			"CreateSandbox: malformed message at byte 0"},
		/* a map entry whose key runs over the end of the entry */
		{"\x32\x04\x3a\x02\x0a\x09", 6, "CreateContainer",
			"CreateContainer: map entry at byte 0: malformed message at byte 0"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup(buf_free) struct buf request = BUF_INIT, out = BUF_INIT;
		cleanup_error err = ERROR_INIT;
		buf_append(&request, cases[i].bytes, cases[i].len);
		bool changed;
		struct rule_set set = i == array_size(cases) - 1 ? proxy_set() : forwarder_set();
		assert_int_equal(apply(set, cases[i].method, &request, &out, &changed, &err), -1);
		assert_string_equal(error_message(&err), cases[i].message);
		assert_int_equal(err.status, TTRPC_INVALID_ARGUMENT);
	}
}

static void test_a_disabled_rule_does_not_apply(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf request = BUF_INIT, out = BUF_INIT;
	put_create_container(&request, "2", "/");
	struct rule_set set = proxy_set();
	set.disabled = 1;
	bool changed;
	assert_int_equal(apply(set, "CreateContainer", &request, &out, &changed, NULL), 0);
	assert_false(changed);
}

static void test_only_reading_and_waiting_calls_are_repeatable(void **state)
{
	(void)state;
	static const struct {
		const char *service, *method;
		bool repeatable;
	} cases[] = {
		{"grpc.Health", "Check", true},
		{AGENT, "WaitProcess", true},
		{AGENT, "GetOOMEvent", true},
		{AGENT, "StatsContainer", true},
		{AGENT, "CreateContainer", false},
		{AGENT, "StartContainer", false},
		{AGENT, "ExecProcess", false},
		{AGENT, "WriteStdin", false},
		{AGENT, "ReadStdout", false},
		{AGENT, "ReadStderr", false},
		{AGENT, "CopyFile", false},
		{AGENT, "SignalProcess", false},
		{AGENT, "Check", false},
		{"grpc.Other", "WaitProcess", false},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct ttrpc_request request = {
			.service = {(const uint8_t *)cases[i].service, strlen(cases[i].service)},
			.method = {(const uint8_t *)cases[i].method, strlen(cases[i].method)},
		};
		assert_int_equal(method_repeatable(&request), cases[i].repeatable);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_network_namespace_is_added_and_nothing_else_changes),
		cmocka_unit_test(test_gpu_annotation_is_added_and_nothing_else_changes),
		cmocka_unit_test(test_no_gpu_no_change),
		cmocka_unit_test(test_a_request_without_spec_or_linux_gets_both),
		cmocka_unit_test(test_dns_is_dropped_and_nothing_else_changes),
		cmocka_unit_test(test_missing_sources_of_bind_mounts_are_made),
		cmocka_unit_test(test_a_container_with_volumes_is_refused),
		cmocka_unit_test(test_malformed_requests_are_refused),
		cmocka_unit_test(test_a_disabled_rule_does_not_apply),
		cmocka_unit_test(test_only_reading_and_waiting_calls_are_repeatable),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
