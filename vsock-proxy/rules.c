/* SPDX-License-Identifier: Apache-2.0 */
/* rules.c - see rules.h */
#include "vsock-proxy/rules.h"

#include "base/cleanup.h"

/*
 * Calls of the agent's protocol that change nothing, or wait. WaitProcess may be asked by several
 * callers at once; the answer of the first reaps the process, so after that a second one is told
 * "not found", which is the truth. An abandoned GetOOMEvent may eat one event, as with the shim's
 * own retries.
 */
static const struct {
	const char *service, *method;
} repeatable[] = {
	{"grpc.Health", "Check"},
	{"grpc.Health", "Version"},
	{"grpc.AgentService", "WaitProcess"},
	{"grpc.AgentService", "GetOOMEvent"},
	{"grpc.AgentService", "StatsContainer"},
	{"grpc.AgentService", "GetGuestDetails"},
	{"grpc.AgentService", "ListInterfaces"},
	{"grpc.AgentService", "ListRoutes"},
	{"grpc.AgentService", "GetMetrics"},
	{"grpc.AgentService", "GetIPTables"},
	{"grpc.AgentService", "GetVolumeStats"},
	{"grpc.AgentService", "GetDiagnosticData"},
};

bool request_is(const struct ttrpc_request *request, const char *service, const char *method)
{
	return ttrpc_bytes_equal(request->method, method) &&
	       ttrpc_bytes_equal(request->service, service);
}

bool method_repeatable(const struct ttrpc_request *request)
{
	for (size_t i = 0; i < array_size(repeatable); i++) {
		if (request_is(request, repeatable[i].service, repeatable[i].method))
			return true;
	}
	return false;
}

static bool applies(const struct rule_set *set, size_t i, const struct ttrpc_request *request)
{
	return !(set->disabled >> i & 1) &&
	       request_is(request, set->rules[i].service, set->rules[i].method);
}

bool rules_concern(const struct rule_set *set, const struct ttrpc_request *request)
{
	for (size_t i = 0; i < set->count; i++) {
		if (applies(set, i, request))
			return true;
	}
	return false;
}

int rules_apply(const struct rule_set *set, const struct ttrpc_request *request,
	struct buf *payload, bool *changed, struct error *err)
{
	*changed = false;
	buf_append(payload, request->payload.data, request->payload.len);
	for (size_t i = 0; i < set->count; i++) {
		if (!applies(set, i, request))
			continue;
		bool one = false;
		if (set->rules[i].edit(&set->settings, payload, &one, err) < 0) {
			if (err && !err->status && err->kind == ERROR_INVALID)
				err->status = TTRPC_INVALID_ARGUMENT;
			return error_prefix(err, "%s", set->rules[i].method);
		}
		*changed = *changed || one;
	}
	if (payload->failed)
		return error_set(err, ERROR_INTERNAL, "out of memory");
	return 0;
}
