/* SPDX-License-Identifier: Apache-2.0 */
/*
 * network.c - what lib/podnetwork is told about a sandbox, and the numbers that rest for a while
 *
 * A VXLAN number that was in use a moment ago is not taken again at once: the old pod VM may not have
 * died yet and would send into the new pod's network.
 */
#include <string.h>

#include "adaptor/adaptor.h"

/* Longer than any cloud takes to stop a VM that it was told to delete. */
#define QUARANTINE_NS (UINT64_C(900) * NS_PER_S)

struct podnetwork_worker_settings sandbox_network_settings(const struct adaptor *adaptor,
	const struct record *record)
{
	const struct settings *settings = adaptor->settings;
	return (struct podnetwork_worker_settings){
		.sandbox = record->sandbox,
		.netns_path = record->netns_path,
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

void quarantine_add(struct quarantine *quarantine, uint32_t vni)
{
	pthread_mutex_lock(&quarantine->lock);
	quarantine->released[quarantine->next].vni = vni;
	quarantine->released[quarantine->next].until_ns = deadline_in(QUARANTINE_NS);
	quarantine->next = (quarantine->next + 1) % QUARANTINE_SIZE;
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
