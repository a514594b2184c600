/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gcp_answers_test.c - what the GCP driver reads: tokens, errors, instances, operations, types, images
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/json.h"
#include "providers/gcp/catalogue.h"
#include "providers/gcp/failure.h"
#include "providers/gcp/image.h"
#include "providers/gcp/operation.h"
#include "providers/gcp/token.h"
#include "providers/gcp/vm.h"
#include "tests/unit/assert_contains.h"

static json_t *json(const char *text)
{
	json_t *o = json_loads(text, 0, NULL);
	assert_non_null(o);
	return o;
}

/* ---- token answers ------------------------------------------------------------------------------- */

static void test_token_answers_are_read(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum error_kind kind;
		uint64_t seconds;
	} cases[] = {
		{"{\"access_token\":\"ya29.c\",\"expires_in\":3599,\"token_type\":\"Bearer\"}",
			ERROR_NONE, 3599},
		{"{\"access_token\":\"t\",\"expires_in\":3599.5}", ERROR_NONE, 3599},
		{"{\"access_token\":\"t\"}", ERROR_NONE, 0},
		{"{\"access_token\":\"t\",\"expires_in\":-5}", ERROR_NONE, 0},
		{"{\"access_token\":\"t\",\"expires_in\":99999999999}", ERROR_NONE, 86400},
		{"{\"access_token\":\"a b\"}", ERROR_DENIED, 0},
		{"{\"access_token\":\"a\\r\\nX: y\"}", ERROR_DENIED, 0},
		{"{\"access_token\":\"\"}", ERROR_DENIED, 0},
		{"{\"access_token\":5}", ERROR_DENIED, 0},
		{"{}", ERROR_DENIED, 0},
		{"[]", ERROR_RETRY, 0},
		{"<html>", ERROR_RETRY, 0},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		cleanup_secret token = SECRET_INIT;
		uint64_t lives_ns = 0;
		int result = token_read("x", cases[i].text, strlen(cases[i].text), &token,
			&lives_ns, &err);
		assert_int_equal(result, cases[i].kind == ERROR_NONE ? 0 : -1);
		assert_int_equal(err.kind, cases[i].kind);
		assert_int_equal(lives_ns / NS_PER_S, cases[i].seconds);
	}
	static const char body[] =
		"{\"accessToken\":\"t\",\"expireTime\":\"2026-03-15T11:15:30Z\"}";
	cleanup_secret token = SECRET_INIT;
	uint64_t lives_ns;
	assert_int_equal(impersonated_token_read(body, sizeof(body) - 1, 1773569730, &token,
				 &lives_ns, NULL),
		0);
	assert_int_equal(lives_ns / NS_PER_S, 3600);
}

static void test_token_refusals_are_told_and_a_wrong_clock_is_noticed(void **state)
{
	(void)state;
	static const struct {
		int status;
		const char *text;
		enum error_kind kind;
		bool clock;
		const char *message;
	} cases[] = {
		{400,
			"{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT: Token must be a short-lived "
			"token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT "
			"claim.\"}",
			ERROR_DENIED, true, "x: invalid_grant: Invalid JWT: Token must be"},
		{400, "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT Signature.\"}",
			ERROR_DENIED, false, "x: invalid_grant: Invalid JWT Signature. (HTTP 400)"},
		{403, "{\"error\":{\"code\":403,\"message\":\"no\",\"status\":\"PERMISSION_DENIED\"}}",
			ERROR_DENIED, false, "x: PERMISSION_DENIED: no (HTTP 403)"},
		{401, "", ERROR_DENIED, false, "x: no error code: no message (HTTP 401)"},
		{429, "{}", ERROR_THROTTLED, false, "HTTP 429"},
		{503, "busy", ERROR_RETRY, false, "HTTP 503"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		bool clock = !cases[i].clock;
		token_failure_read("x", cases[i].status, cases[i].text, strlen(cases[i].text),
			&clock, &err);
		assert_int_equal(err.kind, cases[i].kind);
		assert_int_equal(clock, cases[i].clock);
		assert_contains(error_message(&err), cases[i].message);
	}
}

/* ---- errors: every code of the tables -------------------------------------------------------------- */

static void test_every_reason_of_an_answer_has_its_kind(void **state)
{
	(void)state;
	static const struct {
		int status;
		enum error_kind kind;
		const char *reason;
	} cases[] = {
		{403, ERROR_THROTTLED, "rateLimitExceeded"},
		{403, ERROR_THROTTLED, "userRateLimitExceeded"},
		{429, ERROR_THROTTLED, "rateLimitExceeded"},
		{429, ERROR_THROTTLED, "anything"},
		{500, ERROR_RETRY, "internalError"},
		{502, ERROR_RETRY, ""},
		{503, ERROR_RETRY, "backendError"},
		{504, ERROR_RETRY, ""},
		{403, ERROR_QUOTA, "quotaExceeded"},
		{401, ERROR_DENIED, "authError"},
		{403, ERROR_DENIED, "forbidden"},
		{403, ERROR_DENIED, "insufficientPermissions"},
		{403, ERROR_DENIED, "accessNotConfigured"},
		{403, ERROR_DENIED, "SERVICE_DISABLED"},
		{412, ERROR_DENIED, "conditionNotMet"},
		{409, ERROR_EXISTS, "alreadyExists"},
		{404, ERROR_GONE, "notFound"},
		{400, ERROR_RETRY, "resourceInUseByAnotherResource"},
		{400, ERROR_RETRY, "resourceNotReady"},
		{400, ERROR_INVALID, "invalid"},
		{400, ERROR_INVALID, "badRequest"},
		{400, ERROR_INVALID, "required"},
		{400, ERROR_INVALID, "somethingNew"},
		{403, ERROR_DENIED, "somethingNew"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		char body[512], expected[128];
		snprintf(body, sizeof(body),
			"{\"error\":{\"code\":%d,\"message\":\"t\",\"errors\":[{\"message\":\"t\",\"domain\":\"global\","
			"\"reason\":\"%s\"}]}}",
			cases[i].status, cases[i].reason);
		if (*cases[i].reason)
			snprintf(expected, sizeof(expected), "%s: t (HTTP %d)", cases[i].reason,
				cases[i].status);
		else
			snprintf(expected, sizeof(expected), "HTTP %d without a reason",
				cases[i].status);
		failure_read(cases[i].status, body, strlen(body), &err);
		if (err.kind != cases[i].kind)
			fail_msg("%d %s: %s", cases[i].status, cases[i].reason,
				error_kind_name(err.kind));
		assert_int_equal(err.status, cases[i].status);
		assert_int_equal(strncmp(error_message(&err), expected, strlen(expected)), 0);
	}
}

static void test_errors_say_what_to_do(void **state)
{
	(void)state;
	static const char disabled[] =
		"{\"error\":{\"code\":403,\"message\":\"m\",\"errors\":[{\"reason\":\"forbidden\"}],\"status\":"
		"\"PERMISSION_DENIED\",\"details\":[{\"@type\":\"x\"},{\"reason\":\"SERVICE_DISABLED\"}]}}";
	static const char plain[] =
		"{\"error\":{\"code\":404,\"message\":\"m\",\"status\":\"NOT_FOUND\"}}";
	cleanup_error err = ERROR_INIT;
	failure_read(403, disabled, sizeof(disabled) - 1, &err);
	assert_string_equal(error_message(&err),
		"SERVICE_DISABLED: m (HTTP 403); enable the API in the project");
	error_clear(&err);
	failure_read(404, plain, sizeof(plain) - 1, &err);
	assert_string_equal(error_message(&err), "NOT_FOUND: m (HTTP 404)");
	assert_int_equal(err.kind, ERROR_GONE);
	error_clear(&err);
	failure_read(502, "<html>", 6, &err);
	assert_string_equal(error_message(&err), "HTTP 502 without a reason");
}

static void test_every_code_of_an_operation_has_its_kind(void **state)
{
	(void)state;
	static const struct {
		const char *code;
		enum error_kind kind;
	} cases[] = {
		{"RATE_LIMIT_EXCEEDED", ERROR_THROTTLED},
		{"OPERATION_RATE_EXCEEDED", ERROR_THROTTLED},
		{"INTERNAL_ERROR", ERROR_RETRY},
		{"BACKEND_ERROR", ERROR_RETRY},
		{"ZONE_RESOURCE_POOL_EXHAUSTED", ERROR_CAPACITY},
		{"ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", ERROR_CAPACITY},
		{"RESOURCE_POOL_EXHAUSTED", ERROR_CAPACITY},
		{"GPU_STOCKOUT", ERROR_CAPACITY},
		{"UNSUPPORTED_OPERATION", ERROR_CAPACITY},
		{"QUOTA_EXCEEDED", ERROR_QUOTA},
		{"GPUS_QUOTA_REACHED", ERROR_QUOTA},
		{"IP_SPACE_EXHAUSTED", ERROR_CAPACITY},
		{"IP_SPACE_EXHAUSTED_WITH_DETAILS", ERROR_CAPACITY},
		{"PERMISSIONS_ERROR", ERROR_DENIED},
		{"CONDITION_NOT_MET", ERROR_DENIED},
		{"RESOURCE_ALREADY_EXISTS", ERROR_EXISTS},
		{"RESOURCE_NOT_FOUND", ERROR_GONE},
		{"RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", ERROR_RETRY},
		{"RESOURCE_NOT_READY", ERROR_RETRY},
		{"INVALID_FIELD_VALUE", ERROR_INVALID},
		{"INVALID_USAGE", ERROR_INVALID},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		char body[512], expected[160];
		/* The status says otherwise: the code decides. */
		snprintf(body, sizeof(body),
			"{\"name\":\"operation-1\",\"status\":\"DONE\",\"httpErrorStatusCode\":418,\"error\":{\"errors\":["
			"{\"code\":\"%s\",\"message\":\"t\"}]}}",
			cases[i].code);
		snprintf(expected, sizeof(expected), "%s: t (HTTP 418, operation operation-1)",
			cases[i].code);
		cleanup_json *o = json(body);
		assert_int_equal(failure_of_operation(o, &err), -1);
		if (err.kind != cases[i].kind)
			fail_msg("%s: %s", cases[i].code, error_kind_name(err.kind));
		assert_int_equal(strncmp(error_message(&err), expected, strlen(expected)), 0);
	}
}

static void test_operations_fail_by_error_or_by_status_and_tell_the_details(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
		enum error_kind kind;
	} cases[] = {
		{"{\"name\":\"o\"}", NULL, ERROR_NONE},
		{"{\"name\":\"o\",\"httpErrorStatusCode\":200,\"error\":{\"errors\":[]}}", NULL,
			ERROR_NONE},
		{"{\"name\":\"o\",\"error\":{\"errors\":[{\"code\":\"NEW\",\"message\":\"m\"}]}}",
			"NEW: m (operation o)", ERROR_RETRY},
		{"{\"name\":\"o\",\"httpErrorStatusCode\":503,\"httpErrorMessage\":\"SERVICE UNAVAILABLE\"}",
			"the operation failed: SERVICE UNAVAILABLE (HTTP 503, operation o)",
			ERROR_CAPACITY},
		{"{\"name\":\"o\",\"httpErrorStatusCode\":403,\"error\":{\"errors\":[{\"code\":\"QUOTA_EXCEEDED\",\"message\":\"m\","
		 "\"errorDetails\":[{\"quotaInfo\":{\"metricName\":\"cpus\",\"limitName\":\"CPUS-per-region\",\"limit\":24,"
		 "\"dimensions\":{\"region\":\"r1\"}}}]}]}}",
			"QUOTA_EXCEEDED: m (HTTP 403, operation o, limit CPUS-per-region of cpus: 24, region r1)",
			ERROR_QUOTA},
		{"{\"name\":\"o\",\"error\":{\"errors\":[{\"code\":\"GPU_STOCKOUT\",\"message\":\"m\",\"errorDetails\":[{"
		 "\"errorInfo\":{\"reason\":\"resource_availability\",\"metadatas\":{\"zone\":\"z\"}}}]}]}}",
			"GPU_STOCKOUT: m (operation o, resource_availability, zone z)",
			ERROR_CAPACITY},
		{"{\"name\":\"o\",\"error\":{\"errors\":[{\"code\":\"IP_SPACE_EXHAUSTED\"}]}}",
			"IP_SPACE_EXHAUSTED: no message (operation o); the subnetwork has no address left: take a larger "
			"one",
			ERROR_CAPACITY},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		cleanup_json *o = json(cases[i].text);
		assert_int_equal(failure_of_operation(o, &err), cases[i].message ? -1 : 0);
		assert_int_equal(err.kind, cases[i].kind);
		if (cases[i].message)
			assert_string_equal(error_message(&err), cases[i].message);
	}
}

/* ---- answers ------------------------------------------------------------------------------------- */

static const char instance_text[] =
	"{\"id\":\"88120\",\"name\":\"podvm-x\",\"status\":\"RUNNING\",\"zone\":\"https://c/projects/p/zones/us-central1-a\","
	"\"networkInterfaces\":[{\"networkIP\":\"10.128.0.9\",\"accessConfigs\":[{\"natIP\":\"34.1.2.3\"}]},"
	"{\"networkIP\":\"10.9.0.2\"}],\"confidentialInstanceConfig\":{\"enableConfidentialCompute\":true,"
	"\"confidentialInstanceType\":\"SEV_SNP\"},\"labels\":{\"peerpod-token\":\"00ff\",\"peerpod-pod\":\"web\","
	"\"peerpod-node\":\"n-1\"},\"description\":\"{\\\"pod\\\":\\\"other\\\",\\\"node\\\":\\\"n-1\\\"}\","
	"\"creationTimestamp\":\"2026-03-15T03:15:30.1-07:00\"}";

static void test_instances_are_read(void **state)
{
	(void)state;
	for (int public_ip = 0; public_ip < 2; public_ip++) {
		cleanup_json *o = json(instance_text);
		cleanup_vm vm = {0};
		cleanup(instance_free) struct instance i = {0};
		assert_int_equal(vm_read(o, &vm, NULL), 0);
		assert_string_equal(vm.zone, "us-central1-a");
		assert_string_equal(vm.numeric_id, "88120");
		assert_int_equal(vm.tee, TEE_SNP);
		assert_true(vm_is_ours(&vm) && vm_is_placed(&vm) && !vm_is_dead(&vm));
		assert_int_equal(vm_give(&vm, public_ip, &i, NULL), 0);
		assert_string_equal(i.id, "podvm-x");
		assert_string_equal(i.token, "00ff");
		/* A description that does not go with the label is not believed. */
		assert_string_equal(i.pod, "web");
		assert_string_equal(i.node, "n-1");
		assert_int_equal(i.created, 1773569730);
		assert_string_equal(i.addresses[0], public_ip ? "34.1.2.3" : "10.128.0.9");
		assert_string_equal(i.addresses[1], "10.9.0.2");
		if (public_ip)
			assert_string_equal(i.addresses[2], "10.128.0.9");
		assert_null(i.addresses[public_ip ? 3 : 2]);
	}
}

static void test_instances_that_are_still_being_made_have_fewer_addresses(void **state)
{
	(void)state;
	static const struct {
		const char *nics;
		bool public_ip;
		size_t addresses;
	} cases[] = {
		{"[]", false, 0},
		{"[{}]", false, 0},
		{"[{\"networkIP\":\"10.0.0.1\"},{}]", false, 1},
		{"[{},{\"networkIP\":\"10.0.0.1\"}]", false, 0},
		{"[{\"networkIP\":\"10.0.0.1\",\"accessConfigs\":[{}]}]", true, 0},
		{"[{\"networkIP\":\"10.0.0.1\",\"accessConfigs\":[{\"natIP\":\"1.2.3.4\"}]}]", true,
			2},
		{"[{\"networkIP\":\"10.0.0.1\",\"accessConfigs\":[{\"natIP\":\"1.2.3.4\"}]},{}]",
			true, 1},
	};
	for (size_t k = 0; k < array_size(cases); k++) {
		char text[512];
		snprintf(text, sizeof(text),
			"{\"id\":7,\"name\":\"a\",\"zone\":\"z-1\",\"status\":\"PROVISIONING\",\"networkInterfaces\":%s}",
			cases[k].nics);
		cleanup_json *o = json(text);
		cleanup_vm vm = {0};
		cleanup(instance_free) struct instance i = {0};
		assert_int_equal(vm_read(o, &vm, NULL), 0);
		assert_string_equal(vm.numeric_id, "7");
		assert_false(vm_is_placed(&vm) || vm_is_ours(&vm));
		assert_int_equal(vm_give(&vm, cases[k].public_ip, &i, NULL), 0);
		size_t count = 0;
		while (i.addresses[count])
			count++;
		assert_int_equal(count, cases[k].addresses);
	}
}

static void test_what_is_no_instance_or_operation_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {"{}", "{\"name\":\"a\"}",
		"{\"name\":\"A b\",\"zone\":\"z\",\"status\":\"RUNNING\"}",
		"{\"name\":\"a\",\"zone\":\"z/../\",\"status\":\"RUNNING\"}",
		"{\"name\":5,\"zone\":[],\"status\":{}}"};
	for (size_t i = 0; i < array_size(texts); i++) {
		cleanup_json *o = json(texts[i]);
		cleanup_error err = ERROR_INIT;
		cleanup_vm vm = {0};
		cleanup_operation op = {0};
		assert_int_equal(vm_read(o, &vm, &err), -1);
		assert_int_equal(err.kind, ERROR_RETRY);
		assert_int_equal(operation_read(o, &op, NULL), -1);
	}
}

static void test_operations_are_read(void **state)
{
	(void)state;
	static const char text[] =
		"{\"kind\":\"compute#operation\",\"id\":\"4520031980764179421\",\"name\":\"operation-1773569731-64d1-7f\","
		"\"status\":\"%s\",\"zone\":\"https://www.googleapis.com/compute/v1/projects/p/zones/us-central1-a\","
		"\"insertTime\":\"2026-03-15T03:15:30.1-07:00\",\"error\":{\"errors\":[{\"code\":\"INTERNAL_ERROR\"}]}}";
	for (int done = 0; done < 2; done++) {
		char whole[512];
		snprintf(whole, sizeof(whole), text, done ? "DONE" : "RUNNING");
		cleanup_json *o = json(whole);
		cleanup_operation op = {0};
		assert_int_equal(operation_read(o, &op, NULL), 0);
		assert_string_equal(op.name, "operation-1773569731-64d1-7f");
		assert_string_equal(op.zone, "us-central1-a");
		assert_int_equal(op.done, done);
		assert_int_equal(op.inserted, 1773569730);
		/* An error counts once it is done. */
		assert_int_equal(op.err.kind, done ? ERROR_RETRY : ERROR_NONE);
	}
}

static void test_machine_types_are_read(void **state)
{
	(void)state;
	static const char text[] =
		"{\"name\":\"n2d-standard-4\",\"guestCpus\":4,\"memoryMb\":16384,\"maximumPersistentDisks\":128,\"zone\":\"z-1\","
		"\"accelerators\":[{\"guestAcceleratorCount\":2},{\"guestAcceleratorCount\":1}]}";
	static const char *const refused[] = {"{}", "{\"name\":\"a b\",\"zone\":\"z\"}",
		"{\"name\":\"a\",\"zone\":\"z\",\"deprecated\":{\"state\":\"OBSOLETE\"}}",
		"{\"name\":\"a\",\"zone\":7}"};
	struct type_entry e;
	cleanup_json *o = json(text);
	assert_true(type_read(o, &e));
	assert_string_equal(e.offering.type, "n2d-standard-4");
	assert_string_equal(e.offering.family, "n2d");
	assert_string_equal(e.offering.zone, "z-1");
	assert_string_equal(e.architecture, "X86_64");
	assert_int_equal(e.offering.vcpus, 4);
	assert_int_equal(e.offering.memory_mib, 16384);
	assert_int_equal(e.offering.gpus, 3);
	assert_int_equal(e.offering.max_nics, 4);
	assert_int_equal(e.offering.max_volumes, 127);
	assert_int_equal(e.offering.tees, CHOICE_TEE_SNP | CHOICE_TEE_SEV);
	type_entry_clear(&e);
	for (size_t i = 0; i < array_size(refused); i++) {
		cleanup_json *bad = json(refused[i]);
		assert_false(type_read(bad, &e));
	}
}

static void test_images_are_read_and_held_against_the_protection(void **state)
{
	(void)state;
	static const struct {
		const char *features, *status;
		enum instance_tee tee;
		const char *error;
	} cases[] = {
		{"SEV_SNP_CAPABLE", "READY", TEE_SNP,
			"it lacks the guest OS feature UEFI_COMPATIBLE"},
		{"UEFI_COMPATIBLE", "READY", TEE_SNP,
			"it lacks the guest OS feature SEV_SNP_CAPABLE"},
		{"UEFI_COMPATIBLE", "READY", TEE_TDX, "it lacks the guest OS feature TDX_CAPABLE"},
		{"UEFI_COMPATIBLE", "READY", TEE_SEV, "it lacks the guest OS feature SEV_CAPABLE"},
		{"UEFI_COMPATIBLE", "READY", TEE_NONE, NULL},
		{"X", "PENDING", TEE_NONE, "is PENDING, not READY"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		char text[512];
		snprintf(text, sizeof(text),
			"{\"selfLink\":\"https://c/compute/v1/projects/q/global/images/n\",\"diskSizeGb\":\"12\",\"status\":\"%s\","
			"\"guestOsFeatures\":[{\"type\":\"%s\"},{}]}",
			cases[i].status, cases[i].features);
		cleanup_json *o = json(text);
		cleanup_image facts = {0};
		cleanup_error err = ERROR_INIT;
		assert_int_equal(image_read(o, &facts, &err), 0);
		assert_string_equal(facts.path, "projects/q/global/images/n");
		assert_int_equal(facts.disk_gib, 12);
		assert_int_equal(image_check(&facts, cases[i].tee, &err), cases[i].error ? -1 : 0);
		if (cases[i].error)
			assert_contains(error_message(&err), cases[i].error);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_token_answers_are_read),
		cmocka_unit_test(test_token_refusals_are_told_and_a_wrong_clock_is_noticed),
		cmocka_unit_test(test_every_reason_of_an_answer_has_its_kind),
		cmocka_unit_test(test_errors_say_what_to_do),
		cmocka_unit_test(test_every_code_of_an_operation_has_its_kind),
		cmocka_unit_test(test_operations_fail_by_error_or_by_status_and_tell_the_details),
		cmocka_unit_test(test_instances_are_read),
		cmocka_unit_test(test_instances_that_are_still_being_made_have_fewer_addresses),
		cmocka_unit_test(test_what_is_no_instance_or_operation_is_refused),
		cmocka_unit_test(test_operations_are_read),
		cmocka_unit_test(test_machine_types_are_read),
		cmocka_unit_test(test_images_are_read_and_held_against_the_protection),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
