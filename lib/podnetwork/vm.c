/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.c - the pod VM's end of a tunnel
 *
 *   worker <--UDP in the root netns--> ppvxlan0 <-macvlan-> eth0 in podns (pod's MAC and addresses)
 *
 * The VXLAN device stays in the root netns; the pod sees a macvlan of it. A VXLAN device that
 * itself had the pod's MAC would drop, as a loop, every frame that a bridge reflects to the pod (a
 * pod that calls its own Service). A veth pair would mend that too, but drops frames longer than
 * its MTU, and those come from cluster peers that the tunnel fragments for. To delete the VXLAN
 * device deletes the macvlan and all that hangs on it.
 *
 * The device in podns is made under a name that only we use, gets its alias, and is renamed last:
 * what a crash left is recognized and replaced.
 */
#include "podnetwork/podnetwork.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include "base/fault.h"
#include "base/log.h"
#include "podnetwork/external.h"
#include "podnetwork/filter.h"
#include "podnetwork/model.h"
#include "podnetwork/mtu.h"
#include "podnetwork/offload.h"
#include "podnetwork/netns.h"
#include "podnetwork/podside.h"
#include "podnetwork/reserve.h"
#include "podnetwork/snapshot.h"

#define VM_TUNNEL "ppvxlan0"
#define VM_TEMPORARY "pppod0" /* the pod's interface until it has its name */
/* A VM has one pod. */
#define VM_COMMENT "podvm"

/* ---- waiting for the VM's own network ---- */

struct uplink {
	struct ip_prefix local; /* the tunnel's address here; family 0: the kernel chooses */
	uint32_t mtu;
};

/* What is missing, in words, or NULL: *uplink is whole. "" where reading failed, with err. */
static const char *find_uplink(struct netlink *nl, const struct podnetwork_vm_settings *settings,
	const struct podnetwork *network, const struct ip_prefix *worker, struct uplink *uplink,
	struct error *err)
{
	cleanup_snapshot own = {0};
	struct route way;
	*uplink = (struct uplink){0};
	if (snapshot_take(nl, &own, err))
		return "";
	if (network->dedicated) {
		const struct link *link =
			snapshot_link(&own, text_or_empty(settings->host_interface));
		const struct route *primary = snapshot_default_route(&own, AF_UNSPEC, NULL);
		if (!*text_or_empty(settings->host_interface)) {
			error_set(err, ERROR_INVALID,
				"the worker wants a dedicated tunnel interface: set "
				"-host-interface to the VM's second one");
			return "";
		}
		if (!link)
			return "the dedicated tunnel interface";
		if (primary && primary->index == link->index) {
			error_set(err, ERROR_INVALID,
				"-host-interface %s is not a dedicated interface: it is the VM's primary one",
				link->name);
			return "";
		}
		const struct address *address = snapshot_address(&own, link, worker->family);
		if (!address)
			return "an address of the dedicated tunnel interface";
		uplink->local = address->ip;
	}
	int errnum = route_lookup(nl, worker, &way);
	if (errnum == ENETUNREACH || errnum == EHOSTUNREACH)
		return "a route to the worker";
	if (errnum) {
		netlink_error(nl, errnum, err, "find the route to the worker at %s",
			network->worker_node_ip);
		return "";
	}
	const struct link *link = snapshot_link_index(&own, way.index);
	if (!link || !snapshot_address(&own, link, worker->family))
		return "an address of the VM";
	if (route_path_mtu(nl, worker, &uplink->mtu, err))
		return "";
	return NULL;
}

static int wait_for_uplink(struct netlink *nl, const struct podnetwork_vm_settings *settings,
	const struct podnetwork *network, const struct ip_prefix *worker, struct uplink *uplink,
	const struct bound *bound, struct error *err)
{
	static const unsigned int groups[] = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE,
		RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE};
	cleanup_netlink events = {0};
	const char *said = NULL;
	/* First subscribed, then looked: no change falls between. */
	if (netlink_open(&events, -1, err) ||
		netlink_subscribe(&events, groups, array_size(groups), err))
		return -1;
	for (;;) {
		struct error failed = ERROR_INIT;
		const char *missing = find_uplink(nl, settings, network, worker, uplink, &failed);
		if (!missing)
			return 0;
		if (!*missing)
			return error_move(err, &failed);
		if (said != missing)
			log_info("pod network: waiting for %s (%s)", missing,
				network->worker_node_ip);
		said = missing;
		if (netlink_wait(&events, bound, missing, err))
			return -1;
	}
}

/* ---- the tunnel device ---- */

static bool tunnel_fits(const struct link *link, const struct vxlan_plan *plan)
{
	return !strcmp(link->kind, "vxlan") && link->vni == plan->vni && link->port == plan->port &&
	       ip_address_equal(&link->remote, &plan->remote) &&
	       ip_address_equal(&link->local, &plan->local);
}

/* Any VXLAN device that holds the VNI we need, be it of an earlier forwarder or of upstream's. */
static int remove_in_the_way(struct netlink *root, struct netlink *pod,
	const struct vxlan_plan *plan, struct error *err)
{
	struct netlink *const places[] = {root, pod};
	for (size_t p = 0; p < array_size(places); p++) {
		cleanup(free_ptr) struct link *links = NULL;
		size_t count;
		if (link_list(places[p], &links, &count, err))
			return -1;
		for (size_t i = 0; i < count; i++) {
			const struct link *link = &links[i];
			bool same_id = link->vni == plan->vni && link->port == plan->port;
			if (strcmp(link->kind, "vxlan") ||
				!(same_id || !strcmp(link->name, VM_TUNNEL)))
				continue;
			int errnum = link_delete(places[p], link->index);
			if (errnum && errnum != ENODEV)
				return netlink_error(places[p], errnum, err,
					"delete the old tunnel device %s", link->name);
		}
	}
	return 0;
}

static int ensure_tunnel(struct netlink *root, struct netlink *pod, const struct vxlan_plan *plan,
	struct link *link, struct error *err)
{
	int errnum = link_get(root, VM_TUNNEL, link);
	if (errnum && errnum != ENODEV)
		return netlink_error(root, errnum, err, "look for " VM_TUNNEL);
	if (errnum || !tunnel_fits(link, plan)) {
		if (remove_in_the_way(root, pod, plan, err))
			return -1;
		errnum = link_add_vxlan(root, -1, plan);
		if (errnum)
			return netlink_error(root, errnum, err,
				"make the VXLAN device " VM_TUNNEL " (kernel module vxlan)");
		fault_point("podnet-vm-device");
		errnum = link_get(root, VM_TUNNEL, link);
		if (errnum)
			return netlink_error(root, errnum, err, "look for " VM_TUNNEL);
	}
	const struct link_change change = {
		.alias = TUNNEL_ALIAS VM_COMMENT,
		.mtu = link->mtu != plan->mtu ? plan->mtu : 0,
		.no_ipv6_autoconf = true,
		.up = true,
	};
	errnum = link_change(root, link->index, &change);
	return errnum ? vxlan_up_error(root, errnum, plan->port, err) : 0;
}

/* ---- the pod's interface ---- */

static int remove_link(struct netlink *nl, const char *name, struct error *err)
{
	struct link link;
	int errnum = link_get(nl, name, &link);
	if (!errnum)
		errnum = link_delete(nl, link.index);
	return errnum && errnum != ENODEV ? netlink_error(nl, errnum, err, "delete %s", name) : 0;
}

static int make_pod_link(struct netlink *root, struct netlink *pod, int podns,
	const struct link *tunnel, const struct podnetwork *network, const uint8_t mac[MAC_SIZE],
	uint32_t mtu, struct link *link, struct error *err)
{
	if (remove_link(pod, VM_TEMPORARY, err))
		return -1;
	int errnum = link_add_macvlan(root, podns, VM_TEMPORARY, tunnel->index, mac, mtu);
	if (errnum)
		return netlink_error(root, errnum, err,
			"make the pod's interface (a macvlan of " VM_TUNNEL
			"; kernel module macvlan)");
	fault_point("podnet-vm-interface");
	errnum = link_get(pod, VM_TEMPORARY, link);
	if (errnum)
		return netlink_error(pod, errnum, err, "look for the pod's new interface");
	const struct link_change change = {
		.name = network->interface,
		.alias = TUNNEL_ALIAS VM_COMMENT,
		.no_ipv6_autoconf = true,
	};
	errnum = link_change(pod, link->index, &change);
	return errnum ? netlink_error(pod, errnum, err, "name the pod's interface %s",
				network->interface)
		      : 0;
}

static int ensure_pod_link(struct netlink *root, struct netlink *pod, int podns,
	const struct link *tunnel, const struct podnetwork *network, const uint8_t mac[MAC_SIZE],
	uint32_t mtu, struct link *link, struct error *err)
{
	int errnum = link_get(pod, network->interface, link);
	if (errnum == ENODEV)
		return make_pod_link(root, pod, podns, tunnel, network, mac, mtu, link, err);
	if (errnum)
		return netlink_error(pod, errnum, err, "look for %s", network->interface);
	bool ours = !strcmp(link->alias, TUNNEL_ALIAS VM_COMMENT);
	if (!ours)
		return error_set(err, ERROR_EXISTS,
			"it has an interface %s (%s) already that is not ours: remove it",
			network->interface, link->kind[0] ? link->kind : "a device");
	if (link->lower != tunnel->index) {
		if (remove_link(pod, network->interface, err))
			return -1;
		return make_pod_link(root, pod, podns, tunnel, network, mac, mtu, link, err);
	}
	const struct link_change change = {
		.mac = memcmp(link->mac, mac, MAC_SIZE) ? mac : NULL,
		.mtu = link->mtu != mtu ? mtu : 0,
		.no_ipv6_autoconf = true,
	};
	errnum = link_change(pod, link->index, &change);
	return errnum ? netlink_error(pod, errnum, err, "set up %s", network->interface) : 0;
}

/* ---- all of it ---- */

static int check_network(const struct podnetwork *network, struct ip_prefix *worker,
	uint8_t mac[MAC_SIZE], struct error *err)
{
	const struct {
		const char *name, *value;
	} needed[] = {
		{"podip", network->podip},
		{"pod-hw-addr", network->pod_hw_addr},
		{"interface", network->interface},
		{"worker-node-ip", network->worker_node_ip},
	};
	for (size_t i = 0; i < array_size(needed); i++) {
		if (!*text_or_empty(needed[i].value))
			return error_set(err, ERROR_INVALID, "pod-network: \"%s\" is missing",
				needed[i].name);
	}
	if (strcmp(text_or_empty(network->tunnel_type), "vxlan"))
		return error_set(err, ERROR_UNSUPPORTED,
			"pod-network: \"tunnel-type\" is \"%.40s\"; \"vxlan\" is the only one there is",
			text_or_empty(network->tunnel_type));
	if (!network->vxlan_id || !network->vxlan_port)
		return error_set(err, ERROR_INVALID,
			"pod-network: \"vxlan-id\" or \"vxlan-port\" is missing");
	if (!ip_prefix_parse(network->worker_node_ip, worker) ||
		!mac_parse(network->pod_hw_addr, mac) ||
		!interface_name_valid(network->interface) || !strcmp(network->interface, "lo"))
		return error_set(err, ERROR_INVALID,
			"pod-network: \"worker-node-ip\", \"pod-hw-addr\" or \"interface\" is malformed");
	return 0;
}

static int setup(const struct podnetwork_vm_settings *settings, const struct podnetwork *network,
	const struct bound *bound, uint32_t *underlay_mtu, struct error *err)
{
	struct ip_prefix worker;
	uint8_t mac[MAC_SIZE];
	struct uplink uplink;
	struct link tunnel, eth;
	uint32_t mtu;
	if (check_network(network, &worker, mac, err))
		return -1;
	cleanup(close_fd) int podns = netns_open(settings->pod_netns, err);
	if (podns < 0)
		return -1;
	cleanup_netlink root = {0}, pod = {0};
	if (netlink_open(&root, -1, err) || netlink_open(&pod, podns, err) ||
		wait_for_uplink(&root, settings, network, &worker, &uplink, bound, err) ||
		tunnel_mtu(network->mtu,
			network->underlay_mtu ? network->underlay_mtu : UNDERLAY_MTU_UNKNOWN,
			uplink.mtu, worker.family, podside_has_ipv6(network), &mtu, err))
		return -1;
	fault_point("podnet-vm-uplink");
	if (underlay_mtu)
		*underlay_mtu = uplink.mtu;
	const struct filter_tunnel allowed = {
		.sandbox = VM_COMMENT,
		.remote = worker,
		.vni = (uint32_t)network->vxlan_id,
		.port = (uint16_t)network->vxlan_port,
	};
	if (filter_allow(&allowed, err))
		return -1;
	fault_point("podnet-vm-filter");
	const struct vxlan_plan plan = {
		.name = VM_TUNNEL,
		.vni = (uint32_t)network->vxlan_id,
		.mtu = mtu,
		.port = (uint16_t)network->vxlan_port,
		.remote = worker,
		.local = uplink.local,
		.no_checksum = network->tunnel_csum_off,
	};
	if (ensure_tunnel(&root, &pod, &plan, &tunnel, err))
		return -1;
	if (network->nic_tx_csum_off && offload_switch_off_checksums(-1, VM_TUNNEL, err))
		return -1;
	fault_point("podnet-vm-up");
	if (ensure_pod_link(&root, &pod, podns, &tunnel, network, mac, mtu, &eth, err))
		return error_prefix(err, "netns %s", settings->pod_netns);
	fault_point("podnet-vm-named");
	if (podside_configure(&pod, eth.index, network, mtu, err))
		return error_prefix(err, "netns %s", settings->pod_netns);
	fault_point("podnet-vm-routes");
	if (network->external_net_via_pod_vm && external_attach(&root, &pod, podns, &worker, err))
		return error_prefix(err, "external network via the pod VM");
	return 0;
}

int podnetwork_vm_setup(const struct podnetwork_vm_settings *settings,
	const struct podnetwork *network, const struct bound *bound, uint32_t *underlay_mtu,
	struct error *err)
{
	if (setup(settings, network, bound, underlay_mtu, err))
		return error_prefix(err, "set up the pod's network");
	return 0;
}

/* Goes on after a failure: what can be taken down is. */
int podnetwork_vm_teardown(const struct podnetwork_vm_settings *settings,
	const struct podnetwork *network, struct error *err)
{
	cleanup_error first = ERROR_INIT, failed = ERROR_INIT;
	cleanup_netlink root = {0}, pod = {0};
	cleanup(close_fd) int podns = netns_open(settings->pod_netns, NULL);
	if (netlink_open(&root, -1, err))
		return -1;
	/* The pod's side may be gone already; then so is what was in it. */
	if (podns >= 0 && !netlink_open(&pod, podns, &first)) {
		external_detach(&root, &pod, &first);
		podside_clear(&pod, network, first.kind ? &failed : &first);
		error_clear(&failed);
	}
	fault_point("podnet-vm-detached");
	if (remove_link(&root, VM_TUNNEL, first.kind ? &failed : &first))
		error_clear(&failed);
	if (filter_forbid(VM_COMMENT, first.kind ? &failed : &first))
		error_clear(&failed);
	if (first.kind == ERROR_NONE)
		return 0;
	error_move(err, &first);
	return error_prefix(err, "take down the pod's network");
}
