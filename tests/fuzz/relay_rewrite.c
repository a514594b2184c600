/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay_rewrite.c - request rewriting: the first byte picks the end and the method, the rest is the payload
 *
 * Whatever the payload is: no rule reads outside of it, and what comes out of an accepted request is
 * protobuf again and not smaller by more than what was dropped.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vsock-proxy/rules.h"
#include "vsock-proxy/splice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const methods[] = {"CreateContainer", "CreateSandbox"};
	if (size == 0)
		return 0;
	struct rule_set set = {.rules = proxy_rules, .count = proxy_rule_count};
	if (data[0] & 2) {
		set = (struct rule_set){.rules = forwarder_rules,
			.count = forwarder_rule_count,
			.settings = {.pod_netns = "/run/netns/podns"}};
		for (size_t i = 0; i < forwarder_rule_count; i++) {
			if (!strcmp(forwarder_rules[i].name, "bind-sources"))
				set.disabled |= UINT64_C(1) << i; /* would make folders */
		}
	}
	const char *method = methods[data[0] & 1];
	const struct ttrpc_request request = {
		.service = {(const uint8_t *)"grpc.AgentService", 17},
		.method = {(const uint8_t *)method, strlen(method)},
		.payload = {data + 1, size - 1},
	};
	struct buf payload = BUF_INIT;
	struct error err = ERROR_INIT;
	bool changed;
	if (rules_apply(&set, &request, &payload, &changed, &err) == 0 && changed) {
		struct splice_field field;
		size_t at = 0;
		int more;
		while ((more = splice_next((struct ttrpc_bytes){payload.data, payload.len}, &at,
				&field, NULL)) > 0)
			;
		if (more < 0)
			abort();
	}
	error_clear(&err);
	buf_free(&payload);
	return 0;
}
