/* SPDX-License-Identifier: Apache-2.0 */
/*
 * podside.c - see podside.h
 *
 * Addresses come without the kernel's own connected route: the worker's list has it where the CNI
 * left it, and some CNIs (PTP, GKE) took it away. Routes are added in an order in which each
 * gateway is reachable; those that the kernel still refuses are tried again at the end, and last
 * with "onlink".
 */
#include "podnetwork/podside.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include "base/fault.h"
#include "base/log.h"
#include "podnetwork/link.h"
#include "podnetwork/model.h"
#include "podnetwork/netns.h"
#include "podnetwork/route.h"

/* TCP's maximum segment is the MTU without the headers of IP and TCP. */
#define TCP_HEADERS_IPV4 40
#define TCP_HEADERS_IPV6 60

/* One address or, with "podips", several. */
static size_t address_count(const struct podnetwork *network)
{
	size_t count = podnetwork_podip_count(network);
	return count ? count : 1;
}

static const char *address_text(const struct podnetwork *network, size_t i)
{
	return podnetwork_podip_count(network) ? network->podips[i] : network->podip;
}

bool podside_has_ipv6(const struct podnetwork *network)
{
	for (size_t i = 0; i < address_count(network); i++) {
		if (strchr(address_text(network, i), ':'))
			return true;
	}
	return false;
}

/* ---- IPv6 switches ---- */

static int set_sysctl(struct netlink *pod, const char *interface, const char *setting,
	const char *value, struct error *err)
{
	char name[128];
	snprintf(name, sizeof(name), "net/ipv6/conf/%s/%s", interface, setting);
	return netns_write_sysctl(pod->netns_fd, name, value, err);
}

/*
 * The VM image may have IPv6 switched off; what the pod gets is the worker's to say. Router
 * advertisements are not listened to: the routes that they made on the worker are in the list.
 */
static int enable_ipv6(struct netlink *pod, const char *interface, struct error *err)
{
	if (set_sysctl(pod, interface, "disable_ipv6", "0", err) ||
		set_sysctl(pod, "lo", "disable_ipv6", "0", err) ||
		set_sysctl(pod, interface, "accept_ra", "0", err))
		return error_append(err, "; the pod has an IPv6 address");
	return 0;
}

/* ---- addresses ---- */

/*
 * The link-local address that the pod's interface has on the worker: from the MAC (RFC 4291,
 * appendix A).
 */
static struct ip_prefix link_local(const char *mac_text)
{
	uint8_t mac[MAC_SIZE] = {0};
	mac_parse(mac_text, mac);
	return (struct ip_prefix){
		.bytes = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe,
			mac[3], mac[4], mac[5]},
		.len = 64,
		.family = AF_INET6,
	};
}

static int ensure_address(struct netlink *pod, int index, const struct ip_prefix *ip,
	struct error *err)
{
	char text[IP_TEXT_MAX];
	int errnum = address_add(pod, index, ip);
	if (errnum && errnum != EEXIST)
		return netlink_error(pod, errnum, err, "add the address %s",
			ip_prefix_format(ip, text));
	return 0;
}

static bool wanted_address(const struct podnetwork *network, const struct ip_prefix *ip)
{
	for (size_t i = 0; i < address_count(network); i++) {
		struct ip_prefix wanted;
		if (ip_prefix_parse(address_text(network, i), &wanted) &&
			ip_prefix_equal(&wanted, ip))
			return true;
	}
	return ip_is_link_local(ip);
}

static int set_addresses(struct netlink *pod, int index, const struct podnetwork *network,
	struct error *err)
{
	cleanup(free_ptr) struct address *present = NULL;
	size_t count;
	if (address_list(pod, &present, &count, err))
		return -1;
	for (size_t i = 0; i < count; i++) {
		if (present[i].index == index && !wanted_address(network, &present[i].ip))
			address_delete(pod, index, &present[i].ip);
	}
	for (size_t i = 0; i < address_count(network); i++) {
		struct ip_prefix ip;
		if (!ip_prefix_parse(address_text(network, i), &ip))
			return error_set(err, ERROR_INVALID, "pod address \"%.50s\" is malformed",
				address_text(network, i));
		if (ensure_address(pod, index, &ip, err))
			return -1;
	}
	return 0;
}

/* After "up": a link-local address and its route, as neighbour discovery expects. */
static int set_link_local(struct netlink *pod, int index, const struct podnetwork *network,
	struct error *err)
{
	struct ip_prefix ip = link_local(network->pod_hw_addr);
	struct route route = {
		.dst = ip_prefix_masked(ip),
		.table = RT_TABLE_MAIN,
		.index = index,
		.protocol = RTPROT_KERNEL,
		.type = RTN_UNICAST,
		.metric = 256, /* what the kernel gives connected routes */
	};
	if (ensure_address(pod, index, &ip, err))
		return -1;
	int errnum = route_add(pod, &route);
	return errnum ? netlink_error(pod, errnum, err, "add the route fe80::/64") : 0;
}

/* ---- routes ---- */

static uint32_t clamp(int64_t value, uint32_t most)
{
	return value > most ? most : (uint32_t)value;
}

/* The connected route shows the pod's address as its source, as the kernel's own would. */
static struct ip_prefix connected_source(const struct podnetwork *network,
	const struct ip_prefix *dst)
{
	for (size_t i = 0; i < address_count(network); i++) {
		struct ip_prefix ip;
		if (!ip_prefix_parse(address_text(network, i), &ip) || ip.family != AF_INET ||
			ip.len != dst->len)
			continue;
		struct ip_prefix net = ip_prefix_masked(ip);
		if (ip_prefix_equal(&net, dst))
			return ip;
	}
	return IP_NONE;
}

static int build_route(const struct podnetwork *network, const struct podnetwork_route *in,
	int index, uint32_t mtu, struct route *out, struct error *err)
{
	int protocol = word_number(route_protocols, in->protocol);
	int type = word_number(route_types, in->type), scope = word_number(route_scopes, in->scope);
	*out = (struct route){
		.table = in->table ? (uint32_t)in->table : RT_TABLE_MAIN,
		.metric = (uint32_t)in->metric,
		.mtu = clamp(in->mtu, mtu),
		.flags = in->onlink ? RTNH_F_ONLINK : 0,
		/* Upstream's pod subnets have no protocol; for a route by hand it is "boot". */
		.protocol = (uint8_t)(protocol >= 0 ? protocol : atoi(text_or_empty(in->protocol))),
		.type = (uint8_t)(type >= 0 ? type : RTN_UNICAST),
		.scope = (uint8_t)(scope >= 0 ? scope : RT_SCOPE_UNIVERSE),
	};
	if (!out->protocol)
		out->protocol = RTPROT_BOOT;
	if (!ip_prefix_parse(text_or_empty(in->dst), &out->dst))
		return error_set(err, ERROR_INVALID, "route destination \"%.50s\" is malformed",
			text_or_empty(in->dst));
	out->dst = ip_prefix_masked(out->dst);
	if (*text_or_empty(in->gw))
		ip_address_parse(in->gw, &out->gw);
	if (*text_or_empty(in->src))
		ip_address_parse(in->src, &out->src);
	out->advmss = clamp(in->advmss,
		mtu - (out->dst.family == AF_INET6 ? TCP_HEADERS_IPV6 : TCP_HEADERS_IPV4));
	if (out->type != RTN_UNICAST) {
		out->scope = RT_SCOPE_UNIVERSE;
		return 0;
	}
	out->index = index;
	if (!out->gw.family && out->scope == RT_SCOPE_UNIVERSE)
		out->scope = RT_SCOPE_LINK;
	if (out->dst.family == AF_INET6)
		out->scope = RT_SCOPE_UNIVERSE; /* IPv6 routes have no scope */
	if (!out->gw.family && !out->src.family && out->protocol == RTPROT_KERNEL)
		out->src = connected_source(network, &out->dst);
	return 0;
}

/* May a later try succeed, once other routes are there? */
static bool gateway_unreachable(int errnum)
{
	return errnum == ENETUNREACH || errnum == EHOSTUNREACH || errnum == EINVAL;
}

/* Adds those that are not done. *left counts what the kernel refused for its gateway. */
static int add_routes(struct netlink *pod, const struct route *routes, bool *done, size_t count,
	uint32_t flags, size_t *left, struct error *err)
{
	*left = 0;
	for (size_t i = 0; i < count; i++) {
		char dst[IP_TEXT_MAX], gw[IP_TEXT_MAX];
		struct route route = routes[i];
		if (done[i])
			continue;
		if (route.gw.family)
			route.flags |= flags;
		int errnum = route_add(pod, &route);
		if (!errnum || errnum == EEXIST) {
			done[i] = true;
			continue;
		}
		ip_prefix_format(&route.dst, dst);
		ip_address_format(&route.gw, gw);
		netlink_error(pod, errnum, err, "add the route to %s%s%s", dst, *gw ? " via " : "",
			gw);
		if (!gateway_unreachable(errnum))
			return -1;
		++*left;
	}
	return 0;
}

static int set_routes(struct netlink *pod, int index, const struct podnetwork *network,
	uint32_t mtu, struct error *err)
{
	cleanup(free_ptr) struct podnetwork_route *order = NULL;
	cleanup(free_ptr) struct route *routes = NULL;
	cleanup(free_ptr) bool *done = NULL;
	size_t count = 0, left = network->route_count, before;
	if (!left)
		return 0;
	order = reallocarray(NULL, left, sizeof(*order));
	routes = calloc(left, sizeof(*routes));
	done = calloc(left, sizeof(*done));
	if (!order || !routes || !done)
		return error_set(err, ERROR_CAPACITY, "out of memory for routes");
	/* The entries are borrowed, for sorting only. */
	memcpy(order, network->routes, left * sizeof(*order));
	struct podnetwork sorted = {.routes = order, .route_count = left};
	if (podnetwork_routes_sort_for_setup(&sorted, err))
		return -1;
	for (size_t i = 0; i < network->route_count; i++) {
		const char *dev = text_or_empty(order[i].dev);
		/* Upstream copies routes of the pod's other interfaces, which do not exist here. */
		if (*dev && strcmp(dev, network->interface)) {
			log_warn("route to %s left out: the pod VM has no interface %s",
				order[i].dst, dev);
			continue;
		}
		if (build_route(network, &order[i], index, mtu, &routes[count++], err))
			return -1;
	}
	do {
		before = left;
		if (add_routes(pod, routes, done, count, 0, &left, err))
			return -1;
	} while (left && left < before);
	if (left && add_routes(pod, routes, done, count, RTNH_F_ONLINK, &left, err))
		return -1;
	if (left)
		return -1;
	error_clear(err);
	return 0;
}

/* ---- neighbours and rules ---- */

static int set_neighbors(struct netlink *pod, int index, const struct podnetwork *network,
	struct error *err)
{
	for (size_t i = 0; i < network->neighbor_count; i++) {
		const struct podnetwork_neighbor *in = &network->neighbors[i];
		const char *dev = text_or_empty(in->dev);
		int state = word_number(neighbor_states, in->state);
		struct neighbor neighbor = {.index = index,
			.state = (uint16_t)(state > 0 ? state : NUD_PERMANENT)};
		if ((*dev && strcmp(dev, network->interface)) ||
			!ip_address_parse(text_or_empty(in->ip), &neighbor.ip))
			continue;
		neighbor.has_mac = mac_parse(text_or_empty(in->hw_addr), neighbor.mac);
		int errnum = neighbor_add(pod, &neighbor);
		if (errnum)
			return netlink_error(pod, errnum, err, "add the neighbour %s at %s", in->ip,
				text_or_empty(in->hw_addr));
	}
	return 0;
}

static struct rule build_rule(const struct podnetwork_rule *in)
{
	struct rule rule = {
		.priority = (uint32_t)in->priority,
		.table = (uint32_t)in->table,
		.mark = (uint32_t)in->mark,
		.mask = (uint32_t)in->mask,
		.family = in->ipv6 ? AF_INET6 : AF_INET,
	};
	if (*text_or_empty(in->from))
		ip_prefix_parse(in->from, &rule.from);
	if (*text_or_empty(in->to))
		ip_prefix_parse(in->to, &rule.to);
	snprintf(rule.iif, sizeof(rule.iif), "%.15s", text_or_empty(in->iif));
	snprintf(rule.oif, sizeof(rule.oif), "%.15s", text_or_empty(in->oif));
	return rule;
}

static int set_rules(struct netlink *pod, const struct podnetwork *network, struct error *err)
{
	for (size_t i = 0; i < network->rule_count; i++) {
		struct rule rule = build_rule(&network->rules[i]);
		int errnum = rule_add(pod, &rule);
		if (errnum && errnum != EEXIST)
			return netlink_error(pod, errnum, err,
				"add the routing rule of priority %u", rule.priority);
	}
	return 0;
}

/* ---- all of it ---- */

int podside_configure(struct netlink *pod, int index, const struct podnetwork *network,
	uint32_t mtu, struct error *err)
{
	struct link lo;
	const struct link_change up = {.up = true};
	bool ipv6 = podside_has_ipv6(network);
	int errnum = link_get(pod, "lo", &lo);
	if (!errnum)
		errnum = link_change(pod, lo.index, &up);
	if (errnum)
		return netlink_error(pod, errnum, err, "raise lo");
	if (ipv6 && enable_ipv6(pod, network->interface, err))
		return -1;
	if (set_addresses(pod, index, network, err))
		return -1;
	fault_point("podnet-vm-addresses");
	errnum = link_change(pod, index, &up);
	if (errnum)
		return netlink_error(pod, errnum, err, "raise %s", network->interface);
	if (ipv6 && set_link_local(pod, index, network, err))
		return -1;
	if (set_routes(pod, index, network, mtu, err) || set_neighbors(pod, index, network, err))
		return -1;
	fault_point("podnet-vm-neighbors");
	return set_rules(pod, network, err);
}

int podside_clear(struct netlink *pod, const struct podnetwork *network, struct error *err)
{
	for (size_t i = 0; network && i < network->rule_count; i++) {
		struct rule rule = build_rule(&network->rules[i]);
		int errnum = rule_delete(pod, &rule);
		if (errnum && errnum != ENOENT && errnum != EAFNOSUPPORT)
			return netlink_error(pod, errnum, err,
				"delete the routing rule of priority %u", rule.priority);
	}
	return 0;
}
