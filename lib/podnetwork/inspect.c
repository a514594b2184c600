/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inspect.c - what the CNI made in the pod netns, and how the tunnel will leave the worker
 *
 * Only reads, but for the last step, which reserves the VNI. Everything that is found out goes
 * into struct podnetwork; what the pod VM could not reproduce is an error here, before a VM is
 * paid for.
 */
#include "podnetwork/podnetwork.h"

#include <ctype.h>
#include <linux/fib_rules.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include "base/fault.h"
#include "base/log.h"
#include "podnetwork/filter.h"
#include "podnetwork/model.h"
#include "podnetwork/mtu.h"
#include "podnetwork/netns.h"
#include "podnetwork/reserve.h"
#include "podnetwork/snapshot.h"

/* The metric of IPv6 routes that ask for none (the kernel's IP6_RT_PRIO_USER). */
#define IPV6_METRIC_PLAIN 1024

/* ---- the worker's end ---- */

/* The interface that the tunnel leaves by; *dedicated where it is not the primary one. */
static int find_host_link(const struct snapshot *root, const char *host_interface,
	const struct link **link, bool *dedicated, struct error *err)
{
	const struct route *primary = snapshot_default_route(root, AF_UNSPEC, NULL);
	*dedicated = false;
	if (!*text_or_empty(host_interface)) {
		if (!primary)
			return error_set(err, ERROR_INVALID,
				"this node has no default route to find the tunnel's interface by: set -host-interface");
		*link = snapshot_link_index(root, primary->index);
		return 0;
	}
	*link = snapshot_link(root, host_interface);
	if (!*link)
		return error_set(err, ERROR_INVALID,
			"-host-interface: this node has no network interface \"%.40s\"",
			host_interface);
	*dedicated = primary && primary->index != (*link)->index;
	return 0;
}

static int find_node_ip(const struct snapshot *root, const struct link *link, const char *node_ip,
	struct ip_prefix *ip, struct error *err)
{
	if (*text_or_empty(node_ip)) {
		struct ip_prefix wanted;
		if (!ip_address_parse(node_ip, &wanted))
			return error_set(err, ERROR_INVALID,
				"node IP \"%.50s\" is not an IP address", node_ip);
		for (size_t i = 0; i < root->address_count; i++) {
			if (ip_address_equal(&root->addresses[i].ip, &wanted)) {
				*ip = root->addresses[i].ip;
				return 0;
			}
		}
		return error_set(err, ERROR_INVALID, "node IP %s is not an address of this node",
			node_ip);
	}
	const struct address *address = snapshot_address(root, link, AF_UNSPEC);
	if (!address)
		return error_set(err, ERROR_INVALID,
			"interface %s of this node has no IP address for the tunnel: give it one, or set "
			"-host-interface",
			link->name);
	*ip = address->ip;
	return 0;
}

static int inspect_worker(struct netlink *root_nl,
	const struct podnetwork_worker_settings *settings, struct podnetwork *network,
	struct ip_prefix *node_ip, struct error *err)
{
	cleanup_snapshot root = {0};
	const struct link *link;
	char text[IP_TEXT_MAX];
	if (snapshot_take(root_nl, &root, err) ||
		find_host_link(&root, settings->host_interface, &link, &network->dedicated, err) ||
		find_node_ip(&root, link, settings->node_ip, node_ip, err))
		return -1;
	const struct route *way = snapshot_default_route(&root, node_ip->family, link);
	network->underlay_mtu = way && way->mtu && way->mtu < link->mtu ? way->mtu : link->mtu;
	return text_set(&network->worker_node_ip, ip_prefix_format(node_ip, text), err);
}

/* ---- the pod's interface ---- */

static bool has_address(const struct snapshot *pod, const struct link *link)
{
	return snapshot_address(pod, link, AF_UNSPEC);
}

/*
 * The interface that the cluster knows: as configured; eth0, which is what CRI runtimes call it,
 * where it has a default route; the one with the best default route; without any default route
 * eth0, or else the only one with an address.
 */
static const struct link *find_pod_link(const struct snapshot *pod, const char *path,
	const char *configured, struct error *err)
{
	if (*text_or_empty(configured)) {
		const struct link *link = snapshot_link(pod, configured);
		if (!link)
			error_set(err, ERROR_INVALID, "netns %s has no interface \"%.40s\"", path,
				configured);
		return link;
	}
	const struct link *eth0 = snapshot_link(pod, "eth0"), *only = NULL;
	if (eth0 && snapshot_default_route(pod, AF_UNSPEC, eth0))
		return eth0;
	const struct route *route = snapshot_default_route(pod, AF_UNSPEC, NULL);
	if (route)
		return snapshot_link_index(pod, route->index);
	if (eth0 && has_address(pod, eth0))
		return eth0;
	size_t count = 0;
	for (size_t i = 0; i < pod->link_count; i++) {
		const struct link *link = &pod->links[i];
		if (!(link->flags & IFF_LOOPBACK) && has_address(pod, link)) {
			only = link;
			count++;
		}
	}
	if (count == 1)
		return only;
	error_set(err, ERROR_INVALID,
		"netns %s: no default route, and %s: cannot tell which is the pod's interface; has the "
		"CNI plugin finished?",
		path,
		count ? "several interfaces with an address" : "no interface with an address");
	return NULL;
}

/*
 * Upstream gives the addresses of the CNI in dump order; the one that stands for the pod goes
 * first.
 */
static int take_addresses(const struct snapshot *pod, const struct link *link, const char *path,
	struct podnetwork *network, struct error *err)
{
	const struct address *first = snapshot_address(pod, link, AF_UNSPEC);
	char text[IP_TEXT_MAX];
	if (!first)
		return error_set(err, ERROR_INVALID,
			"netns %s: interface %s has no IP address; has the CNI plugin finished?",
			path, link->name);
	if (text_set(&network->podip, ip_prefix_format(&first->ip, text), err) ||
		podnetwork_podip_add(network, text, err))
		return -1;
	for (size_t i = 0; i < pod->address_count; i++) {
		const struct address *address = &pod->addresses[i];
		if (address->index != link->index || address == first ||
			ip_is_link_local(&address->ip))
			continue;
		if (podnetwork_podip_add(network, ip_prefix_format(&address->ip, text), err))
			return -1;
	}
	return 0;
}

/* The pod's only address of this family, or NULL. */
static const struct address *only_address(const struct snapshot *pod, const struct link *link,
	int family)
{
	const struct address *found = NULL;
	for (size_t i = 0; i < pod->address_count; i++) {
		const struct address *address = &pod->addresses[i];
		if (address->index != link->index || address->ip.family != family ||
			ip_is_link_local(&address->ip))
			continue;
		if (found)
			return NULL;
		found = address;
	}
	return found;
}

/* ---- routes ---- */

static bool wanted_route(const struct snapshot *pod, const struct link *link,
	const struct route *route)
{
	bool ours = route->index == link->index;
	const struct link *via = snapshot_link_index(pod, route->index);
	/* IPv6 puts these on lo. */
	bool nowhere = !route->index || (via && (via->flags & IFF_LOOPBACK));
	if ((route->flags & RTM_F_CLONED) || route->table == RT_TABLE_LOCAL ||
		route->table == RT_TABLE_DEFAULT)
		return false;
	/* What every IPv6 interface makes for itself. */
	if (route->dst.family == AF_INET6 && route->protocol == RTPROT_KERNEL &&
		(ip_is_link_local(&route->dst) || route->dst.bytes[0] == 0xff))
		return false;
	switch (route->type) {
	case RTN_UNICAST:
		return ours;
	case RTN_BLACKHOLE:
	case RTN_UNREACHABLE:
	case RTN_PROHIBIT:
	case RTN_THROW:
		return nowhere;
	default:
		return false;
	}
}

static int take_route(const struct snapshot *pod, const struct link *link,
	const struct route *route, struct podnetwork *network, struct error *err)
{
	char dst[IP_TEXT_MAX], gw[IP_TEXT_MAX], src[IP_TEXT_MAX], number[8];
	struct podnetwork_route *out = podnetwork_route_add(network, err);
	if (!out)
		return -1;
	const char *protocol = word_text(route_protocols, route->protocol);
	if (!protocol) {
		snprintf(number, sizeof(number), "%u", route->protocol);
		protocol = number;
	}
	/* Scopes of an administrator's own have no word: the nearest that has the same effect. */
	const char *scope = word_text(route_scopes, route->scope);
	if (!scope)
		scope = route->gw.family ? "universe" : "link";
	/* With one address there is no other source: nothing to say. */
	const struct address *only = only_address(pod, link, route->dst.family);
	struct ip_prefix from = route->src;
	if (only && ip_address_equal(&only->ip, &from))
		from = IP_NONE;
	bool plain_metric = route->dst.family == AF_INET6 && route->metric == IPV6_METRIC_PLAIN;
	out->table = route->table == RT_TABLE_MAIN ? 0 : route->table;
	out->metric = plain_metric ? 0 : route->metric;
	out->mtu = route->mtu;
	out->advmss = route->advmss;
	out->onlink = route->flags & RTNH_F_ONLINK;
	return text_set(&out->dst, ip_prefix_format(&route->dst, dst), err) ||
			       text_set(&out->gw, ip_address_format(&route->gw, gw), err) ||
			       text_set(&out->src, ip_address_format(&from, src), err) ||
			       text_set(&out->dev, route->type == RTN_UNICAST ? link->name : "",
				       err) ||
			       text_set(&out->protocol, protocol, err) ||
			       text_set(&out->scope, strcmp(scope, "universe") ? scope : "", err) ||
			       text_set(&out->type,
				       text_or_empty(word_text(route_types, route->type)), err)
		       ? -1
		       : 0;
}

/* Upstream reads one protocol after the other and then sorts: among equals this order stays. */
static int take_routes(const struct snapshot *pod, const struct link *link,
	struct podnetwork *network, struct error *err)
{
	static const uint8_t order[] = {RTPROT_STATIC, RTPROT_BOOT, RTPROT_DHCP, RTPROT_KERNEL};
	for (size_t turn = 0; turn <= array_size(order); turn++) {
		for (size_t i = 0; i < pod->route_count; i++) {
			const struct route *route = &pod->routes[i];
			bool listed = memchr(order, route->protocol, sizeof(order));
			bool now =
				turn < array_size(order) ? route->protocol == order[turn] : !listed;
			if (now && wanted_route(pod, link, route) &&
				take_route(pod, link, route, network, err))
				return -1;
		}
	}
	return podnetwork_routes_sort(network, err);
}

static bool has_route_to(const struct podnetwork *network, const struct ip_prefix *dst)
{
	for (size_t i = 0; i < network->route_count; i++) {
		struct ip_prefix other;
		if (network->routes[i].table == 0 &&
			ip_prefix_parse(network->routes[i].dst, &other) &&
			ip_prefix_equal(&other, dst))
			return true;
	}
	return false;
}

/*
 * What must stay on the tunnel when the pod's default route goes elsewhere (external network
 * mode).
 */
static int add_pod_subnet(const struct snapshot *pod, const struct link *link, const char *cidr,
	struct podnetwork *network, struct error *err)
{
	struct ip_prefix dst;
	char dst_text[IP_TEXT_MAX], gw_text[IP_TEXT_MAX] = "";
	if (!ip_prefix_parse(cidr, &dst)) {
		log_warn("pod subnet \"%.50s\" is not a CIDR (10.0.0.0/16): left out", cidr);
		return 0;
	}
	dst = ip_prefix_masked(dst);
	if (has_route_to(network, &dst))
		return 0;
	const struct route *way = snapshot_default_route(pod, dst.family, link);
	if (way)
		ip_address_format(&way->gw, gw_text);
	struct podnetwork_route *out = podnetwork_route_add(network, err);
	if (!out || text_set(&out->dst, ip_prefix_format(&dst, dst_text), err) ||
		text_set(&out->gw, gw_text, err) || text_set(&out->dev, link->name, err))
		return -1;
	return 0;
}

static int add_pod_subnets(const struct snapshot *pod, const struct link *link, const char *cidrs,
	struct podnetwork *network, struct error *err)
{
	cleanup(free_ptr) char *copy = strdup(text_or_empty(cidrs));
	if (!copy)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	char *rest = copy, *item;
	while ((item = strsep(&rest, ","))) {
		item += strspn(item, " \t");
		item[strcspn(item, " \t")] = 0;
		if (*item && add_pod_subnet(pod, link, item, network, err))
			return -1;
	}
	return 0;
}

/* ---- neighbours and rules ---- */

static int take_neighbors(struct netlink *nl, const struct link *link, struct podnetwork *network,
	struct error *err)
{
	cleanup(free_ptr) struct neighbor *list = NULL;
	size_t count;
	char ip[IP_TEXT_MAX], mac[MAC_TEXT_MAX];
	if (neighbor_list(nl, &list, &count, err))
		return -1;
	for (size_t i = 0; i < count; i++) {
		if (list[i].index != link->index || list[i].state != NUD_PERMANENT)
			continue;
		struct podnetwork_neighbor *out = podnetwork_neighbor_add(network, err);
		if (!out || text_set(&out->ip, ip_address_format(&list[i].ip, ip), err) ||
			text_set(&out->hw_addr, list[i].has_mac ? mac_format(list[i].mac, mac) : "",
				err) ||
			text_set(&out->dev, link->name, err) ||
			text_set(&out->state, "permanent", err))
			return -1;
	}
	return 0;
}

/* The three (IPv6: two) rules that every netns has. */
static bool rule_is_builtin(const struct rule *rule)
{
	return rule->copyable && !rule->from.family && !rule->to.family && !rule->iif[0] &&
	       !rule->oif[0] && !rule->mark && !rule->mask &&
	       ((rule->priority == 0 && rule->table == RT_TABLE_LOCAL) ||
		       (rule->priority == 32766 && rule->table == RT_TABLE_MAIN) ||
		       (rule->priority == 32767 && rule->table == RT_TABLE_DEFAULT));
}

static int take_rules(struct netlink *nl, const char *path, struct podnetwork *network,
	struct error *err)
{
	cleanup(free_ptr) struct rule *list = NULL;
	size_t count;
	char from[IP_TEXT_MAX], to[IP_TEXT_MAX];
	if (rule_list(nl, &list, &count, err))
		return -1;
	for (size_t i = 0; i < count; i++) {
		const struct rule *rule = &list[i];
		if (rule_is_builtin(rule))
			continue;
		if (!rule->copyable)
			return error_set(err, ERROR_UNSUPPORTED,
				"netns %s: the %s routing rule of priority %u says more than from, to, interface, mark "
				"and table, and cannot be made in the pod VM: use a CNI configuration without it",
				path, rule->family == AF_INET6 ? "IPv6" : "IPv4", rule->priority);
		struct podnetwork_rule *out = podnetwork_rule_add(network, err);
		if (!out || text_set(&out->from, ip_prefix_format(&rule->from, from), err) ||
			text_set(&out->to, ip_prefix_format(&rule->to, to), err) ||
			text_set(&out->iif, rule->iif, err) || text_set(&out->oif, rule->oif, err))
			return -1;
		out->priority = rule->priority;
		out->table = rule->table;
		out->mark = rule->mark;
		out->mask = rule->mask;
		out->ipv6 = rule->family == AF_INET6;
	}
	return 0;
}

/* ---- all of it ---- */

static int inspect_pod(struct netlink *nl, const struct podnetwork_worker_settings *settings,
	struct podnetwork *network, struct error *err)
{
	cleanup_snapshot pod = {0};
	const char *path = settings->netns_path;
	char mac[MAC_TEXT_MAX];
	if (snapshot_take(nl, &pod, err))
		return -1;
	const struct link *link = find_pod_link(&pod, path, settings->pod_interface, err);
	if (!link)
		return -1;
	if (!link->has_mac)
		return error_set(err, ERROR_UNSUPPORTED,
			"netns %s: interface %s has no MAC address; the tunnel carries Ethernet: use a CNI "
			"that gives pods Ethernet interfaces (veth; netkit in L2 mode)",
			path, link->name);
	network->mtu = link->mtu;
	return text_set(&network->interface, link->name, err) ||
			       text_set(&network->pod_hw_addr, mac_format(link->mac, mac), err) ||
			       take_addresses(&pod, link, path, network, err) ||
			       take_routes(&pod, link, network, err) ||
			       add_pod_subnets(&pod, link, settings->pod_subnet_cidrs, network,
				       err) ||
			       take_neighbors(nl, link, network, err) ||
			       take_rules(nl, path, network, err)
		       ? -1
		       : 0;
}

static bool has_ipv6(const struct podnetwork *network)
{
	for (size_t i = 0; i < podnetwork_podip_count(network); i++) {
		if (strchr(network->podips[i], ':'))
			return true;
	}
	return false;
}

static int reserve(struct netlink *root, struct netlink *pod,
	const struct podnetwork_worker_settings *settings, const struct ip_prefix *node_ip,
	struct podnetwork *network, struct error *err)
{
	const struct reservation wanted = {
		.sandbox = settings->sandbox,
		.port = settings->vxlan_port,
		.vni_min = settings->vxlan_min_id,
		.local = *node_ip,
		.no_checksum = settings->tunnel_csum_off,
		.quarantined = settings->quarantined,
		.quarantined_count = settings->quarantined_count,
	};
	struct link link;
	if (reservation_make(root, pod, &wanted, &link, err))
		return -1;
	const struct filter_tunnel reserved = {
		.sandbox = settings->sandbox,
		.vni = link.vni,
		.vni_min = settings->vxlan_min_id,
		.port = link.port,
	};
	if (filter_prepare(&reserved, err) || reservation_raise(pod, &link, err)) {
		link_delete(pod, link.index);
		filter_forbid(settings->sandbox, NULL);
		return -1;
	}
	fault_point("podnet-port-held");
	network->vxlan_port = link.port;
	network->vxlan_id = link.vni;
	network->index = (int64_t)link.vni - settings->vxlan_min_id;
	return text_set(&network->tunnel_type, "vxlan", err);
}

static int check_settings(const struct podnetwork_worker_settings *settings, struct error *err)
{
	if (!settings->sandbox || !filter_comment_valid(settings->sandbox))
		return error_set(err, ERROR_INVALID,
			"sandbox id \"%.40s\": letters, digits and -_.: only, 1 to 128 of them",
			text_or_empty(settings->sandbox));
	if (!settings->vxlan_port)
		return error_set(err, ERROR_INVALID, "-vxlan-port must be between 1 and 65535");
	if (settings->vxlan_min_id > PODNETWORK_VXLAN_MAX_ID)
		return error_set(err, ERROR_INVALID,
			"-vxlan-min-id is %u; a VXLAN id is at most %d", settings->vxlan_min_id,
			PODNETWORK_VXLAN_MAX_ID);
	return 0;
}

int podnetwork_inspect(const struct podnetwork_worker_settings *settings,
	struct podnetwork *network, struct error *err)
{
	struct podnetwork found = {0};
	struct ip_prefix node_ip;
	uint32_t mtu;
	if (check_settings(settings, err))
		return -1;
	cleanup(close_fd) int netns =
		netns_open_known(settings->netns_path, settings->netns_inode, err);
	if (netns < 0)
		return -1;
	cleanup_netlink root = {0}, pod = {0};
	found.external_net_via_pod_vm = settings->external_net_via_pod_vm;
	found.tunnel_csum_off = settings->tunnel_csum_off;
	found.nic_tx_csum_off = settings->nic_tx_csum_off;
	if (netlink_open(&root, -1, err) || netlink_open(&pod, netns, err) ||
		inspect_worker(&root, settings, &found, &node_ip, err) ||
		inspect_pod(&pod, settings, &found, err) ||
		tunnel_mtu(found.mtu, found.underlay_mtu, 0, node_ip.family, has_ipv6(&found), &mtu,
			err) ||
		reserve(&root, &pod, settings, &node_ip, &found, err)) {
		podnetwork_free(&found);
		return error_prefix(err, "inspect the pod's network");
	}
	*network = found;
	return 0;
}
