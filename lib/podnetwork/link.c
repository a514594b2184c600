/* SPDX-License-Identifier: Apache-2.0 */
/* link.c - see link.h */
#include "podnetwork/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <string.h>

/* ---- reading ---- */

static void read_text(const struct nlattr *attribute, char *text, size_t size)
{
	text[0] = 0;
	if (attribute)
		nla_strlcpy(text, attribute, size);
}

static uint32_t read_u32(const struct nlattr *attribute)
{
	return attribute && nla_len(attribute) >= 4 ? nla_get_u32(attribute) : 0;
}

static struct ip_prefix read_address(struct nlattr *v4, struct nlattr *v6)
{
	static const uint8_t any[16];
	struct nlattr *attribute = v6 ? v6 : v4;
	int family = v6 ? AF_INET6 : AF_INET;
	if (!attribute || (size_t)nla_len(attribute) < ip_size(family) ||
		!memcmp(nla_data(attribute), any, ip_size(family)))
		return IP_NONE;
	return ip_prefix_make(family, nla_data(attribute), ip_bits(family));
}

static void read_vxlan(struct nlattr *data, struct link *link)
{
	struct nlattr *tb[IFLA_VXLAN_MAX + 1];
	if (!data || nla_parse_nested(tb, IFLA_VXLAN_MAX, data, NULL) < 0)
		return;
	link->vni = read_u32(tb[IFLA_VXLAN_ID]);
	if (tb[IFLA_VXLAN_PORT] && nla_len(tb[IFLA_VXLAN_PORT]) >= 2)
		link->port = ntohs(nla_get_u16(tb[IFLA_VXLAN_PORT]));
	link->remote = read_address(tb[IFLA_VXLAN_GROUP], tb[IFLA_VXLAN_GROUP6]);
	link->local = read_address(tb[IFLA_VXLAN_LOCAL], tb[IFLA_VXLAN_LOCAL6]);
}

bool link_parse(const struct nlmsghdr *message, struct link *link)
{
	struct nlattr *tb[IFLA_MAX + 1], *info[IFLA_INFO_MAX + 1];
	if (message->nlmsg_type != RTM_NEWLINK ||
		nlmsg_parse((struct nlmsghdr *)message, sizeof(struct ifinfomsg), tb, IFLA_MAX,
			NULL) < 0)
		return false;
	const struct ifinfomsg *header = NLMSG_DATA(message);
	*link = (struct link){.index = header->ifi_index, .flags = header->ifi_flags, .netns = -1};
	read_text(tb[IFLA_IFNAME], link->name, sizeof(link->name));
	read_text(tb[IFLA_IFALIAS], link->alias, sizeof(link->alias));
	link->mtu = read_u32(tb[IFLA_MTU]);
	link->master = (int)read_u32(tb[IFLA_MASTER]);
	link->lower = (int)read_u32(tb[IFLA_LINK]);
	if (tb[IFLA_LINK_NETNSID] && nla_len(tb[IFLA_LINK_NETNSID]) >= 4)
		link->netns = (int32_t)nla_get_u32(tb[IFLA_LINK_NETNSID]);
	if (tb[IFLA_ADDRESS] && nla_len(tb[IFLA_ADDRESS]) == MAC_SIZE) {
		memcpy(link->mac, nla_data(tb[IFLA_ADDRESS]), MAC_SIZE);
		link->has_mac = true;
	}
	if (tb[IFLA_LINKINFO] &&
		nla_parse_nested(info, IFLA_INFO_MAX, tb[IFLA_LINKINFO], NULL) == 0) {
		read_text(info[IFLA_INFO_KIND], link->kind, sizeof(link->kind));
		if (!strcmp(link->kind, "vxlan"))
			read_vxlan(info[IFLA_INFO_DATA], link);
	}
	return link->index > 0 && link->name[0];
}

int link_list(struct netlink *nl, struct link **links, size_t *count, struct error *err)
{
	cleanup(buf_free) struct buf replies = BUF_INIT;
	*links = NULL;
	*count = 0;
	int errnum = netlink_dump(nl, RTM_GETLINK, AF_UNSPEC, &replies);
	if (errnum)
		return netlink_error(nl, errnum, err, "list the network interfaces");
	const struct nlmsghdr *message;
	for (size_t offset = 0; (message = netlink_next(&replies, &offset));) {
		struct link link;
		if (!link_parse(message, &link))
			continue;
		struct link *grown = reallocarray(*links, *count + 1, sizeof(link));
		if (!grown) {
			free(*links);
			*links = NULL;
			return error_set(err, ERROR_CAPACITY,
				"out of memory for network interfaces");
		}
		*links = grown;
		grown[(*count)++] = link;
	}
	return 0;
}

static int get(struct netlink *nl, struct nl_msg *msg, struct link *link)
{
	cleanup(buf_free) struct buf replies = BUF_INIT;
	int errnum = netlink_talk(nl, msg, &replies);
	if (errnum)
		return errnum;
	size_t offset = 0;
	const struct nlmsghdr *message = netlink_next(&replies, &offset);
	return message && link_parse(message, link) ? 0 : EBADMSG;
}

/* Frees the message where an attribute did not fit: "no memory" then comes from netlink_talk. */
static struct nl_msg *finish(struct nl_msg *msg, int failed)
{
	if (msg && failed) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

int link_get(struct netlink *nl, const char *name, struct link *link)
{
	struct ifinfomsg header = {0};
	struct nl_msg *msg = netlink_request(RTM_GETLINK, 0, &header, sizeof(header));
	return get(nl, finish(msg, msg && nla_put_string(msg, IFLA_IFNAME, name)), link);
}

int link_get_index(struct netlink *nl, int index, struct link *link)
{
	struct ifinfomsg header = {.ifi_index = index};
	return get(nl, netlink_request(RTM_GETLINK, 0, &header, sizeof(header)), link);
}

/* ---- changing ---- */

static int put_address(struct nl_msg *msg, const struct ip_prefix *address, int v4, int v6)
{
	if (!address->family)
		return 0;
	return nla_put(msg, address->family == AF_INET ? v4 : v6, (int)ip_size(address->family),
		address->bytes);
}

int link_add_vxlan(struct netlink *root, int target_fd, const struct vxlan_plan *plan)
{
	struct ifinfomsg header = {0};
	struct nl_msg *msg =
		netlink_request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	struct nlattr *info, *data;
	if (!msg)
		return ENOMEM;
	int failed = nla_put_string(msg, IFLA_IFNAME, plan->name);
	if (plan->mtu)
		failed |= nla_put_u32(msg, IFLA_MTU, plan->mtu);
	if (target_fd >= 0)
		failed |= nla_put_u32(msg, IFLA_NET_NS_FD, (uint32_t)target_fd);
	info = nla_nest_start(msg, IFLA_LINKINFO);
	failed |= !info || nla_put_string(msg, IFLA_INFO_KIND, "vxlan");
	data = nla_nest_start(msg, IFLA_INFO_DATA);
	failed |= !data || nla_put_u32(msg, IFLA_VXLAN_ID, plan->vni) ||
		  put_address(msg, &plan->remote, IFLA_VXLAN_GROUP, IFLA_VXLAN_GROUP6) ||
		  put_address(msg, &plan->local, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6) ||
		  /* All frames go to the one remote; nothing is learned from what others send. */
		  nla_put_u8(msg, IFLA_VXLAN_LEARNING, 0) ||
		  nla_put_u8(msg, IFLA_VXLAN_UDP_CSUM, !plan->no_checksum) ||
		  nla_put_u8(msg, IFLA_VXLAN_UDP_ZERO_CSUM6_TX, plan->no_checksum) ||
		  nla_put_u8(msg, IFLA_VXLAN_UDP_ZERO_CSUM6_RX, plan->no_checksum) ||
		  nla_put_u16(msg, IFLA_VXLAN_PORT, htons(plan->port));
	if (!failed) {
		nla_nest_end(msg, data);
		nla_nest_end(msg, info);
	}
	return netlink_talk(root, finish(msg, failed), NULL);
}

int link_set_remote(struct netlink *nl, int index, const struct ip_prefix *remote,
	const struct ip_prefix *local)
{
	struct ifinfomsg header = {.ifi_index = index};
	struct nl_msg *msg = netlink_request(RTM_NEWLINK, 0, &header, sizeof(header));
	struct nlattr *info, *data;
	if (!msg)
		return ENOMEM;
	info = nla_nest_start(msg, IFLA_LINKINFO);
	int failed = !info || nla_put_string(msg, IFLA_INFO_KIND, "vxlan");
	data = nla_nest_start(msg, IFLA_INFO_DATA);
	failed |= !data || put_address(msg, remote, IFLA_VXLAN_GROUP, IFLA_VXLAN_GROUP6) ||
		  put_address(msg, local, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6);
	if (!failed) {
		nla_nest_end(msg, data);
		nla_nest_end(msg, info);
	}
	return netlink_talk(nl, finish(msg, failed), NULL);
}

int link_add_macvlan(struct netlink *root, int target_fd, const char *name, int lower_index,
	const uint8_t mac[MAC_SIZE], uint32_t mtu)
{
	struct ifinfomsg header = {0};
	struct nl_msg *msg =
		netlink_request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));
	struct nlattr *info, *data;
	if (!msg)
		return ENOMEM;
	int failed = nla_put_string(msg, IFLA_IFNAME, name) ||
		     nla_put(msg, IFLA_ADDRESS, MAC_SIZE, mac) || nla_put_u32(msg, IFLA_MTU, mtu) ||
		     nla_put_u32(msg, IFLA_LINK, (uint32_t)lower_index) ||
		     nla_put_u32(msg, IFLA_NET_NS_FD, (uint32_t)target_fd);
	info = nla_nest_start(msg, IFLA_LINKINFO);
	failed |= !info || nla_put_string(msg, IFLA_INFO_KIND, "macvlan");
	data = nla_nest_start(msg, IFLA_INFO_DATA);
	failed |= !data || nla_put_u32(msg, IFLA_MACVLAN_MODE, MACVLAN_MODE_PRIVATE);
	if (!failed) {
		nla_nest_end(msg, data);
		nla_nest_end(msg, info);
	}
	return netlink_talk(root, finish(msg, failed), NULL);
}

/* IFLA_AF_SPEC { AF_INET6 { addr_gen_mode none } } */
static int put_no_autoconf(struct nl_msg *msg)
{
	struct nlattr *spec = nla_nest_start(msg, IFLA_AF_SPEC);
	struct nlattr *inet6 = spec ? nla_nest_start(msg, AF_INET6) : NULL;
	if (!inet6 || nla_put_u8(msg, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE))
		return -1;
	nla_nest_end(msg, inet6);
	nla_nest_end(msg, spec);
	return 0;
}

int link_change(struct netlink *nl, int index, const struct link_change *change)
{
	/* Of one message the kernel does "up" first, and the noise would be out. */
	if (change->up && change->no_ipv6_autoconf) {
		struct link_change before = *change, after = {.up = true};
		before.up = false;
		int failed_before = link_change(nl, index, &before);
		return failed_before ? failed_before : link_change(nl, index, &after);
	}
	struct ifinfomsg header = {
		.ifi_index = index,
		.ifi_flags = change->up ? IFF_UP : 0,
		.ifi_change = change->up || change->down ? IFF_UP : 0,
	};
	struct nl_msg *msg = netlink_request(RTM_SETLINK, 0, &header, sizeof(header));
	if (!msg)
		return ENOMEM;
	int failed = 0;
	if (change->netns_fd)
		failed |= nla_put_u32(msg, IFLA_NET_NS_FD, (uint32_t)*change->netns_fd);
	if (change->name)
		failed |= nla_put_string(msg, IFLA_IFNAME, change->name);
	if (change->alias)
		failed |= nla_put_string(msg, IFLA_IFALIAS, change->alias);
	if (change->mac)
		failed |= nla_put(msg, IFLA_ADDRESS, MAC_SIZE, change->mac);
	if (change->mtu)
		failed |= nla_put_u32(msg, IFLA_MTU, change->mtu);
	if (change->no_ipv6_autoconf)
		failed |= put_no_autoconf(msg);
	int errnum = netlink_talk(nl, finish(msg, failed), NULL);
	/* A kernel without IPv6 makes no IPv6 noise: again without that part. */
	if (errnum == EAFNOSUPPORT && change->no_ipv6_autoconf) {
		struct link_change rest = *change;
		rest.no_ipv6_autoconf = false;
		return link_change(nl, index, &rest);
	}
	return errnum;
}

int link_delete(struct netlink *nl, int index)
{
	struct ifinfomsg header = {.ifi_index = index};
	return netlink_talk(nl, netlink_request(RTM_DELLINK, 0, &header, sizeof(header)), NULL);
}

int32_t link_netns_id(struct netlink *nl, int netns_fd)
{
	struct rtgenmsg header = {0};
	cleanup(buf_free) struct buf replies = BUF_INIT;
	struct nl_msg *msg = netlink_request(RTM_GETNSID, 0, &header, sizeof(header));
	struct nlattr *tb[NETNSA_MAX + 1];
	msg = finish(msg, msg && nla_put_u32(msg, NETNSA_FD, (uint32_t)netns_fd));
	if (netlink_talk(nl, msg, &replies))
		return -1;
	size_t offset = 0;
	const struct nlmsghdr *message = netlink_next(&replies, &offset);
	if (!message ||
		nlmsg_parse((struct nlmsghdr *)message, sizeof(header), tb, NETNSA_MAX, NULL) < 0 ||
		!tb[NETNSA_NSID] || nla_len(tb[NETNSA_NSID]) < 4)
		return -1;
	return nla_get_s32(tb[NETNSA_NSID]);
}
