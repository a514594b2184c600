/* SPDX-License-Identifier: Apache-2.0 */
/*
 * external.c - see external.h
 *
 * An interface that changes its netns loses addresses and routes. So all that must be made again,
 * there or on the way back, is written into the interface's alias before it moves:
 *
 *   peerpod-ext:<name>:<address>/<length>:<gateway>:<metric>:<own>
 *
 * and a restart at any point finds it. <own> is 1 where the gateway is the interface's own default
 * route, 0 where it is borrowed from the primary interface.
 */
#include "podnetwork/external.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include "base/fault.h"
#include "base/log.h"
#include "podnetwork/announce.h"
#include "podnetwork/netns.h"
#include "podnetwork/snapshot.h"

#define EXTERNAL_ALIAS "peerpod-ext:"
#define EXTERNAL_NAME "ppext0" /* in podns: cannot meet a name that the pod has */

/* Kinds of interfaces that programs make; what upstream passes over too. */
static const char *const not_external[] = {"veth", "lo", "docker", "podman", "br-", "cni", "tunl",
	"tun", "tap"};

struct external {
	char name[IFNAMSIZ];
	struct ip_prefix address, gateway;
	uint32_t metric;
	unsigned int own;
};

static void write_alias(const struct external *external, char *alias)
{
	char address[IP_TEXT_MAX], gateway[IP_TEXT_MAX];
	snprintf(alias, LINK_ALIAS_MAX, EXTERNAL_ALIAS "%s:%s:%s:%u:%u", external->name,
		ip_prefix_format(&external->address, address),
		ip_address_format(&external->gateway, gateway), external->metric, external->own);
}

static bool read_alias(const char *alias, struct external *external)
{
	char address[IP_TEXT_MAX], gateway[IP_TEXT_MAX];
	*external = (struct external){0};
	return sscanf(alias, EXTERNAL_ALIAS "%15[^:]:%47[^:]:%47[^:]:%u:%u", external->name,
		       address, gateway, &external->metric, &external->own) == 5 &&
	       ip_prefix_parse(address, &external->address) &&
	       ip_address_parse(gateway, &external->gateway);
}

static bool find_attached(const struct snapshot *snapshot, const struct link **link,
	struct external *external)
{
	for (size_t i = 0; i < snapshot->link_count; i++) {
		if (read_alias(snapshot->links[i].alias, external)) {
			*link = &snapshot->links[i];
			return true;
		}
	}
	return false;
}

/* ---- choice ---- */

static bool may_be_external(const struct link *link)
{
	for (size_t i = 0; i < array_size(not_external); i++) {
		if (!strncmp(link->name, not_external[i], strlen(not_external[i])))
			return false;
	}
	return strcmp(link->kind, "vxlan") != 0;
}

static bool describe(const struct snapshot *own, const struct route *primary,
	const struct link *link, struct external *external)
{
	const struct address *address = snapshot_address(own, link, AF_INET);
	const struct route *route = snapshot_default_route(own, AF_INET, link);
	if (!address)
		return false;
	*external = (struct external){.address = address->ip};
	snprintf(external->name, sizeof(external->name), "%s", link->name);
	if (route && route->gw.family) {
		external->gateway = route->gw;
		external->metric = route->metric;
		external->own = 1;
		return true;
	}
	external->gateway = primary->gw;
	return primary->gw.family && ip_prefix_contains(&address->ip, &primary->gw);
}

static int choose(const struct snapshot *own, int tunnel_index, const struct link **link,
	struct external *external, struct error *err)
{
	const struct route *primary = snapshot_default_route(own, AF_INET, NULL);
	if (!primary)
		return error_set(err, ERROR_INVALID, "the VM has no IPv4 default route");
	for (size_t i = 0; i < own->link_count; i++) {
		*link = &own->links[i];
		if ((*link)->index != primary->index && (*link)->index != tunnel_index &&
			may_be_external(*link) && describe(own, primary, *link, external))
			return 0;
	}
	return error_set(err, ERROR_INVALID,
		"the VM has no second network interface with an IPv4 address and a default route (or in "
		"the subnet of the first): give it one, or unset -ext-network-via-podvm");
}

/* ---- moving ---- */

static int move(struct netlink *from, struct netlink *to, int to_fd, const struct link *link,
	const char *new_name, const struct external *external, struct link *moved,
	struct error *err)
{
	const struct link_change down = {.down = true};
	const struct link_change change = {.name = new_name, .netns_fd = &to_fd};
	const struct link_change up = {.up = true};
	int errnum = link_change(from, link->index, &down);
	if (!errnum)
		errnum = link_change(from, link->index, &change);
	if (errnum)
		return netlink_error(from, errnum, err,
			"move the interface %s to the other network namespace", link->name);
	fault_point("podnet-ext-moved");
	errnum = link_get(to, new_name, moved);
	if (!errnum)
		errnum = address_add(to, moved->index, &external->address);
	if (!errnum)
		errnum = link_change(to, moved->index, &up);
	return errnum ? netlink_error(to, errnum, err, "set up the moved interface %s", new_name)
		      : 0;
}

/* The subnet, then the default route. */
static int add_routes(struct netlink *nl, int index, const struct external *external,
	bool with_default, struct error *err)
{
	struct route subnet = {
		.dst = ip_prefix_masked(external->address),
		.src = external->address,
		.table = RT_TABLE_MAIN,
		.index = index,
		.protocol = RTPROT_KERNEL,
		.scope = RT_SCOPE_LINK,
		.type = RTN_UNICAST,
		.metric = external->metric,
	};
	struct route out = {
		.dst = ip_prefix_default(AF_INET),
		.gw = external->gateway,
		.table = RT_TABLE_MAIN,
		.index = index,
		.protocol = RTPROT_STATIC,
		.type = RTN_UNICAST,
		.metric = external->metric,
		.flags = RTNH_F_ONLINK,
	};
	int errnum = ip_is_single(&external->address) ? 0 : route_add(nl, &subnet);
	if (!errnum && with_default)
		errnum = route_add(nl, &out);
	return errnum ? netlink_error(nl, errnum, err, "add the routes of %s", external->name) : 0;
}

static int drop_defaults(struct netlink *pod, const struct snapshot *inside, struct error *err)
{
	for (size_t i = 0; i < inside->route_count; i++) {
		const struct route *route = &inside->routes[i];
		if (!ip_is_default(&route->dst) || route->dst.family != AF_INET ||
			route->table != RT_TABLE_MAIN)
			continue;
		int errnum = route_delete(pod, route);
		if (errnum && errnum != ESRCH)
			return netlink_error(pod, errnum, err, "delete podns' default route");
	}
	return 0;
}

/*
 * While both interfaces were here, each answered for the other's address: whoever learned the primary's address
 * with the MAC of the one that has moved would send into the pod.
 */
static void announce_primary(const struct snapshot *own, const struct link *moved)
{
	const struct route *primary = snapshot_default_route(own, AF_INET, NULL);
	const struct link *link = primary ? snapshot_link_index(own, primary->index) : NULL;
	const struct address *address = link ? snapshot_address(own, link, AF_INET) : NULL;
	if (address && link->index != moved->index)
		announce_ipv4(link, &address->ip);
}

int external_attach(struct netlink *root, struct netlink *pod, int podns,
	const struct ip_prefix *worker, struct error *err)
{
	cleanup_snapshot own = {0}, inside = {0};
	struct external external;
	const struct link *link;
	struct link moved = {0};
	struct route tunnel;
	if (snapshot_take(root, &own, err) || snapshot_take(pod, &inside, err))
		return -1;
	if (find_attached(&inside, &link, &external)) {
		const struct link_change up = {.up = true};
		moved = *link;
		int errnum = address_add(pod, moved.index, &external.address);
		if (!errnum)
			errnum = link_change(pod, moved.index, &up);
		if (errnum)
			return netlink_error(pod, errnum, err, "set up the moved interface %s",
				moved.name);
	} else {
		char alias[LINK_ALIAS_MAX];
		/* With an alias but not moved: a set-up died in between; the choice stands. */
		if (!find_attached(&own, &link, &external)) {
			int tunnel_index = route_lookup(root, worker, &tunnel) ? 0 : tunnel.index;
			if (choose(&own, tunnel_index, &link, &external, err))
				return -1;
			write_alias(&external, alias);
			const struct link_change mark = {.alias = alias};
			int errnum = link_change(root, link->index, &mark);
			if (errnum)
				return netlink_error(root, errnum, err, "mark the interface %s",
					link->name);
		}
		fault_point("podnet-ext-marked");
		if (move(root, pod, podns, link, EXTERNAL_NAME, &external, &moved, err))
			return -1;
		announce_primary(&own, link);
		log_info(
			"pod network: the pod's way out is the VM's interface %s; the cluster's network "
			"policies do not apply to it",
			external.name);
	}
	if (drop_defaults(pod, &inside, err))
		return -1;
	fault_point("podnet-ext-routes");
	return add_routes(pod, moved.index, &external, true, err);
}

int external_detach(struct netlink *root, struct netlink *pod, struct error *err)
{
	cleanup_snapshot own = {0}, inside = {0};
	struct external external;
	const struct link *link;
	struct link moved = {0};
	const struct link_change unmark = {.alias = ""};
	if (snapshot_take(root, &own, err) || snapshot_take(pod, &inside, err))
		return -1;
	if (find_attached(&inside, &link, &external)) {
		cleanup(close_fd) int own_fd = netns_open_own(err);
		if (own_fd < 0 ||
			move(pod, root, own_fd, link, external.name, &external, &moved, err))
			return -1;
	} else if (find_attached(&own, &link, &external)) {
		/* Marked and not moved, or moved back and not yet done. */
		const struct link_change up = {.up = true};
		moved = *link;
		int errnum = address_add(root, moved.index, &external.address);
		if (!errnum)
			errnum = link_change(root, moved.index, &up);
		if (errnum)
			return netlink_error(root, errnum, err, "set up the interface %s",
				moved.name);
	} else {
		return 0;
	}
	if (add_routes(root, moved.index, &external, external.own, err))
		return -1;
	int errnum = link_change(root, moved.index, &unmark);
	return errnum ? netlink_error(root, errnum, err, "unmark the interface %s", moved.name) : 0;
}
