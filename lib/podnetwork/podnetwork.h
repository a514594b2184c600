/* SPDX-License-Identifier: Apache-2.0 */
/*
 * podnetwork.h - a pod's network between the worker's pod netns and the pod VM: VXLAN and redirects
 *
 * Worker: inspect at CreateVM (reads the pod netns, reserves a VNI by making vxlan1 in it), setup
 * at StartVM (sets the remote, redirects, filters), teardown at StopVM. VM: setup before the
 * forwarder listens, teardown on a clean exit. Every step is "ensure": running it again after a
 * crash at any point converges, and tear-down succeeds on what is left. No processes are started;
 * netns are entered on a thread of their own, so the caller's netns never changes. Calls block for
 * milliseconds.
 */
#ifndef PEERPOD_PODNETWORK_H
#define PEERPOD_PODNETWORK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/bound.h"
#include "base/error.h"

#define PODNETWORK_VXLAN_PORT 4789
#define PODNETWORK_VXLAN_MIN_ID 555000
#define PODNETWORK_VXLAN_MAX_ID 16777215

/* All strings owned, text forms as in the JSON; "" (or NULL) where there is none. */
struct podnetwork_route {
	char *dst; /* CIDR; "0.0.0.0/0" or "::/0" for the default */
	char *gw, *dev;
	char *protocol; /* "", static, boot, dhcp, kernel; with "ext" also a number of others: "186" */
	char *scope;    /* "" (universe), site, link, host, nowhere */
	/* extension ("ext") only: */
	char *src;
	char *type;     /* "" (unicast), blackhole, unreachable, prohibit, throw */
	int64_t table;  /* 0: main */
	int64_t metric; /* 0: none */
	int64_t mtu;    /* 0: none */
	int64_t advmss; /* 0: none */
	bool onlink;
};

struct podnetwork_neighbor {
	char *ip, *hw_addr, *dev, *state;
};

/* Extension only: `ip rule`, action "lookup table". */
struct podnetwork_rule {
	char *from, *to; /* CIDR; "" both: any, and then ipv6 tells the family */
	char *iif, *oif;
	int64_t priority, table;
	int64_t mark, mask; /* firewall mark; both 0: any */
	bool ipv6;
};

/* What apf.json carries as "pod-network"; filled by podnetwork_inspect. */
struct podnetwork {
	char *podip;   /* CIDR; the first address */
	char **podips; /* extension: all addresses, NULL-terminated, or NULL */
	char *pod_hw_addr;
	char *interface;
	char *worker_node_ip; /* CIDR */
	char *tunnel_type;    /* "vxlan" */
	struct podnetwork_route *routes;
	size_t route_count;
	struct podnetwork_neighbor *neighbors;
	size_t neighbor_count;
	struct podnetwork_rule *rules; /* extension */
	size_t rule_count;
	char *encryption; /* extension; "" or "none": VXLAN in the clear, all there is today */
	int64_t mtu;      /* of the pod interface on the worker, not clamped */
	int64_t index;    /* vxlan_id - the configured minimum */
	int64_t vxlan_port;
	int64_t vxlan_id;
	int64_t underlay_mtu; /* extension; 0: unknown */
	/* extension: for NICs that spoil checksums */
	bool tunnel_csum_off; /* outer packets carry no UDP checksum */
	bool nic_tx_csum_off; /* the tunnel's devices complete checksums themselves */
	bool dedicated;
	bool external_net_via_pod_vm;
};

void podnetwork_free(struct podnetwork *network);

/*
 * The JSON object (new reference). The v1 members are exactly those that upstream writes and
 * reads; what they cannot say (IPv6, metrics, several addresses ...) goes to a member "ext", which
 * upstream ignores. A list in "ext" is whole and replaces the v1 list of the same name; it is left
 * out where the v1 list says it all.
 */
json_t *podnetwork_to_json(const struct podnetwork *network, struct error *err);
/*
 * Reads v1 and ext, upstream's (old spellings of the keys too) and ours. *network is overwritten,
 * to be freed also after a refusal. Refusals name the member: `pod-network: routes[1]: "scope"
 * must be ...`.
 */
int podnetwork_from_json(const json_t *object, struct podnetwork *network, struct error *err);

/* ---- worker ---- */

struct podnetwork_worker_settings {
	const char *sandbox;          /* sandbox id */
	const char *netns_path;       /* of the pod */
	uint64_t netns_inode;         /* of the netns there when the pod was created; 0: any */
	const char *host_interface;   /* "": the one of the default route */
	const char *pod_subnet_cidrs; /* comma separated, "" */
	bool external_net_via_pod_vm;
	bool tunnel_csum_off, nic_tx_csum_off; /* as in struct podnetwork */
	uint16_t vxlan_port;
	uint32_t vxlan_min_id;
	uint32_t
		vm_underlay_mtu; /* of the way from the VM to here, for setup; 0: not known (yet) */
	/* VNIs not to take (released a short while ago). */
	const uint32_t *quarantined;
	size_t quarantined_count;
	/* Overrides; NULL or "": found out. */
	const char *node_ip;       /* the tunnel's address on the worker, one of its own */
	const char *pod_interface; /* in the pod netns */
};

/*
 * Reads the pod netns and reserves a VNI in it (device vxlan1, without a remote, alias
 * "peerpod:<sandbox>") and the UDP port. Run again for the same sandbox it finds its reservation.
 * Errors name the netns path and what to do.
 */
int podnetwork_inspect(const struct podnetwork_worker_settings *settings,
	struct podnetwork *network, struct error *err);

/*
 * Connects the tunnel to the VM: remote, MTU from the route to it, redirects both ways, NOTRACK,
 * and a filter that lets in only this remote with this VNI. instance_ips[0], or [1] with
 * dedicated. Run again when the VM has told its underlay MTU.
 */
int podnetwork_worker_setup(const struct podnetwork_worker_settings *settings,
	const struct podnetwork *network, char *const *instance_ips, size_t count,
	struct error *err);

/* Takes down what is left of this sandbox: also when the netns is gone, also twice. */
int podnetwork_worker_teardown(const struct podnetwork_worker_settings *settings,
	const struct podnetwork *network, struct error *err);

/* Is what set-up needs on this machine? Asked before the first pod comes. */
int podnetwork_worker_check(struct error *err);

/* The ids of the sandboxes that live at this moment: a new list, freed with list_free. NULL: no memory. */
typedef char **podnetwork_live(void *context);

/*
 * Removes filter elements of tunnels whose sandbox does not live, and the devices of such sandboxes in /run/netns. live is
 * asked after each look at what is there, so a sandbox must be in its answer before its inspection begins.
 */
int podnetwork_worker_reconcile(podnetwork_live *live, void *context, uint16_t vxlan_port,
	uint32_t vxlan_min_id, struct error *err);

/*
 * Others may take away what running pods need (a firewall's reload, `ip link delete`): hears of it, in the worker's
 * netns and in the pods'. Wait returns with the sandbox whose tunnel device was removed, by us or by others; with ""
 * when rules of ours were, or events were lost: then everything wants another set-up.
 */
#define PODNETWORK_SANDBOX_SIZE 160
struct podnetwork_watch;
struct podnetwork_watch *podnetwork_watch_open(struct error *err);
int podnetwork_watch_wait(struct podnetwork_watch *watch, const struct bound *bound,
	char sandbox[PODNETWORK_SANDBOX_SIZE], struct error *err);
void podnetwork_watch_close(struct podnetwork_watch *watch);

/* ---- pod VM ---- */

struct podnetwork_vm_settings {
	const char *pod_netns;      /* "/run/netns/podns" */
	const char *host_interface; /* dedicated tunnel NIC; "" */
};

/*
 * Waits for the primary NIC and its address (netlink notifications, within bound), then makes the
 * pod's side. *underlay_mtu: of the way to the worker, for it to know; may be NULL.
 */
int podnetwork_vm_setup(const struct podnetwork_vm_settings *settings,
	const struct podnetwork *network, const struct bound *bound, uint32_t *underlay_mtu,
	struct error *err);
int podnetwork_vm_teardown(const struct podnetwork_vm_settings *settings,
	const struct podnetwork *network, struct error *err);

#endif
