/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci.h - the OCI runtime's config.json, from what the agent's protocol says
 */
#ifndef PEERPOD_MINI_AGENT_OCI_H
#define PEERPOD_MINI_AGENT_OCI_H

#include <stdbool.h>
#include "base/json.h"
#include "proto/agent.pb-c.h"

/* What the agent decides, not the request. */
struct oci_frame {
	const char *rootfs;
	const char *ipc_ns,
		*uts_ns;        /* the sandbox's; NULL: of its own, where the request wants one */
	const char *pid_ns;     /* NULL: of its own */
	bool with_cgroup_mount; /* the runtime can mount the cgroups */
	const json_t
		*bundle; /* config.json of the bundle, for what the request leaves out; or NULL */
	const char *
		only_args; /* the sandbox container's program, instead of what was asked; or NULL */
};

/* New references. */
json_t *oci_config(const Agent__Spec *spec, const struct oci_frame *frame, struct error *err);
json_t *oci_process(const Agent__Process *process, const json_t *bundle, struct error *err);

#endif
