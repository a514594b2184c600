/* SPDX-License-Identifier: Apache-2.0 */
/* route.c - see route.h */
#include "podnetwork/route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include "podnetwork/link.h"

static bool parse(const struct nlmsghdr *message, int type, size_t header, struct nlattr **tb,
	int max)
{
	return message->nlmsg_type == type &&
	       nlmsg_parse((struct nlmsghdr *)message, (int)header, tb, max, NULL) >= 0;
}

static bool ip_family(int family)
{
	return family == AF_INET || family == AF_INET6;
}

static uint32_t read_u32(struct nlattr *attribute)
{
	return attribute && nla_len(attribute) >= 4 ? nla_get_u32(attribute) : 0;
}

/* IP_NONE where the attribute is missing or short. */
static struct ip_prefix read_ip(struct nlattr *attribute, int family, uint8_t len)
{
	if (!attribute || (size_t)nla_len(attribute) < ip_size(family) || len > ip_bits(family))
		return IP_NONE;
	return ip_prefix_make(family, nla_data(attribute), len);
}

bool address_parse(const struct nlmsghdr *message, struct address *address)
{
	struct nlattr *tb[IFA_MAX + 1];
	if (!parse(message, RTM_NEWADDR, sizeof(struct ifaddrmsg), tb, IFA_MAX))
		return false;
	const struct ifaddrmsg *header = NLMSG_DATA(message);
	if (!ip_family(header->ifa_family))
		return false;
	*address = (struct address){
		.index = (int)header->ifa_index,
		.scope = header->ifa_scope,
		.flags = tb[IFA_FLAGS] ? read_u32(tb[IFA_FLAGS]) : header->ifa_flags,
		.ip = read_ip(tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS], header->ifa_family,
			header->ifa_prefixlen),
	};
	return address->ip.family != 0;
}

/* ---- routes ---- */

static void read_gateway(struct nlattr *gateway, struct nlattr *via, int family,
	struct route *route)
{
	if (gateway) {
		route->gw = read_ip(gateway, family, ip_bits(family));
	} else if (via && (size_t)nla_len(via) >= sizeof(struct rtvia)) {
		/* IPv4 by way of an IPv6 gateway. */
		const struct rtvia *hop = nla_data(via);
		if (ip_family(hop->rtvia_family) &&
			(size_t)nla_len(via) >= sizeof(*hop) + ip_size(hop->rtvia_family))
			route->gw = ip_prefix_make(hop->rtvia_family, hop->rtvia_addr,
				ip_bits(hop->rtvia_family));
	}
}

static void read_nexthops(struct nlattr *multipath, int family, struct route *route)
{
	const uint8_t *bytes = nla_data(multipath);
	size_t left = (size_t)nla_len(multipath);
	bool found = false;
	while (left >= sizeof(struct rtnexthop)) {
		const struct rtnexthop *hop = (const struct rtnexthop *)bytes;
		struct nlattr *tb[RTA_MAX + 1];
		if (hop->rtnh_len < sizeof(*hop) || hop->rtnh_len > left)
			return;
		bool live = !(hop->rtnh_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN));
		/* The first is taken for want of a better one. */
		if ((!found || live) &&
			nla_parse(tb, RTA_MAX, (struct nlattr *)(bytes + sizeof(*hop)),
				(int)(hop->rtnh_len - sizeof(*hop)), NULL) >= 0) {
			route->index = hop->rtnh_ifindex;
			route->flags |= hop->rtnh_flags & RTNH_F_ONLINK;
			route->gw = IP_NONE;
			read_gateway(tb[RTA_GATEWAY], tb[RTA_VIA], family, route);
			found = true;
			if (live)
				return;
		}
		size_t step = NLMSG_ALIGN(hop->rtnh_len);
		if (step > left)
			return;
		bytes += step;
		left -= step;
	}
}

bool route_parse(const struct nlmsghdr *message, struct route *route)
{
	struct nlattr *tb[RTA_MAX + 1], *metrics[RTAX_MAX + 1];
	if (!parse(message, RTM_NEWROUTE, sizeof(struct rtmsg), tb, RTA_MAX))
		return false;
	const struct rtmsg *header = NLMSG_DATA(message);
	int family = header->rtm_family;
	if (!ip_family(family) || header->rtm_dst_len > ip_bits(family))
		return false;
	*route = (struct route){
		.dst = ip_prefix_default(family),
		.src = read_ip(tb[RTA_PREFSRC], family, ip_bits(family)),
		.table = tb[RTA_TABLE] ? read_u32(tb[RTA_TABLE]) : header->rtm_table,
		.metric = read_u32(tb[RTA_PRIORITY]),
		.flags = header->rtm_flags,
		.index = (int)read_u32(tb[RTA_OIF]),
		.protocol = header->rtm_protocol,
		.scope = header->rtm_scope,
		.type = header->rtm_type,
	};
	/* A default route has no RTA_DST. */
	if (tb[RTA_DST])
		route->dst = read_ip(tb[RTA_DST], family, header->rtm_dst_len);
	if (!route->dst.family)
		return false;
	read_gateway(tb[RTA_GATEWAY], tb[RTA_VIA], family, route);
	if (tb[RTA_MULTIPATH])
		read_nexthops(tb[RTA_MULTIPATH], family, route);
	if (tb[RTA_METRICS] && nla_parse_nested(metrics, RTAX_MAX, tb[RTA_METRICS], NULL) >= 0) {
		route->mtu = read_u32(metrics[RTAX_MTU]);
		route->advmss = read_u32(metrics[RTAX_ADVMSS]);
	}
	return true;
}

bool neighbor_parse(const struct nlmsghdr *message, struct neighbor *neighbor)
{
	struct nlattr *tb[NDA_MAX + 1];
	if (!parse(message, RTM_NEWNEIGH, sizeof(struct ndmsg), tb, NDA_MAX))
		return false;
	const struct ndmsg *header = NLMSG_DATA(message);
	if (!ip_family(header->ndm_family))
		return false;
	*neighbor = (struct neighbor){
		.index = header->ndm_ifindex,
		.state = header->ndm_state,
		.ip = read_ip(tb[NDA_DST], header->ndm_family, ip_bits(header->ndm_family)),
	};
	if (tb[NDA_LLADDR] && nla_len(tb[NDA_LLADDR]) == MAC_SIZE) {
		memcpy(neighbor->mac, nla_data(tb[NDA_LLADDR]), MAC_SIZE);
		neighbor->has_mac = true;
	}
	return neighbor->ip.family != 0;
}

/* ---- rules ---- */

/* Attributes that every rule may carry without saying more than struct rule holds. */
static bool rule_attribute_known(int attribute)
{
	switch (attribute) {
	case FRA_DST:
	case FRA_SRC:
	case FRA_IIFNAME:
	case FRA_OIFNAME:
	case FRA_PRIORITY:
	case FRA_FWMARK:
	case FRA_FWMASK:
	case FRA_TABLE:
	case FRA_PROTOCOL:
	case FRA_SUPPRESS_PREFIXLEN: /* looked at by value */
	case FRA_SUPPRESS_IFGROUP:
		return true;
	}
	return false;
}

bool rule_parse(const struct nlmsghdr *message, struct rule *rule)
{
	struct nlattr *tb[FRA_MAX + 1];
	if (!parse(message, RTM_NEWRULE, sizeof(struct fib_rule_hdr), tb, FRA_MAX))
		return false;
	const struct fib_rule_hdr *header = NLMSG_DATA(message);
	int family = header->family;
	if (!ip_family(family))
		return false;
	*rule = (struct rule){
		.family = header->family,
		.from = read_ip(tb[FRA_SRC], family, header->src_len),
		.to = read_ip(tb[FRA_DST], family, header->dst_len),
		.priority = read_u32(tb[FRA_PRIORITY]),
		.table = tb[FRA_TABLE] ? read_u32(tb[FRA_TABLE]) : header->table,
		.mark = read_u32(tb[FRA_FWMARK]),
		.mask = read_u32(tb[FRA_FWMASK]),
		.copyable = header->action == FR_ACT_TO_TBL && !header->tos &&
			    !(header->flags & FIB_RULE_INVERT),
	};
	if (tb[FRA_IIFNAME])
		nla_strlcpy(rule->iif, tb[FRA_IIFNAME], sizeof(rule->iif));
	if (tb[FRA_OIFNAME])
		nla_strlcpy(rule->oif, tb[FRA_OIFNAME], sizeof(rule->oif));
	for (int i = 1; i <= FRA_MAX; i++) {
		if (tb[i] && !rule_attribute_known(i))
			rule->copyable = false;
	}
	const int suppressed[] = {FRA_SUPPRESS_PREFIXLEN, FRA_SUPPRESS_IFGROUP};
	for (size_t i = 0; i < array_size(suppressed); i++) {
		if (tb[suppressed[i]] && read_u32(tb[suppressed[i]]) != UINT32_MAX)
			rule->copyable = false;
	}
	return true;
}

/* ---- lists ---- */

/* Both families of one kind of object into an array; parse_one tells what counts. */
static int list(struct netlink *nl, int type, const char *what,
	bool (*parse_one)(const struct nlmsghdr *message, void *item), size_t size, void **items,
	size_t *count, struct error *err)
{
	static const int families[] = {AF_INET, AF_INET6};
	cleanup(buf_free) struct buf replies = BUF_INIT, parsed = BUF_INIT;
	for (size_t i = 0; i < array_size(families); i++) {
		int errnum = netlink_dump(nl, type, families[i], &replies);
		/* A kernel without IPv6 has none of these. */
		if (errnum && !(families[i] == AF_INET6 &&
				      (errnum == EOPNOTSUPP || errnum == EAFNOSUPPORT)))
			return netlink_error(nl, errnum, err, "list the %s", what);
	}
	const struct nlmsghdr *message;
	*count = 0;
	for (size_t offset = 0; (message = netlink_next(&replies, &offset));) {
		uint8_t *item = buf_reserve(&parsed, size);
		if (!item)
			break;
		if (parse_one(message, item)) {
			parsed.len += size;
			++*count;
		}
	}
	if (parsed.failed || replies.failed)
		return error_set(err, ERROR_CAPACITY, "out of memory for the %s", what);
	*items = take_ptr(parsed.data);
	return 0;
}

#define DEFINE_LIST(type, message_type, what)                                                      \
	static bool type##_parse_one(const struct nlmsghdr *message, void *item)                   \
	{                                                                                          \
		return type##_parse(message, item);                                                \
	}                                                                                          \
	int type##_list(struct netlink *nl, struct type **items, size_t *count, struct error *err) \
	{                                                                                          \
		*items = NULL;                                                                     \
		return list(nl, message_type, what, type##_parse_one, sizeof(struct type),         \
			(void **)items, count, err);                                               \
	}

DEFINE_LIST(address, RTM_GETADDR, "addresses")
DEFINE_LIST(route, RTM_GETROUTE, "routes")
DEFINE_LIST(neighbor, RTM_GETNEIGH, "neighbours")
DEFINE_LIST(rule, RTM_GETRULE, "routing rules")

/* ---- adding and removing ---- */

static int transmit(struct netlink *nl, struct nl_msg *msg, int failed)
{
	if (failed) {
		nlmsg_free(msg);
		return ENOMEM;
	}
	return netlink_talk(nl, msg, NULL);
}

static int put_ip(struct nl_msg *msg, int type, const struct ip_prefix *ip)
{
	return ip->family ? nla_put(msg, type, (int)ip_size(ip->family), ip->bytes) : 0;
}

int address_add(struct netlink *nl, int index, const struct ip_prefix *ip)
{
	const uint32_t flags = IFA_F_NODAD | IFA_F_NOPREFIXROUTE | IFA_F_PERMANENT;
	struct ifaddrmsg header = {
		.ifa_family = ip->family,
		.ifa_prefixlen = ip->len,
		.ifa_flags = (uint8_t)flags,
		.ifa_index = (unsigned int)index,
		.ifa_scope = ip_is_link_local(ip) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
	};
	struct nl_msg *msg =
		netlink_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &header, sizeof(header));
	if (!msg)
		return ENOMEM;
	int failed = put_ip(msg, IFA_LOCAL, ip) || put_ip(msg, IFA_ADDRESS, ip) ||
		     nla_put_u32(msg, IFA_FLAGS, flags);
	/* RFC 3021: a network of two or one has no broadcast address. */
	if (ip->family == AF_INET && ip->len < 31) {
		struct ip_prefix broadcast = *ip;
		for (size_t bit = ip->len; bit < 32; bit++)
			broadcast.bytes[bit / 8] |= (uint8_t)(0x80 >> (bit % 8));
		failed |= put_ip(msg, IFA_BROADCAST, &broadcast);
	}
	return transmit(nl, msg, failed);
}

int address_delete(struct netlink *nl, int index, const struct ip_prefix *ip)
{
	struct ifaddrmsg header = {.ifa_family = ip->family,
		.ifa_prefixlen = ip->len,
		.ifa_index = (unsigned int)index};
	struct nl_msg *msg = netlink_request(RTM_DELADDR, 0, &header, sizeof(header));
	return msg ? transmit(nl, msg, put_ip(msg, IFA_LOCAL, ip)) : ENOMEM;
}

static int put_metrics(struct nl_msg *msg, const struct route *route)
{
	if (!route->mtu && !route->advmss)
		return 0;
	struct nlattr *metrics = nla_nest_start(msg, RTA_METRICS);
	if (!metrics || (route->mtu && nla_put_u32(msg, RTAX_MTU, route->mtu)) ||
		(route->advmss && nla_put_u32(msg, RTAX_ADVMSS, route->advmss)))
		return -1;
	nla_nest_end(msg, metrics);
	return 0;
}

static int put_gateway(struct nl_msg *msg, const struct route *route)
{
	if (!route->gw.family || route->gw.family == route->dst.family)
		return put_ip(msg, RTA_GATEWAY, &route->gw);
	struct {
		uint16_t family;
		uint8_t bytes[16];
	} via = {.family = route->gw.family};
	memcpy(via.bytes, route->gw.bytes, sizeof(via.bytes));
	return nla_put(msg, RTA_VIA, (int)(sizeof(via.family) + ip_size(route->gw.family)), &via);
}

static int send_route(struct netlink *nl, int type, int flags, const struct route *route)
{
	struct rtmsg header = {
		.rtm_family = route->dst.family,
		.rtm_dst_len = route->dst.len,
		.rtm_table = route->table < 256 ? (uint8_t)route->table : RT_TABLE_UNSPEC,
		.rtm_protocol = route->protocol,
		.rtm_scope = route->scope,
		.rtm_type = route->type,
		.rtm_flags = route->flags & RTNH_F_ONLINK,
	};
	struct nl_msg *msg = netlink_request(type, flags, &header, sizeof(header));
	if (!msg)
		return ENOMEM;
	int failed = nla_put_u32(msg, RTA_TABLE, route->table);
	if (!ip_is_default(&route->dst))
		failed |= put_ip(msg, RTA_DST, &route->dst);
	if (route->index)
		failed |= nla_put_u32(msg, RTA_OIF, (uint32_t)route->index);
	if (route->metric)
		failed |= nla_put_u32(msg, RTA_PRIORITY, route->metric);
	failed |= put_gateway(msg, route) || put_ip(msg, RTA_PREFSRC, &route->src) ||
		  put_metrics(msg, route);
	return transmit(nl, msg, failed);
}

int route_add(struct netlink *nl, const struct route *route)
{
	return send_route(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route);
}

int route_delete(struct netlink *nl, const struct route *route)
{
	return send_route(nl, RTM_DELROUTE, 0, route);
}

int neighbor_add(struct netlink *nl, const struct neighbor *neighbor)
{
	struct ndmsg header = {
		.ndm_family = neighbor->ip.family,
		.ndm_ifindex = neighbor->index,
		.ndm_state = neighbor->state,
	};
	struct nl_msg *msg = netlink_request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &header,
		sizeof(header));
	if (!msg)
		return ENOMEM;
	int failed = put_ip(msg, NDA_DST, &neighbor->ip);
	if (neighbor->has_mac)
		failed |= nla_put(msg, NDA_LLADDR, MAC_SIZE, neighbor->mac);
	return transmit(nl, msg, failed);
}

static int send_rule(struct netlink *nl, int type, int flags, const struct rule *rule)
{
	struct fib_rule_hdr header = {
		.family = rule->family,
		.dst_len = rule->to.family ? rule->to.len : 0,
		.src_len = rule->from.family ? rule->from.len : 0,
		.table = rule->table < 256 ? (uint8_t)rule->table : RT_TABLE_UNSPEC,
		.action = FR_ACT_TO_TBL,
	};
	struct nl_msg *msg = netlink_request(type, flags, &header, sizeof(header));
	if (!msg)
		return ENOMEM;
	int failed = nla_put_u32(msg, FRA_PRIORITY, rule->priority) ||
		     nla_put_u32(msg, FRA_TABLE, rule->table) ||
		     put_ip(msg, FRA_SRC, &rule->from) || put_ip(msg, FRA_DST, &rule->to);
	if (rule->iif[0])
		failed |= nla_put_string(msg, FRA_IIFNAME, rule->iif);
	if (rule->oif[0])
		failed |= nla_put_string(msg, FRA_OIFNAME, rule->oif);
	if (rule->mark || rule->mask)
		failed |= nla_put_u32(msg, FRA_FWMARK, rule->mark) ||
			  nla_put_u32(msg, FRA_FWMASK, rule->mask);
	return transmit(nl, msg, failed);
}

int rule_add(struct netlink *nl, const struct rule *rule)
{
	return send_rule(nl, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
}

int rule_delete(struct netlink *nl, const struct rule *rule)
{
	return send_rule(nl, RTM_DELRULE, 0, rule);
}

/* ---- the way to a peer ---- */

int route_lookup(struct netlink *nl, const struct ip_prefix *address, struct route *route)
{
	struct rtmsg header = {.rtm_family = address->family,
		.rtm_dst_len = ip_bits(address->family)};
	struct nl_msg *msg = netlink_request(RTM_GETROUTE, 0, &header, sizeof(header));
	cleanup(buf_free) struct buf replies = BUF_INIT;
	if (!msg)
		return ENOMEM;
	if (put_ip(msg, RTA_DST, address)) {
		nlmsg_free(msg);
		return ENOMEM;
	}
	int errnum = netlink_talk(nl, msg, &replies);
	if (errnum)
		return errnum;
	size_t offset = 0;
	const struct nlmsghdr *message = netlink_next(&replies, &offset);
	if (!message || !route_parse(message, route))
		return EBADMSG;
	/* IPv6 answers with an "unreachable" route instead of an error. */
	return (route->type == RTN_UNICAST || route->type == RTN_LOCAL) && route->index
		       ? 0
		       : ENETUNREACH;
}

int route_path_mtu(struct netlink *nl, const struct ip_prefix *address, uint32_t *mtu,
	struct error *err)
{
	struct route route;
	struct link link;
	char text[IP_TEXT_MAX];
	int errnum = route_lookup(nl, address, &route);
	if (errnum)
		return netlink_error(nl, errnum, err, "find the route to %s",
			ip_address_format(address, text));
	*mtu = route.mtu;
	if (*mtu)
		return 0;
	errnum = link_get_index(nl, route.index, &link);
	if (errnum)
		return netlink_error(nl, errnum, err, "read the interface on the route to %s",
			ip_address_format(address, text));
	*mtu = link.mtu;
	return 0;
}
