/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interface.c - see interface.h. Over netlink; every call opens its own socket, because calls are few
 * and some are made in a child that is in another network namespace.
 */
#include "interface.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <stdio.h>
#include <string.h>

DEFINE_CLEANUP(struct nl_sock, nl_socket_free)
DEFINE_CLEANUP(struct nl_cache, nl_cache_free)
DEFINE_CLEANUP(struct nl_addr, nl_addr_put)
DEFINE_CLEANUP(struct rtnl_link, rtnl_link_put)
DEFINE_CLEANUP(struct rtnl_addr, rtnl_addr_put)
DEFINE_CLEANUP(struct rtnl_route, rtnl_route_put)

static int failed(struct error *err, int code, const char *name, const char *what)
{
	return error_set(err, ERROR_INTERNAL, "interface %s: %s: %s", name, what,
		nl_geterror(code));
}

static struct nl_sock *connect_netlink(const char *name, struct error *err)
{
	cleanup(nl_socket_free_ptr) struct nl_sock *sock = nl_socket_alloc();
	if (!sock) {
		error_set(err, ERROR_CAPACITY, "interface %s: out of memory", name);
		return NULL;
	}
	int code = nl_connect(sock, NETLINK_ROUTE);
	if (code < 0) {
		failed(err, code, name, "open netlink");
		return NULL;
	}
	return take_ptr(sock);
}

static struct rtnl_link *get_link(struct nl_sock *sock, const char *name, struct error *err)
{
	struct rtnl_link *link = NULL;
	int code = rtnl_link_get_kernel(sock, 0, name, &link);
	if (code == -NLE_NODEV || code == -NLE_OBJ_NOTFOUND) {
		error_set(err, ERROR_GONE, "interface %s does not exist", name);
		return NULL;
	}
	if (code < 0) {
		failed(err, code, name, "look up");
		return NULL;
	}
	return link;
}

/* Applies flags (0: none) and an MTU (0: unchanged). */
static int change_link(const char *name, unsigned int flags, int mtu, struct error *err)
{
	cleanup(nl_socket_free_ptr) struct nl_sock *sock = connect_netlink(name, err);
	if (!sock)
		return -1;
	cleanup(rtnl_link_put_ptr) struct rtnl_link *link = get_link(sock, name, err);
	if (!link)
		return -1;
	cleanup(rtnl_link_put_ptr) struct rtnl_link *change = rtnl_link_alloc();
	if (!change)
		return error_set(err, ERROR_CAPACITY, "interface %s: out of memory", name);
	if (flags)
		rtnl_link_set_flags(change, flags);
	if (mtu)
		rtnl_link_set_mtu(change, (unsigned int)mtu);
	int code = rtnl_link_change(sock, link, change, 0);
	return code < 0 ? failed(err, code, name, mtu ? "set the MTU" : "bring up") : 0;
}

int interface_up(const char *name, struct error *err)
{
	return change_link(name, IFF_UP, 0, err);
}

int interface_set_mtu(const char *name, int mtu, struct error *err)
{
	return mtu > 0 ? change_link(name, 0, mtu, err) : 0;
}

int interface_first(char *name, size_t size, struct error *err)
{
	cleanup(nl_socket_free_ptr) struct nl_sock *sock = connect_netlink("(first)", err);
	if (!sock)
		return -1;
	cleanup(nl_cache_free_ptr) struct nl_cache *links = NULL;
	int code = rtnl_link_alloc_cache(sock, AF_UNSPEC, &links);
	if (code < 0)
		return failed(err, code, "(first)", "list");
	int best = 0;
	for (struct nl_object *o = nl_cache_get_first(links); o; o = nl_cache_get_next(o)) {
		struct rtnl_link *link = (struct rtnl_link *)o;
		int index = rtnl_link_get_ifindex(link);
		if (rtnl_link_get_arptype(link) != ARPHRD_ETHER || (best && index > best))
			continue;
		best = index;
		snprintf(name, size, "%s", rtnl_link_get_name(link));
	}
	if (!best)
		return error_set(err, ERROR_GONE, "the machine has no network interface");
	return 0;
}

int interface_add_address(const char *name, const char *cidr, struct error *err)
{
	cleanup(nl_socket_free_ptr) struct nl_sock *sock = connect_netlink(name, err);
	if (!sock)
		return -1;
	cleanup(rtnl_link_put_ptr) struct rtnl_link *link = get_link(sock, name, err);
	if (!link)
		return -1;
	cleanup(nl_addr_put_ptr) struct nl_addr *local = NULL;
	if (nl_addr_parse(cidr, AF_UNSPEC, &local) < 0)
		return error_set(err, ERROR_INVALID, "interface %s: \"%s\" is not an address", name,
			cidr);
	cleanup(rtnl_addr_put_ptr) struct rtnl_addr *address = rtnl_addr_alloc();
	if (!address)
		return error_set(err, ERROR_CAPACITY, "interface %s: out of memory", name);
	rtnl_addr_set_ifindex(address, rtnl_link_get_ifindex(link));
	rtnl_addr_set_local(address, local);
	int code = rtnl_addr_add(sock, address, NLM_F_REPLACE);
	return code < 0 ? failed(err, code, name, cidr) : 0;
}

int interface_flush(const char *name, struct error *err)
{
	cleanup(nl_socket_free_ptr) struct nl_sock *sock = connect_netlink(name, err);
	if (!sock)
		return -1;
	cleanup(rtnl_link_put_ptr) struct rtnl_link *link = get_link(sock, name, err);
	if (!link)
		return -1;
	cleanup(nl_cache_free_ptr) struct nl_cache *addresses = NULL;
	int code = rtnl_addr_alloc_cache(sock, &addresses);
	if (code < 0)
		return failed(err, code, name, "list addresses");
	for (struct nl_object *o = nl_cache_get_first(addresses); o; o = nl_cache_get_next(o)) {
		struct rtnl_addr *address = (struct rtnl_addr *)o;
		if (rtnl_addr_get_ifindex(address) != rtnl_link_get_ifindex(link) ||
			rtnl_addr_get_family(address) != AF_INET)
			continue;
		code = rtnl_addr_delete(sock, address, 0);
		if (code < 0 && code != -NLE_NOADDR)
			return failed(err, code, name, "remove an address");
	}
	return 0;
}

int interface_set_gateway(const char *name, const char *gateway, struct error *err)
{
	cleanup(nl_socket_free_ptr) struct nl_sock *sock = connect_netlink(name, err);
	if (!sock)
		return -1;
	cleanup(rtnl_link_put_ptr) struct rtnl_link *link = get_link(sock, name, err);
	if (!link)
		return -1;
	cleanup(nl_addr_put_ptr) struct nl_addr *via = NULL;
	if (nl_addr_parse(gateway, AF_UNSPEC, &via) < 0)
		return error_set(err, ERROR_INVALID, "interface %s: \"%s\" is not a gateway", name,
			gateway);
	int family = nl_addr_get_family(via);
	cleanup(nl_addr_put_ptr) struct nl_addr *any = NULL;
	cleanup(rtnl_route_put_ptr) struct rtnl_route *route = rtnl_route_alloc();
	if (nl_addr_parse("default", family, &any) < 0 || !route)
		return error_set(err, ERROR_CAPACITY, "interface %s: out of memory", name);
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
	if (!hop)
		return error_set(err, ERROR_CAPACITY, "interface %s: out of memory", name);
	rtnl_route_nh_set_ifindex(hop, rtnl_link_get_ifindex(link));
	rtnl_route_nh_set_gateway(hop, via);
	rtnl_route_add_nexthop(route, hop);
	rtnl_route_set_family(route, (uint8_t)family);
	rtnl_route_set_dst(route, any);
	rtnl_route_set_protocol(route, RTPROT_DHCP);
	int code = rtnl_route_add(sock, route, NLM_F_REPLACE);
	return code < 0 ? failed(err, code, name, "set the default route") : 0;
}
