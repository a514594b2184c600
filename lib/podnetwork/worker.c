/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.c - the worker's end of a tunnel: set-up, tear-down, and what a dead process left
 *
 *   host side of the pod's veth <-> eth0 --redirect--> vxlan1 --UDP in the root netns--> pod VM
 *                                   eth0 <--redirect-- vxlan1 <--UDP-------------------- pod VM
 *
 * Set-up opens the filter first and installs the redirects last: while anything is missing no
 * frame passes. Tear-down deletes vxlan1 and leaves the redirect on eth0, which then drops: the
 * worker's own IP stack must never answer for the pod's address. The CNI deletes eth0, and the
 * redirect with it.
 */
#include "podnetwork/podnetwork.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "base/fault.h"
#include "base/list.h"
#include "base/log.h"
#include "podnetwork/filter.h"
#include "podnetwork/model.h"
#include "podnetwork/mtu.h"
#include "podnetwork/offload.h"
#include "podnetwork/netns.h"
#include "podnetwork/nftables.h"
#include "podnetwork/redirect.h"
#include "podnetwork/reserve.h"
#include "podnetwork/route.h"

/* ---- set-up ---- */

/*
 * The pod VM's address for the tunnel: the first (dedicated: second) one, of the tunnel's family.
 */
static int choose_remote(const struct podnetwork *network, const struct ip_prefix *local,
	char *const *ips, size_t count, struct ip_prefix *remote, struct error *err)
{
	size_t first = network->dedicated ? 1 : 0;
	if (count <= first)
		return error_set(err, ERROR_INVALID,
			network->dedicated
				? "the pod VM has %zu addresses; a tunnel over a dedicated interface "
				  "needs a second one: does the VM have a second network interface?"
				: "the pod VM has %zu addresses: none to connect the tunnel to",
			count);
	for (size_t i = first; i < count; i++) {
		if (!ip_address_parse(ips[i], remote))
			return error_set(err, ERROR_INVALID,
				"pod VM address \"%.50s\" is not an IP address", ips[i]);
		if (remote->family == local->family)
			return 0;
	}
	return error_set(err, ERROR_INVALID,
		"the pod VM has no %s address, and the worker's tunnel address %s is one: give the VM such "
		"an address, or choose the worker's with -host-interface",
		local->family == AF_INET6 ? "IPv6" : "IPv4", network->worker_node_ip);
}

/*
 * Routed CNIs: with the tunnel's MTU on the host side of the pod's veth, the worker fragments or
 * answers "fragmentation needed". On a bridge it could not; there the tunnel fragments. Not to
 * know the host side (another netns, no veth) is no error.
 */
static void lower_host_side(struct netlink *root, int pod_netns, const struct link *eth,
	uint32_t mtu)
{
	struct link host;
	if (strcmp(eth->kind, "veth") || !eth->lower || link_get_index(root, eth->lower, &host))
		return;
	bool peer = !strcmp(host.kind, "veth") && host.lower == eth->index && host.netns >= 0 &&
		    host.netns == link_netns_id(root, pod_netns);
	if (!peer || host.master || host.mtu <= mtu)
		return;
	const struct link_change change = {.mtu = mtu};
	int errnum = link_change(root, host.index, &change);
	if (errnum)
		log_warn("interface %s: MTU %u not set: %s", host.name, mtu, strerror(errnum));
}

/* Remote, MTU, up: whatever was so already stays so. */
static int connect_tunnel(struct netlink *pod, const struct link *tunnel,
	const struct ip_prefix *remote, const struct ip_prefix *local, uint32_t mtu,
	struct error *err)
{
	char text[IP_TEXT_MAX];
	if (!ip_address_equal(&tunnel->remote, remote)) {
		int errnum = link_set_remote(pod, tunnel->index, remote, local);
		if (errnum)
			return netlink_error(pod, errnum, err,
				"point " TUNNEL_NAME " to the pod VM at %s",
				ip_address_format(remote, text));
	}
	fault_point("podnet-remote");
	const struct link_change change = {.mtu = mtu != tunnel->mtu ? mtu : 0,
		.no_ipv6_autoconf = true,
		.up = true};
	int errnum = link_change(pod, tunnel->index, &change);
	return errnum ? vxlan_up_error(pod, errnum, tunnel->port, err) : 0;
}

static int setup(const struct podnetwork_worker_settings *settings,
	const struct podnetwork *network, char *const *instance_ips, size_t count,
	struct error *err)
{
	struct ip_prefix local, remote;
	struct link tunnel, eth;
	uint32_t underlay, mtu;
	if (!ip_prefix_parse(text_or_empty(network->worker_node_ip), &local))
		return error_set(err, ERROR_INVALID, "\"worker-node-ip\" is missing");
	if (!network->vxlan_id || !network->vxlan_port)
		return error_set(err, ERROR_INVALID, "\"vxlan-id\" or \"vxlan-port\" is missing");
	if (choose_remote(network, &local, instance_ips, count, &remote, err))
		return -1;

	cleanup(close_fd) int netns =
		netns_open_known(settings->netns_path, settings->netns_inode, err);
	if (netns < 0)
		return -1;
	cleanup_netlink root = {0}, pod = {0};
	if (netlink_open(&root, -1, err) || netlink_open(&pod, netns, err))
		return -1;
	int errnum = link_get(&pod, network->interface, &eth);
	if (errnum)
		return netlink_error(&pod, errnum, err, "netns %s: interface %s",
			settings->netns_path, network->interface);
	if (route_path_mtu(&root, &remote, &underlay, err) ||
		tunnel_mtu(network->mtu, underlay, settings->vm_underlay_mtu, local.family, false,
			&mtu, err))
		return -1;

	const struct reservation wanted = {
		.sandbox = settings->sandbox,
		.port = (uint16_t)network->vxlan_port,
		.local = local,
		.no_checksum = network->tunnel_csum_off,
	};
	if (reservation_make_exact(&root, &pod, &wanted, (uint32_t)network->vxlan_id, &tunnel, err))
		return -1;
	fault_point("podnet-device");
	const struct filter_tunnel allowed = {
		.sandbox = settings->sandbox,
		.remote = remote,
		.vni = tunnel.vni,
		.vni_min = settings->vxlan_min_id,
		.port = tunnel.port,
	};
	if (filter_allow(&allowed, err))
		return -1;
	fault_point("podnet-filter");
	if (connect_tunnel(&pod, &tunnel, &remote, &local, mtu, err))
		return -1;
	if (network->nic_tx_csum_off && offload_switch_off_checksums(netns, TUNNEL_NAME, err))
		return -1;
	fault_point("podnet-up");
	if (redirect_ensure(&pod, tunnel.index, eth.index, err))
		return error_prefix(err, "netns %s: " TUNNEL_NAME " to %s", settings->netns_path,
			eth.name);
	fault_point("podnet-redirect");
	if (redirect_ensure(&pod, eth.index, tunnel.index, err))
		return error_prefix(err, "netns %s: %s to " TUNNEL_NAME, settings->netns_path,
			eth.name);
	fault_point("podnet-connected");
	lower_host_side(&root, netns, &eth, mtu);
	return 0;
}

int podnetwork_worker_setup(const struct podnetwork_worker_settings *settings,
	const struct podnetwork *network, char *const *instance_ips, size_t count,
	struct error *err)
{
	if (setup(settings, network, instance_ips, count, err))
		return error_prefix(err, "connect the pod's network to its VM");
	return 0;
}

/* ---- tear-down ---- */

/*
 * Deletes this sandbox's device, found by its alias: another pod's, where the path leads to that one's netns meanwhile, is
 * not touched. A netns that is gone took the device along.
 */
static int remove_device(const char *netns_path, const char *sandbox, struct error *err)
{
	cleanup_error gone = ERROR_INIT;
	cleanup(close_fd) int netns = netns_open(netns_path, &gone);
	if (netns < 0 && (gone.kind == ERROR_GONE || !netns_path || !*netns_path))
		return 0;
	if (netns < 0)
		return error_move(err, &gone);
	cleanup_netlink pod = {0};
	struct link link;
	bool found;
	if (netlink_open(&pod, netns, err))
		return -1;
	for (;;) {
		if (reservation_find(&pod, sandbox, &link, &found, err))
			return -1;
		if (!found)
			return 0;
		int errnum = link_delete(&pod, link.index);
		if (errnum && errnum != ENODEV)
			return netlink_error(&pod, errnum, err, "netns %s: delete %s", netns_path,
				link.name);
	}
}

int podnetwork_worker_teardown(const struct podnetwork_worker_settings *settings,
	const struct podnetwork *network, struct error *err)
{
	(void)network; /* everything is found by the sandbox id */
	cleanup_error first = ERROR_INIT, second = ERROR_INIT;
	/* Both are tried, whatever becomes of the other. */
	int device = remove_device(settings->netns_path, settings->sandbox, &first);
	fault_point("podnet-device-removed");
	int filter = filter_forbid(settings->sandbox, &second);
	if (!device && !filter)
		return 0;
	error_move(err, device ? &first : &second);
	return error_prefix(err, "disconnect the pod's network");
}

/* ---- start-up ---- */

int podnetwork_worker_check(struct error *err)
{
	return nftables_check(err);
}

/*
 * Sandboxes come while this goes on. Each is known to live before it makes anything, so who is asked after the look at
 * what is there cannot take a new one's for a dead one's.
 */
struct reconcile {
	podnetwork_live *live;
	void *context;
	char **ids; /* the answer since the last look; NULL: not asked yet */
	int root_fd;
	uint16_t port;
	uint32_t vni_min;
};

static void looked(struct reconcile *reconcile)
{
	list_free(take_ptr(reconcile->ids));
}

/* NULL: there is no answer, and all must count as living. */
static char *const *live_ids(struct reconcile *reconcile)
{
	if (!reconcile->ids)
		reconcile->ids = reconcile->live(reconcile->context);
	return reconcile->ids;
}

static bool is_live(const char *sandbox, void *arg)
{
	char *const *ids = live_ids(arg);
	return !ids || list_holds(ids, sandbox);
}

/* Is this temporary name that of a live sandbox, in the middle of being made? */
static bool is_live_temporary(const char *name, struct reconcile *reconcile)
{
	char *const *ids = live_ids(reconcile);
	bool found = !ids;
	for (; ids && *ids && !found; ids++) {
		char temporary[IFNAMSIZ];
		reservation_temporary_name(*ids, temporary);
		found = !strcmp(temporary, name);
	}
	return found;
}

/* A tunnel device of ours, made in this root netns, that no live sandbox has. */
static bool orphaned(const struct link *link, int32_t root_id, struct reconcile *reconcile)
{
	size_t prefix = strlen(TUNNEL_ALIAS);
	if (strcmp(link->kind, "vxlan") || link->port != reconcile->port ||
		link->vni < reconcile->vni_min || root_id < 0 || link->netns != root_id)
		return false;
	if (!strncmp(link->alias, TUNNEL_ALIAS, prefix))
		return !is_live(link->alias + prefix, reconcile);
	return reservation_name_temporary(link->name) && !is_live_temporary(link->name, reconcile);
}

static int sweep_netns(const char *name, struct reconcile *reconcile, struct error *err)
{
	char path[sizeof(NETNS_DIR) + 256];
	snprintf(path, sizeof(path), NETNS_DIR "/%s", name);
	/* What cannot be opened is no netns, is gone, or is our own. */
	cleanup(close_fd) int netns = netns_open(path, NULL);
	if (netns < 0)
		return 0;
	cleanup_netlink pod = {0};
	cleanup(free_ptr) struct link *links = NULL;
	size_t count;
	if (netlink_open(&pod, netns, err) || link_list(&pod, &links, &count, err))
		return error_prefix(err, "netns %s", path);
	int32_t root_id = link_netns_id(&pod, reconcile->root_fd);
	looked(reconcile);
	for (size_t i = 0; i < count; i++) {
		if (!orphaned(&links[i], root_id, reconcile))
			continue;
		int errnum = link_delete(&pod, links[i].index);
		if (errnum && errnum != ENODEV)
			return netlink_error(&pod, errnum, err, "netns %s: delete %s", path,
				links[i].name);
		log_info(
			"netns %s: removed the tunnel device %s (id %u) of a sandbox that is no more",
			path, links[i].name, links[i].vni);
	}
	return 0;
}

int podnetwork_worker_reconcile(podnetwork_live *live, void *context, uint16_t vxlan_port,
	uint32_t vxlan_min_id, struct error *err)
{
	cleanup(close_fd) int root_fd = netns_open_own(err);
	if (root_fd < 0)
		return error_prefix(err, "clean up pod networks");
	cleanup(looked) struct reconcile reconcile = {.live = live,
		.context = context,
		.root_fd = root_fd,
		.port = vxlan_port,
		.vni_min = vxlan_min_id};
	cleanup_error first = ERROR_INIT;
	cleanup(closedir_ptr) DIR *dir = opendir(NETNS_DIR);
	struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		cleanup_error failed = ERROR_INIT;
		/* One bad netns does not keep the others from being cleaned. */
		if (entry->d_name[0] != '.' && sweep_netns(entry->d_name, &reconcile, &failed) &&
			first.kind == ERROR_NONE)
			error_move(&first, &failed);
	}
	cleanup_error failed = ERROR_INIT;
	looked(&reconcile); /* filter_sweep asks after its own look */
	if (filter_sweep(vxlan_port, is_live, &reconcile, &failed) && first.kind == ERROR_NONE)
		error_move(&first, &failed);
	if (first.kind == ERROR_NONE)
		return 0;
	error_move(err, &first);
	return error_prefix(err, "clean up pod networks");
}
