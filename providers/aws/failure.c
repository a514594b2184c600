/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failure.c - see failure.h
 *
 * The code decides, not the HTTP status: InsufficientInstanceCapacity comes as a 500.
 */
#include "providers/aws/failure.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "providers/aws/xml.h"

/* First match wins; a '*' at the end stands for anything. */
static const struct rule {
	const char *code;
	enum error_kind kind;
} rules[] = {
	{"RequestLimitExceeded", ERROR_THROTTLED},
	{"EC2ThrottledException", ERROR_THROTTLED},
	{"Throttling", ERROR_THROTTLED},
	{"ThrottlingException", ERROR_THROTTLED},
	{"RequestThrottled", ERROR_THROTTLED},
	{"SlowDown", ERROR_THROTTLED},
	{"TooManyRequestsException", ERROR_THROTTLED},

	{"InternalError", ERROR_RETRY},
	{"InternalFailure", ERROR_RETRY},
	{"ServiceUnavailable", ERROR_RETRY},
	{"Unavailable", ERROR_RETRY},
	{"RequestTimeout", ERROR_RETRY},
	{"IDPCommunicationError", ERROR_RETRY},
	{"InvalidIdentityToken", ERROR_RETRY},
	{"IncorrectInstanceState", ERROR_RETRY},
	{"IncorrectState", ERROR_RETRY},
	{"DependencyViolation", ERROR_RETRY},
	{"InvalidNetworkInterface.InUse", ERROR_RETRY},
	{"VolumeInUse", ERROR_RETRY},

	{"InsufficientInstanceCapacity", ERROR_CAPACITY},
	{"InsufficientCapacity", ERROR_CAPACITY},
	{"InsufficientHostCapacity", ERROR_CAPACITY},
	{"InsufficientAddressCapacity", ERROR_CAPACITY},
	{"InsufficientFreeAddressesInSubnet", ERROR_CAPACITY},
	{"SpotMaxPriceTooLow", ERROR_CAPACITY},
	{"UnfulfillableCapacity", ERROR_CAPACITY},
	{"Unsupported", ERROR_CAPACITY}, /* this type is not offered in this zone */

	{"VcpuLimitExceeded", ERROR_QUOTA},
	{"InstanceLimitExceeded", ERROR_QUOTA},
	{"MaxSpotInstanceCountExceeded", ERROR_QUOTA},
	{"AddressLimitExceeded", ERROR_QUOTA},
	{"VolumeLimitExceeded", ERROR_QUOTA},

	{"AuthFailure", ERROR_DENIED},
	{"UnauthorizedOperation", ERROR_DENIED},
	{"InvalidClientTokenId", ERROR_DENIED},
	{"ExpiredToken", ERROR_DENIED},
	{"ExpiredTokenException", ERROR_DENIED},
	{"RequestExpired", ERROR_DENIED},
	{"RequestTimeTooSkewed", ERROR_DENIED},
	{"SignatureDoesNotMatch", ERROR_DENIED},
	{"OptInRequired", ERROR_DENIED},
	{"Blocked", ERROR_DENIED},
	{"IDPRejectedClaim", ERROR_DENIED},
	{"AccessDenied", ERROR_DENIED},
	{"AccessDeniedException", ERROR_DENIED},
	{"RegionDisabledException", ERROR_DENIED},

	{"InvalidInstanceID.NotFound", ERROR_GONE},
	{"InvalidVolume.NotFound", ERROR_GONE},
	{"InvalidNetworkInterfaceID.NotFound", ERROR_GONE},
	{"InvalidAllocationID.NotFound", ERROR_GONE},
	{"InvalidAssociationID.NotFound", ERROR_GONE},

	{"IdempotentParameterMismatch", ERROR_EXISTS},

	{"Invalid*", ERROR_INVALID},
	{"Missing*", ERROR_INVALID},
	{"Malformed*", ERROR_INVALID},
	{"PackedPolicyTooLarge", ERROR_INVALID},
	{"UnknownParameter", ERROR_INVALID},
};

static const char *const stale_codes[] = {"AuthFailure", "InvalidClientTokenId", "ExpiredToken",
	"ExpiredTokenException", "RequestExpired", "SignatureDoesNotMatch", NULL};
static const char *const clock_codes[] = {"AuthFailure", "RequestExpired", "SignatureDoesNotMatch",
	"RequestTimeTooSkewed", NULL};

static bool matches(const char *pattern, const char *code)
{
	size_t len = strlen(pattern);
	if (pattern[len - 1] == '*')
		return !strncmp(pattern, code, len - 1);
	return !strcmp(pattern, code);
}

enum error_kind failure_kind(const char *code, int status)
{
	for (size_t i = 0; *code && i < array_size(rules); i++) {
		if (matches(rules[i].code, code))
			return rules[i].kind;
	}
	if (status == 429)
		return ERROR_THROTTLED;
	if (status == 401 || status == 403)
		return ERROR_DENIED;
	return status >= 500 || status < 400 ? ERROR_RETRY : ERROR_INVALID;
}

static bool listed(const char *const *list, const char *code)
{
	for (; *list; list++) {
		if (!strcmp(*list, code))
			return true;
	}
	return false;
}

bool failure_is_stale_credentials(const char *code)
{
	return listed(stale_codes, code);
}

bool failure_is_clock(const char *code)
{
	return listed(clock_codes, code);
}

bool failure_has_code(const struct error *err, const char *code)
{
	const char *found = strstr(error_message(err), code);
	return found && found[strlen(code)] == ':';
}

int failure_read(int status, const void *body, size_t len, char *code, size_t code_size,
	struct error *err)
{
	if (code_size)
		*code = '\0';
	cleanup_xml *doc = xml_parse("error", body, len, NULL);
	xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
	xmlNode *error = xml_at(root, "Errors/Error"); /* EC2 */
	error = error ? error : xml_at(root, "Error"); /* STS */
	cleanup(free_ptr) char *name = xml_text(error, "Code"), *text = xml_text(error, "Message"),
			       *request = xml_text(root, "RequestID");
	if (root && !request)
		request = xml_text(root, "RequestId");
	if (code_size && name)
		snprintf(code, code_size, "%s", name);
	if (!name)
		error_set(err, failure_kind("", status), "HTTP %d without an error code", status);
	else
		error_set(err, failure_kind(name, status), "%s: %s (HTTP %d, request %s)", name,
			text ? text : "no message", status, request ? request : "unknown");
	if (err)
		err->status = status;
	return -1;
}
