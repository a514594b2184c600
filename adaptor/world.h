/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.h - what the verbs act on: the cloud, the pod network, agent-proxy
 *
 * Tables of functions, so that the verbs can be run against a world that is not there (tests of what
 * happens when a hundred pods start at once need no network namespaces).
 */
#ifndef PEERPOD_ADAPTOR_WORLD_H
#define PEERPOD_ADAPTOR_WORLD_H

#include "adaptor/record.h"
#include "base/bound.h"
#include "podnetwork/podnetwork.h"
#include "providers/provider.h"

/* lib/podnetwork's worker half. */
struct network_ops {
	__typeof__(podnetwork_inspect) *inspect;
	__typeof__(podnetwork_worker_setup) *setup;
	__typeof__(podnetwork_worker_teardown) *teardown;
	__typeof__(podnetwork_worker_reconcile) *reconcile;
};

struct proxy_sandbox {
	char *sandbox; /* owned */
	uint32_t shim_connections;
};

/* agent-proxy, over its control socket. */
struct proxy_ops {
	/* Waits until agent-proxy can be talked to. */
	int (*ready)(void *proxy, const struct bound *bound, struct error *err);
	/*
	 * Serves the sandbox. timeout_ns bounds reaching its agent; 0: answers at once and dials later.
	 * *underlay_mtu: of the way from the VM to here, 0 where it is not known; may be NULL.
	 */
	int (*open)(void *proxy, const struct record *record, uint64_t timeout_ns,
		const struct bound *bound, uint32_t *underlay_mtu, struct error *err);
	int (*close)(void *proxy, const char *sandbox, const struct bound *bound,
		struct error *err);
	/* *sandboxes is new: proxy_sandboxes_free. */
	int (*list)(void *proxy, struct proxy_sandbox **sandboxes, size_t *count,
		const struct bound *bound, struct error *err);
};

void proxy_sandboxes_free(struct proxy_sandbox *sandboxes, size_t count);

struct world {
	const struct provider_table *driver;
	struct provider *provider;
	const struct network_ops *network;
	const struct proxy_ops *proxy_ops;
	void *proxy;
};

#endif
