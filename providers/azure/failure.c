/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failure.c - see failure.h
 *
 * A tree of errors is walked from the outside in. The innermost code that the table knows decides, because what wraps
 * it (OperationNotAllowed, Conflict, DeploymentFailed ...) says less. Depth and number of what is looked at are bounded.
 */
#include "providers/azure/failure.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"

#define DEPTH_MAX 8
#define LOOKS_MAX 64 /* error objects of one answer */
#define BODY_MAX ((size_t)1 << 20)
#define CODE_MAX 80
#define MESSAGE_MAX 600 /* of the cloud's text, in ours */

static const char role_advice[] =
	"give the identity the role of docs/providers/azure-role.json on this scope";

static const struct rule {
	const char *code;
	enum error_kind kind;
	const char *advice;
} rules[] = {
	{"TooManyRequests", ERROR_THROTTLED, NULL},
	{"SubscriptionRequestsThrottled", ERROR_THROTTLED, NULL},
	{"ResourceRequestsThrottled", ERROR_THROTTLED, NULL},

	{"InternalServerError", ERROR_RETRY, NULL},
	{"RetryableError", ERROR_RETRY, NULL},
	{"NetworkingInternalOperationError", ERROR_RETRY, NULL},
	{"ServiceUnavailable", ERROR_RETRY, NULL},
	{"GatewayTimeout", ERROR_RETRY, NULL},

	{"AllocationFailed", ERROR_CAPACITY, NULL},
	{"ZonalAllocationFailed", ERROR_CAPACITY, NULL},
	{"OverconstrainedAllocationRequest", ERROR_CAPACITY, NULL},
	{"OverconstrainedZonalAllocationRequest", ERROR_CAPACITY, NULL},
	{"SkuNotAvailable", ERROR_CAPACITY, NULL},

	{"QuotaExceeded", ERROR_QUOTA, "ask Microsoft for a higher quota, or allow other sizes"},
	{"PublicIPCountLimitReached", ERROR_QUOTA, "ask Microsoft for a higher quota"},

	{"SubnetIsFull", ERROR_CAPACITY, "name more subnets in AZURE_SUBNET_ID"},
	{"InsufficientSubnetSize", ERROR_CAPACITY, "name a larger subnet in AZURE_SUBNET_ID"},

	{"ExpiredAuthenticationToken", ERROR_DENIED, NULL},
	{"InvalidAuthenticationToken", ERROR_DENIED, NULL},
	{"InvalidAuthenticationTokenTenant", ERROR_DENIED,
		"AZURE_TENANT_ID is not the tenant of the subscription"},
	{"AuthenticationFailed", ERROR_DENIED, NULL},
	{"AuthorizationFailed", ERROR_DENIED, role_advice},
	{"LinkedAuthorizationFailed", ERROR_DENIED, role_advice},
	{"RequestDisallowedByPolicy", ERROR_DENIED,
		"a policy of the subscription forbids it: change the policy, or what is asked for"},

	{"MissingSubscriptionRegistration", ERROR_INVALID,
		"register it once: az provider register --namespace Microsoft.Compute (and Microsoft.Network)"},

	{"ResourceNotFound", ERROR_GONE, NULL},
	{"NotFound", ERROR_GONE, NULL},
	{"ResourceGroupNotFound", ERROR_INVALID, "check AZURE_RESOURCE_GROUP"},
	{"InvalidSubscriptionId", ERROR_INVALID, "check AZURE_SUBSCRIPTION_ID"},
	{"SubscriptionNotFound", ERROR_INVALID, "check AZURE_SUBSCRIPTION_ID"},
	{"ImageNotFound", ERROR_INVALID, "check AZURE_IMAGE_ID"},
	{"GalleryImageNotFound", ERROR_INVALID, "check AZURE_IMAGE_ID"},

	{"Conflict", ERROR_RETRY, NULL},
	{"AnotherOperationInProgress", ERROR_RETRY, NULL},
	{"NicReservedForAnotherVm", ERROR_RETRY, NULL},
	{"AttachDiskWhileBeingDetached", ERROR_RETRY, NULL},
	{"OperationPreempted", ERROR_RETRY, NULL},
	{"PropertyChangeNotAllowed", ERROR_INVALID, NULL},
	{"PreconditionFailed", ERROR_EXISTS, NULL},

	{"OSProvisioningTimedOut", ERROR_INVALID,
		"the image did not report that it is up: look at its boot with AZURE_BOOT_DIAGNOSTICS=true"},
	{"OSProvisioningInternalError", ERROR_INVALID, "look at the image's cloud-init"},
	{"VMStartTimedOut", ERROR_INVALID, "the image does not boot on this size"},
	{"VMExtensionProvisioningError", ERROR_INVALID, "look at the extensions of policies"},
};

/* OperationNotAllowed says what it means in its text only. */
static const char *const quota_texts[] = {"Family Cores quota",
	"exceeding approved Total Regional Cores quota", "LowPriorityCores",
	"Submit a request for Quota increase"};

static const struct rule *rule_of(const char *code, const char *message)
{
	static const struct rule quota = {"", ERROR_QUOTA,
		"ask Microsoft for a higher quota, or allow other sizes"};
	for (size_t i = 0; i < array_size(rules); i++) {
		if (!strcasecmp(rules[i].code, code))
			return &rules[i];
	}
	for (size_t i = 0; i < array_size(quota_texts); i++) {
		if (strcasestr(message, quota_texts[i]))
			return &quota;
	}
	return NULL;
}

static enum error_kind kind_of_status(int status)
{
	switch (status) {
	case 429:
		return ERROR_THROTTLED;
	case 401:
	case 403:
		return ERROR_DENIED;
	case 404:
		return ERROR_GONE;
	case 408:
	case 409:
		return ERROR_RETRY;
	case 412:
		return ERROR_EXISTS;
	}
	return status >= 500 || (status && status < 400) ? ERROR_RETRY : ERROR_INVALID;
}

enum error_kind failure_kind(const char *code, const char *message, int status)
{
	const struct rule *rule = rule_of(code, message);
	/* What is told to slow down by the status slows down, whatever the code. */
	if (status == 429)
		return ERROR_THROTTLED;
	if (rule)
		return rule->kind;
	/* OperationNotAllowed and its like: a 409 with a code of its own is no passing conflict. */
	return status == 409 && *code ? ERROR_INVALID : kind_of_status(status);
}

bool failure_is_stale_token(int status)
{
	return status == 401;
}

bool failure_has_code(const struct error *err, const char *code)
{
	size_t len = strlen(code);
	for (const char *at = error_message(err); (at = strstr(at, code)); at += len) {
		bool begins = at == error_message(err) || strchr(" /", at[-1]);
		if (begins && (at[len] == ':' || at[len] == '/'))
			return true;
	}
	return false;
}

/* ---- the tree of an answer --------------------------------------------------------------------------------- */

struct finding {
	char outer[CODE_MAX], code[CODE_MAX], message[MESSAGE_MAX];
	const struct rule *rule;
	unsigned looks;
};

static const char *text_at(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

/* Control characters would spoil a log line. */
static void copy_clean(char *to, size_t size, const char *from)
{
	size_t n = 0;
	for (; *from && n + 1 < size; from++)
		to[n++] = (unsigned char)*from < ' ' || *from == 127 ? ' ' : *from;
	to[n] = '\0';
}

static void walk(const json_t *error, unsigned depth, struct finding *f);

/* {"error": {...}} or the object itself, as text in a message. */
static void walk_text(const char *text, unsigned depth, struct finding *f)
{
	text += strspn(text, " \t\r\n");
	if (*text != '{')
		return;
	cleanup_json *inner = json_parse("error", text, strlen(text), BODY_MAX, true, NULL);
	const json_t *error = json_object_get(inner, "error");
	walk(error ? error : inner, depth, f);
}

static void walk(const json_t *error, unsigned depth, struct finding *f)
{
	const char *code = text_at(error, "code"), *message = text_at(error, "message");
	if (!json_is_object(error) || depth > DEPTH_MAX || ++f->looks > LOOKS_MAX)
		return;
	const struct rule *rule = rule_of(code, message);
	if (*code && !*f->outer)
		copy_clean(f->outer, sizeof(f->outer), code);
	if (*code && (rule || !*f->code)) {
		f->rule = rule;
		copy_clean(f->code, sizeof(f->code), code);
		copy_clean(f->message, sizeof(f->message), message);
	}
	walk_text(message, depth + 1, f);
	size_t i;
	json_t *detail;
	json_array_foreach(json_object_get(error, "details"), i, detail)
	{
		walk(detail, depth + 1, f);
	}
	walk(json_object_get(error, "innererror"), depth + 1, f);
}

int failure_of_object(const json_t *error, int status, const char *request, struct error *err)
{
	struct finding f = {0};
	walk(error, 0, &f);
	char where[160];
	if (status)
		snprintf(where, sizeof(where), "HTTP %d, request %.80s", status,
			*request ? request : "unknown");
	else
		snprintf(where, sizeof(where), "request %.80s", *request ? request : "unknown");
	enum error_kind kind = failure_kind(f.code, f.message, status);
	if (!*f.code)
		error_set(err, kind, "no error code (%s)", where);
	else
		error_set(err, kind, "%s%s%s: %s (%s)", strcmp(f.outer, f.code) ? f.outer : "",
			strcmp(f.outer, f.code) ? "/" : "", f.code,
			*f.message ? f.message : "no message", where);
	if (f.rule && f.rule->advice)
		error_append(err, "; %s", f.rule->advice);
	if (err)
		err->status = status;
	return -1;
}

int failure_read(int status, const void *body, size_t len, const char *request, struct error *err)
{
	cleanup_json *answer = json_parse("error", body, len, BODY_MAX, true, NULL);
	const json_t *error = json_object_get(answer, "error");
	return failure_of_object(error ? error : answer, status, request, err);
}

/* ---- Entra ID ---------------------------------------------------------------------------------------------- */

const char *aadsts_advice(long number)
{
	static const struct {
		long number;
		const char *advice;
	} known[] = {
		{7000215,
			"AZURE_CLIENT_SECRET is wrong: it must be the secret's value, not its id"},
		{7000222,
			"the client secret has expired: make a new one and put it into the Secret"},
		{700016, "AZURE_CLIENT_ID is not an application of this tenant"},
		{90002, "AZURE_TENANT_ID is no tenant of this cloud"},
		{900023, "AZURE_TENANT_ID is no tenant"},
		{70021, "no federated credential of the identity has this issuer, subject and audience"},
		{700213, "no federated credential of the identity has this subject: it must be "
			 "system:serviceaccount:NAMESPACE:NAME of the adaptor's service account"},
		{700211,
			"no federated credential of the identity has this issuer: it must be the cluster's OIDC "
			"issuer URL"},
		{700212, "no federated credential of the identity has this audience: it must be "
			 "api://AzureADTokenExchange"},
		{700024,
			"the federated token is outside of its validity: check the clock, and that the kubelet "
			"renews the file"},
		{50196, "the same token was asked for too often"},
		{53003, "a conditional access policy blocks the identity"},
	};
	for (size_t i = 0; i < array_size(known); i++) {
		if (known[i].number == number)
			return known[i].advice;
	}
	return NULL;
}
