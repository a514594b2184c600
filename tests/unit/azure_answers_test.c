/* SPDX-License-Identifier: Apache-2.0 */
/* azure_answers_test.c - what the Azure driver reads: errors, tokens, states, sizes, images, permissions, where it is */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "providers/azure/arm.h"
#include "providers/azure/catalogue.h"
#include "providers/azure/driver.h"
#include "providers/azure/failure.h"
#include "providers/azure/image.h"
#include "providers/azure/permissions.h"
#include "providers/azure/place.h"
#include "providers/azure/token.h"
#include "providers/azure/vm.h"
#include "tests/unit/assert_contains.h"

#define GROUP "/subscriptions/s-1/resourceGroups/Group_1/providers/"

static json_t *json_of(const char *text)
{
	json_t *value = json_loads(text, 0, NULL);
	assert_non_null(value);
	return value;
}

/* ---- errors -------------------------------------------------------------------------------------- */

/* Every code of the specification's tables. */
static const struct {
	const char *code, *message;
	int status;
	enum error_kind kind;
	const char *advice;
} codes[] = {
	{"TooManyRequests", "", 429, ERROR_THROTTLED, NULL},
	{"SubscriptionRequestsThrottled", "", 429, ERROR_THROTTLED, NULL},
	{"SubscriptionRequestsThrottled", "", 0, ERROR_THROTTLED, NULL},
	{"OperationNotAllowed", "too many requests", 429, ERROR_THROTTLED, NULL},
	{"", "", 429, ERROR_THROTTLED, NULL},

	{"", "", 408, ERROR_RETRY, NULL},
	{"", "", 500, ERROR_RETRY, NULL},
	{"", "", 502, ERROR_RETRY, NULL},
	{"", "", 503, ERROR_RETRY, NULL},
	{"", "", 504, ERROR_RETRY, NULL},
	{"InternalServerError", "", 500, ERROR_RETRY, NULL},
	{"RetryableError", "", 409, ERROR_RETRY, NULL},
	{"NetworkingInternalOperationError", "", 500, ERROR_RETRY, NULL},

	{"AllocationFailed", "", 0, ERROR_CAPACITY, NULL},
	{"ZonalAllocationFailed", "", 0, ERROR_CAPACITY, NULL},
	{"OverconstrainedAllocationRequest", "", 0, ERROR_CAPACITY, NULL},
	{"OverconstrainedZonalAllocationRequest", "", 0, ERROR_CAPACITY, NULL},
	{"SkuNotAvailable", "", 409, ERROR_CAPACITY, NULL},

	{"OperationNotAllowed", "exceeding approved standardDCASv5Family Cores quota. Additional",
		409, ERROR_QUOTA, "higher quota"},
	{"OperationNotAllowed", "results in exceeding approved Total Regional Cores quota", 409,
		ERROR_QUOTA, "higher quota"},
	{"OperationNotAllowed", "exceeding approved LowPriorityCores quota", 409, ERROR_QUOTA,
		"higher quota"},
	{"OperationNotAllowed", "Submit a request for Quota increase at", 409, ERROR_QUOTA,
		"higher quota"},
	{"QuotaExceeded", "", 400, ERROR_QUOTA, "higher quota"},
	{"PublicIPCountLimitReached", "", 400, ERROR_QUOTA, "higher quota"},
	{"OperationNotAllowed", "The operation is not allowed", 409, ERROR_INVALID, NULL},

	{"SubnetIsFull", "", 400, ERROR_CAPACITY, "more subnets"},
	{"InsufficientSubnetSize", "", 400, ERROR_CAPACITY, "larger subnet"},

	{"ExpiredAuthenticationToken", "", 401, ERROR_DENIED, NULL},
	{"InvalidAuthenticationToken", "", 401, ERROR_DENIED, NULL},
	{"AuthenticationFailed", "", 401, ERROR_DENIED, NULL},
	{"AuthorizationFailed", "", 403, ERROR_DENIED, "azure-role.json"},
	{"LinkedAuthorizationFailed", "", 403, ERROR_DENIED, "azure-role.json"},
	{"RequestDisallowedByPolicy", "", 403, ERROR_DENIED, "policy"},

	{"MissingSubscriptionRegistration", "", 409, ERROR_INVALID, "az provider register"},

	{"ResourceNotFound", "", 404, ERROR_GONE, NULL},
	{"NotFound", "", 404, ERROR_GONE, NULL},
	{"ResourceGroupNotFound", "", 404, ERROR_INVALID, "AZURE_RESOURCE_GROUP"},
	{"InvalidSubscriptionId", "", 404, ERROR_INVALID, "AZURE_SUBSCRIPTION_ID"},
	{"ImageNotFound", "", 404, ERROR_INVALID, "AZURE_IMAGE_ID"},
	{"GalleryImageNotFound", "", 404, ERROR_INVALID, "AZURE_IMAGE_ID"},

	{"Conflict", "", 409, ERROR_RETRY, NULL},
	{"AnotherOperationInProgress", "", 409, ERROR_RETRY, NULL},
	{"NicReservedForAnotherVm", "", 400, ERROR_RETRY, NULL},
	{"AttachDiskWhileBeingDetached", "", 409, ERROR_RETRY, NULL},
	{"OperationPreempted", "", 409, ERROR_RETRY, NULL},
	{"PropertyChangeNotAllowed", "", 409, ERROR_INVALID, NULL},
	{"PreconditionFailed", "", 412, ERROR_EXISTS, NULL},

	{"OSProvisioningTimedOut", "", 0, ERROR_INVALID, "AZURE_BOOT_DIAGNOSTICS"},
	{"OSProvisioningInternalError", "", 0, ERROR_INVALID, "cloud-init"},
	{"VMStartTimedOut", "", 0, ERROR_INVALID, "does not boot"},
	{"VMExtensionProvisioningError", "", 0, ERROR_INVALID, "extensions"},

	{"BadRequest", "", 400, ERROR_INVALID, NULL},
	{"", "", 404, ERROR_GONE, NULL},
	{"", "", 403, ERROR_DENIED, NULL},
	{"", "", 412, ERROR_EXISTS, NULL},
};

static void test_every_code_has_its_kind_and_message(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(codes); i++) {
		cleanup_error err = ERROR_INIT;
		char expected[300], body[400];
		assert_int_equal(failure_kind(codes[i].code, codes[i].message, codes[i].status),
			codes[i].kind);
		snprintf(body, sizeof(body), "{\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}",
			codes[i].code, codes[i].message);
		assert_int_equal(failure_read(codes[i].status, body, strlen(body), "r-1", &err),
			-1);
		assert_int_equal(err.kind, codes[i].kind);
		assert_int_equal(err.status, codes[i].status);
		if (*codes[i].code && codes[i].status)
			snprintf(expected, sizeof(expected), "%s: %s (HTTP %d, request r-1)",
				codes[i].code, *codes[i].message ? codes[i].message : "no message",
				codes[i].status);
		else
			snprintf(expected, sizeof(expected), "%s", "request r-1");
		assert_contains(error_message(&err), expected);
		if (codes[i].advice)
			assert_contains(error_message(&err), codes[i].advice);
		if (*codes[i].code)
			assert_true(failure_has_code(&err, codes[i].code));
	}
}

static void test_the_innermost_known_code_decides(void **state)
{
	(void)state;
	static const struct {
		const char *body;
		int status;
		enum error_kind kind;
		const char *message;
	} cases[] = {
		{"{\"error\":{\"code\":\"OperationNotAllowed\",\"message\":\"The server rejected it\",\"details\":"
		 "[{\"code\":\"TooManyRequests\",\"target\":\"PutVM3Min\",\"message\":\"later\"}]}}",
			409, ERROR_THROTTLED,
			"OperationNotAllowed/TooManyRequests: later (HTTP 409, request r-1)"},
		{"{\"error\":{\"code\":\"DeploymentFailed\",\"message\":\"see details\",\"details\":[{\"code\":\"Conflict\","
		 "\"message\":\"{\\r\\n \\\"error\\\": {\\\"code\\\": \\\"ZonalAllocationFailed\\\", \\\"message\\\": \\\"no room\\\"}}\"}]}}",
			409, ERROR_CAPACITY,
			"DeploymentFailed/ZonalAllocationFailed: no room (HTTP 409"},
		{"{\"error\":{\"code\":\"BadRequest\",\"message\":\"m\",\"innererror\":{\"code\":\"SubnetIsFull\",\"message\":\"full\"}}}",
			400, ERROR_CAPACITY, "BadRequest/SubnetIsFull: full"},
		{"{\"code\":\"NotFound\",\"message\":\"bare\"}", 404, ERROR_GONE, "NotFound: bare"},
		{"<html>gateway</html>", 502, ERROR_RETRY, "no error code (HTTP 502, request r-1)"},
		{"", 403, ERROR_DENIED, "no error code"},
		{"{\"error\":\"text\"}", 400, ERROR_INVALID, "no error code"},
		{"{\"error\":{\"code\":\"X\",\"message\":\"a\\nb\\u0007c\"}}", 400, ERROR_INVALID,
			"X: a b c (HTTP"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		failure_read(cases[i].status, cases[i].body, strlen(cases[i].body), "r-1", &err);
		assert_int_equal(err.kind, cases[i].kind);
		assert_contains(error_message(&err), cases[i].message);
	}
}

static void test_a_deep_or_wide_error_is_read_within_bounds(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf text = BUF_INIT;
	cleanup_error err = ERROR_INIT;
	for (int i = 0; i < 200; i++)
		buf_append_text(&text, "{\"code\":\"X\",\"details\":[");
	buf_append_text(&text, "{\"code\":\"SkuNotAvailable\"}");
	for (int i = 0; i < 200; i++)
		buf_append_text(&text, "]}");
	failure_read(409, text.data, text.len, "", &err);
	assert_int_equal(err.kind, ERROR_INVALID);
	text.len = 0;
	buf_append_text(&text, "{\"code\":\"Y\",\"message\":\"");
	for (int i = 0; i < 2000; i++)
		buf_append_text(&text, "m");
	buf_append_text(&text, "\"}");
	failure_read(409, text.data, text.len, "", &err);
	assert_true(strlen(error_message(&err)) < 800);
}

/* ---- tokens -------------------------------------------------------------------------------------- */

static void test_tokens_are_read_with_their_life(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t seconds;
	} good[] = {
		{"{\"token_type\":\"Bearer\",\"expires_in\":3599,\"access_token\":\"eyJ0.a-b_c\"}",
			3599},
		{"{\"access_token\":\"x\",\"expires_in\":\"86399\",\"expires_on\":\"5\"}", 86399},
		{"{\"access_token\":\"x\",\"expires_on\":\"1773656120\"}", 1773656120 - 1773569420},
		{"{\"access_token\":\"x\",\"expires_on\":1773656120}", 1773656120 - 1773569420},
		{"{\"access_token\":\"x\",\"expires_on\":\"03/15/2026 11:10:20 +00:00\"}", 3600},
		{"{\"access_token\":\"x\",\"expires_on\":\"5\"}", 0},
		{"{\"access_token\":\"x\",\"expires_in\":99999999999999}", 7 * 24 * 3600},
		{"{\"access_token\":\"x\"}", 0},
	};
	static const char *const bad[] = {"", "{}", "[]", "{\"access_token\":\"\"}",
		"{\"access_token\":7}", "{\"access_token\":\"a b\"}",
		"{\"access_token\":\"a\\r\\nX: y\"}"};
	for (size_t i = 0; i < array_size(good); i++) {
		cleanup_secret token = SECRET_INIT;
		uint64_t lives_ns = 1;
		assert_int_equal(token_read("t", good[i].text, strlen(good[i].text), 1773569420,
					 &token, &lives_ns, NULL),
			0);
		assert_int_equal(lives_ns / NS_PER_S, good[i].seconds);
		assert_true(token.len > 0);
	}
	for (size_t i = 0; i < array_size(bad); i++) {
		cleanup_secret token = SECRET_INIT;
		uint64_t lives_ns = 1;
		assert_int_equal(token_read("t", bad[i], strlen(bad[i]), 0, &token, &lives_ns,
					 NULL),
			-1);
		assert_int_equal(token.len, 0);
	}
}

static void test_refusals_of_tokens_keep_their_code_and_say_what_to_do(void **state)
{
	(void)state;
	static const struct {
		int status;
		long number;
		const char *advice;
	} known[] = {
		{401, 7000215, "not its id"},
		{401, 7000222, "has expired"},
		{400, 700016, "AZURE_CLIENT_ID"},
		{400, 90002, "AZURE_TENANT_ID"},
		{401, 70021, "issuer, subject and audience"},
		{401, 700213, "subject"},
		{401, 700024, "clock"},
	};
	for (size_t i = 0; i < array_size(known); i++) {
		char text[300];
		cleanup_error err = ERROR_INIT;
		snprintf(text, sizeof(text),
			"{\"error\":\"invalid_client\",\"error_description\":\"AADSTS%ld: text\\r\\nTrace ID: x\","
			"\"error_codes\":[%ld],\"trace_id\":\"t-9\"}",
			known[i].number, known[i].number);
		assert_int_equal(token_refusal_read(known[i].status, text, strlen(text), &err), -1);
		assert_int_equal(err.kind, ERROR_DENIED);
		snprintf(text, sizeof(text), "invalid_client: AADSTS%ld: text (HTTP %d, trace t-9)",
			known[i].number, known[i].status);
		assert_contains(error_message(&err), text);
		assert_contains(error_message(&err), known[i].advice);
	}
	static const struct {
		const char *text;
		int status;
		enum error_kind kind;
	} others[] = {
		{"", 429, ERROR_THROTTLED},
		{"{\"error\":\"invalid_grant\",\"error_codes\":[50196]}", 400, ERROR_THROTTLED},
		{"{\"error\":\"x\",\"error_description\":\"AADSTS50196: loop\"}", 400,
			ERROR_THROTTLED},
		{"{\"error\":\"temporarily_unavailable\"}", 400, ERROR_RETRY},
		{"<html>", 503, ERROR_RETRY},
		{"", 408, ERROR_RETRY},
		{"no json", 400, ERROR_DENIED},
	};
	for (size_t i = 0; i < array_size(others); i++) {
		cleanup_error err = ERROR_INIT;
		token_refusal_read(others[i].status, others[i].text, strlen(others[i].text), &err);
		assert_int_equal(err.kind, others[i].kind);
	}
}

static void test_the_metadata_service_may_be_busy_but_not_refuse(void **state)
{
	(void)state;
	static const int passing[] = {404, 410, 429, 500, 503};
	static const char text[] =
		"{\"error\":\"invalid_request\",\"error_description\":\"Identity not found\"}";
	cleanup_error err = ERROR_INIT;
	for (size_t i = 0; i < array_size(passing); i++) {
		imds_refusal_read(passing[i], "", 0, &err);
		assert_int_equal(err.kind, ERROR_RETRY);
	}
	imds_refusal_read(400, text, strlen(text), &err);
	assert_int_equal(err.kind, ERROR_DENIED);
	assert_contains(error_message(&err),
		"Identity not found (HTTP 400); this machine has no such");
}

/* ---- answers ---------------------------------------------------------------------------------------- */

static void test_states_times_and_addresses_are_read(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		enum vm_state state;
	} states[] = {{"Succeeded", VM_READY}, {"succeeded", VM_READY}, {"Failed", VM_FAILED},
		{"Canceled", VM_FAILED}, {"Deleting", VM_GOING}, {"Creating", VM_COMING},
		{"Updating", VM_COMING}, {"", VM_COMING}};
	for (size_t i = 0; i < array_size(states); i++) {
		cleanup_json *vm =
			json_pack("{s:{s:s}}", "properties", "provisioningState", states[i].name);
		assert_int_equal(vm_state(vm), states[i].state);
	}
	assert_int_equal(time_parse("2026-03-15T10:15:31Z"), 1773569731);
	assert_int_equal(time_parse("2026-03-15T10:15:31.1234567+00:00"), 1773569731);
	assert_int_equal(time_parse("yesterday"), 0);
	assert_int_equal(time_parse("2026-03-15T10:15:31"), 0);
	cleanup_json *nics = json_of(
		"[{\"properties\":{\"primary\":false,\"ipConfigurations\":[{\"properties\":{\"privateIPAddress\":\"10.0.0.5\"}}]}},"
		"{\"properties\":{\"primary\":true,\"macAddress\":\"00-0D\",\"virtualMachine\":{\"id\":\"/vm\"},\"ipConfigurations\":["
		"{\"properties\":{\"privateIPAddress\":\"10.0.0.4\",\"publicIPAddress\":{\"id\":\"/ip\"}}}]}},7]");
	cleanup(instance_free) struct instance both = {0}, public = {0}, none = {0};
	assert_int_equal(addresses_give(nics, NULL, &both, NULL), 0);
	assert_string_equal(both.addresses[0], "10.0.0.4");
	assert_string_equal(both.addresses[1], "10.0.0.5");
	assert_null(both.addresses[2]);
	assert_int_equal(addresses_give(nics, "203.0.113.1", &public, NULL), 0);
	assert_string_equal(public.addresses[0], "203.0.113.1");
	assert_string_equal(public.addresses[1], "10.0.0.5");
	assert_int_equal(addresses_give(nics, "", &none, NULL), 0);
	assert_null(none.addresses[0]);
	const json_t *first = json_array_get(nics, 1);
	assert_true(nic_is_on_a_host(first) && !nic_is_on_a_host(json_array_get(nics, 0)));
	assert_string_equal(nic_public_ip(first), "/ip");
	assert_string_equal(nic_vm(first), "/vm");
	cleanup_json *zero = json_of(
		"{\"properties\":{\"ipConfigurations\":[{\"properties\":{\"privateIPAddress\":\"0.0.0.0\"}}]}}");
	assert_string_equal(nic_address(zero), "");
	assert_string_equal(text_of(NULL, "a", NULL), "");
}

static const char sku_text[] =
	"{\"resourceType\":\"virtualMachines\",\"name\":\"Standard_DC4as_v5\",\"family\":\"standardDCASv5Family\",\"locations\":[\"East US\"],"
	"\"locationInfo\":[{\"location\":\"eastus\",\"zones\":[\"1\",\"2\",\"3\"]},{\"location\":\"westus\",\"zones\":[\"9\"]}],"
	"\"capabilities\":[{\"name\":\"vCPUs\",\"value\":\"8\"},{\"name\":\"vCPUsAvailable\",\"value\":\"4\"},{\"name\":\"MemoryGB\",\"value\":\"17.5\"},"
	"{\"name\":\"MaxDataDiskCount\",\"value\":\"8\"},{\"name\":\"MaxNetworkInterfaces\",\"value\":\"2\"},{\"name\":\"GPUs\",\"value\":\"x\"},"
	"{\"name\":\"ConfidentialComputingType\",\"value\":\"SNP\"},{\"name\":\"HyperVGenerations\",\"value\":\"V1\"}],"
	"\"restrictions\":[{\"type\":\"Zone\",\"restrictionInfo\":{\"locations\":[\"eastus\"],\"zones\":[\"2\"]},\"reasonCode\":\"NotAvailableForSubscription\"},"
	"{\"type\":\"Location\",\"restrictionInfo\":{\"locations\":[\"westus\"]},\"reasonCode\":\"QuotaId\"}]}";

static void test_sizes_are_read_with_zones_and_restrictions(void **state)
{
	(void)state;
	cleanup_json *sku = json_of(sku_text);
	struct size size;
	assert_int_equal(size_read(sku, "eastus", &size, NULL), 1);
	assert_string_equal(size.facts.type, "Standard_DC4as_v5");
	assert_string_equal(size.facts.family, "standardDCASv5Family");
	assert_int_equal(size.facts.vcpus, 4);
	assert_int_equal(size.facts.memory_mib, 17920);
	assert_int_equal(size.facts.gpus, 0);
	assert_int_equal(size.facts.max_volumes, 8);
	assert_int_equal(size.facts.tees, CHOICE_TEE_SNP);
	assert_false(size.generation_2);
	assert_int_equal(size.lacks, 0);
	assert_false(size.refused);
	assert_string_equal(size.zones[0], "1");
	assert_string_equal(size.zones[1], "3");
	assert_string_equal(size.zones[2], "");
	size_clear(&size);
	assert_int_equal(size_read(sku, "westus", &size, NULL), 0);
	json_array_append_new(json_object_get(sku, "restrictions"),
		json_of("{\"type\":\"Location\",\"reasonCode\":\"NotAvailableForSubscription\"}"));
	assert_int_equal(size_read(sku, "EASTUS", &size, NULL), 1);
	assert_true(size.refused);
	assert_string_equal(size.refusal, "NotAvailableForSubscription");
	size_clear(&size);
	json_object_set_new(sku, "resourceType", json_string("disks"));
	assert_int_equal(size_read(sku, "eastus", &size, NULL), 0);
}

static void test_sizes_that_lack_what_the_options_ask_for_say_so(void **state)
{
	(void)state;
	static const struct {
		const char *capability, *value, *disk, *place;
		bool encryption;
		const char *why_not; /* NULL: it can */
	} cases[] = {
		{"PremiumIO", "False", "Premium_LRS", "", false, "AZURE_OS_DISK_TYPE"},
		{"PremiumIO", "False", "Premium_ZRS", "", false, "AZURE_OS_DISK_TYPE"},
		{"PremiumIO", "False", "StandardSSD_LRS", "", true, NULL},
		{"PremiumIO", "True", "Premium_LRS", "", false, NULL},
		{"EphemeralOSDiskSupported", "False", "Premium_LRS", "NvmeDisk", false,
			"AZURE_OS_DISK_EPHEMERAL"},
		{"EphemeralOSDiskSupported", "False", "Premium_LRS", "", true, NULL},
		{"EphemeralOSDiskSupported", "True", "Premium_LRS", "CacheDisk", false, NULL},
		{"EncryptionAtHostSupported", "false", "Premium_LRS", "", true,
			"AZURE_ENCRYPTION_AT_HOST"},
		{"EncryptionAtHostSupported", "False", "Premium_LRS", "CacheDisk", false, NULL},
		{"EncryptionAtHostSupported", "True", "Premium_LRS", "", true, NULL},
		{"unknown", "False", "Premium_LRS", "CacheDisk", true, NULL},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct azure_options o = {.os_disk_type = (char *)cases[i].disk,
			.os_disk_ephemeral = (char *)cases[i].place,
			.encryption_at_host = cases[i].encryption};
		struct size size;
		cleanup_json *sku = json_of(sku_text);
		json_array_append_new(json_object_get(sku, "capabilities"),
			json_pack("{s:s, s:s}", "name", cases[i].capability, "value",
				cases[i].value));
		assert_int_equal(size_read(sku, "eastus", &size, NULL), 1);
		const char *why_not = size_why_not(&size, &o);
		if (cases[i].why_not)
			assert_contains(why_not ? why_not : "(nothing)", cases[i].why_not);
		else
			assert_null(why_not);
		size_clear(&size);
	}
}

static void test_images_tell_what_they_can(void **state)
{
	(void)state;
	static const struct {
		const char *text, *why_not;
	} images[] = {
		{"{\"properties\":{\"hyperVGeneration\":\"V2\",\"features\":[{\"name\":\"SecurityType\",\"value\":\"ConfidentialVmSupported\"}]}}",
			NULL},
		{"{\"properties\":{\"features\":[{\"name\":\"securitytype\",\"value\":\"TrustedLaunchAndConfidentialVmSupported\"}]}}",
			NULL},
		{"{\"properties\":{\"hyperVGeneration\":\"V1\"}}", "generation 1"},
		{"{\"properties\":{\"features\":[{\"name\":\"SecurityType\",\"value\":\"TrustedLaunch\"}]}}",
			"no confidential"},
		{"{}", NULL},
	};
	for (size_t i = 0; i < array_size(images); i++) {
		cleanup_json *definition = json_of(images[i].text);
		struct image_facts facts;
		image_facts_read(definition, &facts);
		const char *why_not = image_not_confidential(&facts);
		if (images[i].why_not)
			assert_contains(why_not ? why_not : "(nothing)", images[i].why_not);
		else
			assert_null(why_not);
	}
}

static void test_permissions_know_wildcards(void **state)
{
	(void)state;
	static const struct {
		const char *permissions, *action;
		bool allowed;
	} cases[] = {
		{"[{\"actions\":[\"*\"],\"notActions\":[]}]",
			"Microsoft.Compute/virtualMachines/write", true},
		{"[{\"actions\":[\"*/read\"]}]", "Microsoft.Compute/virtualMachines/read", true},
		{"[{\"actions\":[\"*/read\"]}]", "Microsoft.Compute/virtualMachines/write", false},
		{"[{\"actions\":[\"microsoft.compute/*\"],\"notActions\":[\"*/delete\"]}]",
			"Microsoft.Compute/disks/delete", false},
		{"[{\"actions\":[\"Microsoft.Compute/*/write\"]}]",
			"Microsoft.Compute/virtualMachines/extensions/write", true},
		{"[{\"actions\":[]},{\"actions\":[\"a/b\"]}]", "A/B", true},
		{"[{\"actions\":[7]}]", "7", false},
		{"{}", "a", false},
		{"[{\"actions\":[\"a*a*a*a*b\"]}]", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_json *answer = json_pack("{s:o}", "value", json_of(cases[i].permissions));
		assert_int_equal(action_is_allowed(answer, cases[i].action), cases[i].allowed);
	}
}

static void test_the_place_of_this_machine_is_read(void **state)
{
	(void)state;
	static const char good[] =
		"{\"location\":\"eastus\",\"subscriptionId\":\"s-1\",\"resourceGroupName\":\"MC_g_c_eastus\",\"zone\":\"1\"}";
	static const struct {
		const char *text, *named;
	} bad[] = {
		{"<html>", "instance metadata service"},
		{"[]", "subscriptionId"},
		{"{\"location\":\"eastus\",\"subscriptionId\":\"s-1\"}",
			"\"resourceGroupName\" is \"\""},
		{"{\"location\":\"a/b\",\"subscriptionId\":\"s\",\"resourceGroupName\":\"g\"}",
			"\"location\" is \"a/b\""},
	};
	cleanup(place_free) struct place place = {0};
	assert_int_equal(place_read(good, strlen(good), &place, NULL), 0);
	assert_string_equal(place.subscription, "s-1");
	assert_string_equal(place.region, "eastus");
	assert_string_equal(place.resource_group, "MC_g_c_eastus");
	for (size_t i = 0; i < array_size(bad); i++) {
		struct place none;
		cleanup_error err = ERROR_INIT;
		assert_int_equal(place_read(bad[i].text, strlen(bad[i].text), &none, &err), -1);
		assert_contains(error_message(&err), bad[i].named);
		assert_null(none.subscription);
	}
}

/* ---- pace ------------------------------------------------------------------------------------------- */

static struct http_response with_headers(const char *text)
{
	struct http_response response = {.status = 200};
	buf_append_text(&response.headers, text);
	return response;
}

static void test_headers_tell_when_to_come_back(void **state)
{
	(void)state;
	static const struct {
		const char *headers;
		enum arm_class class;
		uint64_t retry_ms, hold_ms;
	} cases[] = {
		{"", ARM_READ, 0, 0},
		{"Retry-After: 7\r\n", ARM_READ, 7000, 0},
		{"retry-after-ms: 250\r\nRetry-After: 7\r\n", ARM_READ, 250, 0},
		{"x-ms-retry-after-ms: 1500\r\n", ARM_READ, 1500, 0},
		{"x-ms-retry-after-ms: soon\r\n", ARM_READ, 0, 0},
		{"Date: Sun, 15 Mar 2026 10:15:30 GMT\r\nRetry-After: Sun, 15 Mar 2026 10:15:33 GMT\r\n",
			ARM_READ, 3000, 0},
		{"x-ms-ratelimit-remaining-subscription-reads: 11999\r\n", ARM_READ, 0, 0},
		{"x-ms-ratelimit-remaining-subscription-reads: 8\r\n", ARM_READ, 0, 1000},
		{"x-ms-ratelimit-remaining-subscription-reads: 8\r\n", ARM_WRITE, 0, 0},
		{"x-ms-ratelimit-remaining-subscription-writes: 0\r\n", ARM_CREATE, 0, 5000},
		{"x-ms-ratelimit-remaining-subscription-deletes: 9\r\n", ARM_DELETE, 0, 500},
		{"x-ms-ratelimit-remaining-resource: Microsoft.Compute/PutVM3Min;237,Microsoft.Compute/PutVM30Min;4\r\n",
			ARM_CREATE, 0, 3000},
		{"x-ms-ratelimit-remaining-resource: Microsoft.Compute/PutVMSubscriptionMaximum;99,Microsoft.Compute/PutVMResource;2\r\n",
			ARM_CREATE, 0, 0},
		{"x-ms-ratelimit-remaining-resource: Microsoft.Compute/PutVM3Min;x\r\n", ARM_CREATE,
			0, 0},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_response response = with_headers(cases[i].headers);
		assert_int_equal(arm_retry_after_ns(&response) / NS_PER_MS, cases[i].retry_ms);
		assert_int_equal(arm_remaining_hold_ns(&response, cases[i].class) / NS_PER_MS,
			cases[i].hold_ms);
	}
}

static void test_operations_are_asked_finely_at_first_and_as_they_wish_within_reason(void **state)
{
	(void)state;
	assert_int_equal(operation_pause_ns(0, 0, 0), 1 * NS_PER_S);
	assert_int_equal(operation_pause_ns(2, 0, 0), 4 * NS_PER_S);
	assert_int_equal(operation_pause_ns(1000, 0, 0), 10 * NS_PER_S);
	assert_int_equal(operation_pause_ns(0, 3 * NS_PER_S, 0), 3 * NS_PER_S);
	assert_int_equal(operation_pause_ns(0, 30 * NS_PER_S, 59 * NS_PER_S), 5 * NS_PER_S);
	assert_int_equal(operation_pause_ns(0, 30 * NS_PER_S, 60 * NS_PER_S), 30 * NS_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_code_has_its_kind_and_message),
		cmocka_unit_test(test_the_innermost_known_code_decides),
		cmocka_unit_test(test_a_deep_or_wide_error_is_read_within_bounds),
		cmocka_unit_test(test_tokens_are_read_with_their_life),
		cmocka_unit_test(test_refusals_of_tokens_keep_their_code_and_say_what_to_do),
		cmocka_unit_test(test_the_metadata_service_may_be_busy_but_not_refuse),
		cmocka_unit_test(test_states_times_and_addresses_are_read),
		cmocka_unit_test(test_sizes_are_read_with_zones_and_restrictions),
		cmocka_unit_test(test_sizes_that_lack_what_the_options_ask_for_say_so),
		cmocka_unit_test(test_images_tell_what_they_can),
		cmocka_unit_test(test_permissions_know_wildcards),
		cmocka_unit_test(test_the_place_of_this_machine_is_read),
		cmocka_unit_test(test_headers_tell_when_to_come_back),
		cmocka_unit_test(
			test_operations_are_asked_finely_at_first_and_as_they_wish_within_reason),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
