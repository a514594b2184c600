/* SPDX-License-Identifier: Apache-2.0 */
/*
 * network.c - what lib/podnetwork is told about a sandbox, what of the pod network has no owner any more, and the numbers
 * that rest for a while
 *
 * A VXLAN number that was in use a moment ago is not taken again at once: the old pod VM may not have
 * died yet and would send into the new pod's network.
 */
#include <stdlib.h>
#include <string.h>

#include "adaptor/adaptor.h"
#include "base/list.h"
#include "base/log.h"

/* gcc 12's analyzer loses sight of what is kept through an index; LeakSanitizer does not. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

/* Longer than any cloud takes to stop a VM that it was told to delete. */
#define QUARANTINE_NS (UINT64_C(900) * NS_PER_S)

struct podnetwork_worker_settings sandbox_network_settings(const struct adaptor *adaptor,
	const struct record *record)
{
	const struct settings *settings = adaptor->settings;
	return (struct podnetwork_worker_settings){
		.sandbox = record->sandbox,
		.netns_path = record->netns_path,
		.netns_inode = (uint64_t)record->netns_inode,
		.host_interface = settings->host_interface,
		.pod_subnet_cidrs = settings->pod_subnet_cidrs,
		.external_net_via_pod_vm = settings->ext_network_via_podvm,
		.tunnel_csum_off = !strcmp(settings->tunnel_csum, "off"),
		.nic_tx_csum_off = !strcmp(settings->nic_tx_csum, "off"),
		/* What a record says was so when its tunnel was made. */
		.vxlan_port = (uint16_t)(record->has_network ? record->network.vxlan_port
							     : settings->vxlan_port),
		.vxlan_min_id = (uint32_t)settings->vxlan_min_id,
		.vm_underlay_mtu = (uint32_t)record->vm_underlay_mtu,
	};
}

struct living {
	struct adaptor *adaptor;
	const struct proxy_sandbox *served; /* by agent-proxy */
	size_t served_count;
};

static bool add_id(char **ids, size_t *count, const char *id)
{
	ids[*count] = strdup(id);
	return ids[*count] && ++*count;
}

static bool add_ids(char **ids, struct sandbox *const *all, const struct living *living)
{
	size_t count = 0;
	bool whole = true;
	for (; whole && *all; all++)
		whole = add_id(ids, &count, (*all)->record.sandbox);
	for (size_t i = 0; whole && i < living->served_count; i++) {
		if (living->served[i].shim_connections > 0)
			whole = add_id(ids, &count, living->served[i].sandbox);
	}
	return whole;
}

/* What podnetwork_worker_reconcile asks. */
static char **live_sandboxes(void *context)
{
	const struct living *living = context;
	cleanup_list ids = NULL;
	struct sandbox **all = sandbox_all(&living->adaptor->table);
	size_t known = 0;
	while (all && all[known])
		known++;
	if (all)
		ids = calloc(known + living->served_count + 1, sizeof(*ids));
	bool whole = ids && add_ids(ids, all, living);
	sandbox_all_free(&living->adaptor->table, all);
	return whole ? take_ptr(ids) : NULL;
}

void adaptor_reconcile_network(struct adaptor *adaptor, const struct bound *bound)
{
	const struct world *world = adaptor->world;
	const struct settings *settings = adaptor->settings;
	struct living living = {.adaptor = adaptor};
	struct proxy_sandbox *served;
	cleanup_error why = ERROR_INIT;
	if (world->proxy_ops->list(world->proxy, &served, &living.served_count, bound, &why) < 0) {
		log_debug("pod network: what is without an owner stays: %s", error_message(&why));
		return;
	}
	living.served = served;
	if (world->network->reconcile(live_sandboxes, &living, (uint16_t)settings->vxlan_port,
		    (uint32_t)settings->vxlan_min_id, &why) < 0)
		log_warn("pod network: %s", error_message(&why));
	proxy_sandboxes_free(served, living.served_count);
}

void quarantine_add(struct quarantine *quarantine, uint32_t vni)
{
	pthread_mutex_lock(&quarantine->lock);
	/* A sandbox that is taken down in many attempts releases its number in each: it has one place all the same. */
	size_t at = 0;
	while (at < QUARANTINE_SIZE && quarantine->released[at].vni != vni)
		at++;
	if (at == QUARANTINE_SIZE) {
		at = quarantine->next;
		quarantine->next = (quarantine->next + 1) % QUARANTINE_SIZE;
	}
	quarantine->released[at].vni = vni;
	quarantine->released[at].until_ns = deadline_in(QUARANTINE_NS);
	pthread_mutex_unlock(&quarantine->lock);
}

size_t quarantine_list(struct quarantine *quarantine, uint32_t vnis[QUARANTINE_SIZE])
{
	size_t count = 0;
	uint64_t now = clock_ns();
	pthread_mutex_lock(&quarantine->lock);
	for (size_t i = 0; i < QUARANTINE_SIZE; i++) {
		if (quarantine->released[i].until_ns > now)
			vnis[count++] = quarantine->released[i].vni;
	}
	pthread_mutex_unlock(&quarantine->lock);
	return count;
}
