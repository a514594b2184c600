/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules_proxy.c - what the worker's end changes: what only the worker knows
 *
 * The agent's policy sees the changed request, so the additions are exactly those that existing policies
 * expect.
 */
#include "vsock-proxy/rules.h"

#include "base/cleanup.h"
#include "vsock-proxy/splice.h"

/* CreateContainerRequest.OCI, Spec.Annotations */
enum { FIELD_OCI = 6, FIELD_ANNOTATIONS = 7 };

static const char default_gpus[] = "io.katacontainers.config.hypervisor.default_gpus";
static const char cdi_peer_pods[] = "cdi.k8s.io/peer-pods";
static const char cdi_all_gpus[] = "nvidia.com/gpu=all";

/* A pod that asked for GPUs gets all that its VM has. "0" asks for none. */
static int add_gpu_annotation(const struct rule_settings *settings, struct buf *payload,
	bool *changed, struct error *err)
{
	(void)settings;
	struct ttrpc_bytes spec, value;
	bool found;
	if (splice_child((struct ttrpc_bytes){payload->data, payload->len}, FIELD_OCI, &spec, err) <
			0 ||
		splice_map_get(spec, FIELD_ANNOTATIONS, default_gpus, &value, &found, err) < 0)
		return -1;
	if (!found || value.len == 0 || ttrpc_bytes_equal(value, "0"))
		return 0;

	cleanup(buf_free) struct buf entry = BUF_INIT, field = BUF_INIT;
	splice_put_text(&entry, 1, cdi_peer_pods);
	splice_put_text(&entry, 2, cdi_all_gpus);
	splice_put_bytes(&field, FIELD_ANNOTATIONS, entry.data, entry.len);
	*changed = true;
	return splice_append(payload, (const uint32_t[]){FIELD_OCI}, 1, &field, err);
}

const struct rule proxy_rules[] = {
	{"gpu", "grpc.AgentService", "CreateContainer", add_gpu_annotation},
};
const size_t proxy_rule_count = array_size(proxy_rules);
