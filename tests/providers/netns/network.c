/* SPDX-License-Identifier: Apache-2.0 */
/* network.c - see network.h. Over netlink; every function opens a socket in the caller's netns. */
#include "network.h"

#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <stdio.h>

DEFINE_CLEANUP(struct nl_sock, nl_socket_free)
DEFINE_CLEANUP(struct nl_addr, nl_addr_put)
DEFINE_CLEANUP(struct rtnl_addr, rtnl_addr_put)
DEFINE_CLEANUP(struct rtnl_link, rtnl_link_put)
DEFINE_CLEANUP(struct rtnl_route, rtnl_route_put)

static struct nl_sock *netlink_open(struct error *err)
{
	struct nl_sock *sock = nl_socket_alloc();
	int rc = sock ? nl_connect(sock, NETLINK_ROUTE) : -NLE_NOMEM;
	if (rc == 0)
		return sock;
	error_set(err, ERROR_INTERNAL, "netlink: %s", nl_geterror(rc));
	if (sock)
		nl_socket_free(sock);
	return NULL;
}

static int netlink_failed(struct error *err, int rc, const char *doing, const char *name)
{
	enum error_kind kind =
		rc == -NLE_PERM || rc == -NLE_NOACCESS ? ERROR_DENIED : ERROR_INTERNAL;
	return error_set(err, kind, "%s %s: %s", doing, name, nl_geterror(rc));
}

void network_link_name(const char *token, size_t nic, char *name, size_t size)
{
	snprintf(name, size, "ni%zu%.11s", nic, token);
}

/* Index of a link, 0 where there is none. */
static int link_index(struct nl_sock *sock, const char *name)
{
	struct rtnl_link *link = NULL;
	if (rtnl_link_get_kernel(sock, 0, name, &link) < 0)
		return 0;
	int index = rtnl_link_get_ifindex(link);
	rtnl_link_put(link);
	return index;
}

static int link_up(struct nl_sock *sock, int index, int master, unsigned mtu, const char *name,
	struct error *err)
{
	cleanup(rtnl_link_put_ptr) struct rtnl_link *change = rtnl_link_alloc();
	if (!change)
		return netlink_failed(err, -NLE_NOMEM, "set up", name);
	rtnl_link_set_ifindex(change, index);
	if (master)
		rtnl_link_set_master(change, master);
	if (mtu)
		rtnl_link_set_mtu(change, mtu);
	rtnl_link_set_flags(change, IFF_UP);
	int rc = rtnl_link_change(sock, change, change, 0);
	return rc < 0 ? netlink_failed(err, rc, "set up", name) : 0;
}

static int add_address(struct nl_sock *sock, int index, const char *cidr, struct error *err)
{
	cleanup(nl_addr_put_ptr) struct nl_addr *local = NULL;
	int rc = nl_addr_parse(cidr, AF_INET, &local);
	if (rc < 0)
		return error_set(err, ERROR_INVALID, "address %s: %s", cidr, nl_geterror(rc));
	cleanup(rtnl_addr_put_ptr) struct rtnl_addr *addr = rtnl_addr_alloc();
	if (!addr)
		return netlink_failed(err, -NLE_NOMEM, "add address", cidr);
	rtnl_addr_set_ifindex(addr, index);
	rtnl_addr_set_local(addr, local);
	rc = rtnl_addr_add(sock, addr, 0);
	return rc < 0 && rc != -NLE_EXIST ? netlink_failed(err, rc, "add address", cidr) : 0;
}

int network_bridge(const char *bridge, const char *cidr, struct error *err)
{
	cleanup(nl_socket_free_ptr) struct nl_sock *sock = netlink_open(err);
	if (!sock)
		return -1;
	int rc = link_index(sock, bridge) ? 0 : rtnl_link_bridge_add(sock, bridge);
	if (rc < 0 && rc != -NLE_EXIST) /* EXIST: somebody else was faster */
		return netlink_failed(err, rc, "make bridge", bridge);
	int index = link_index(sock, bridge);
	if (!index)
		return error_set(err, ERROR_RETRY, "bridge %s is gone again", bridge);
	if (add_address(sock, index, cidr, err) < 0)
		return error_prefix(err, "bridge %s", bridge);
	return link_up(sock, index, 0, 0, bridge, err);
}

int network_attach(const char *bridge, const char *host_end, pid_t pid, const char *guest_end,
	struct error *err)
{
	cleanup(nl_socket_free_ptr) struct nl_sock *sock = netlink_open(err);
	if (!sock)
		return -1;
	int master = link_index(sock, bridge);
	if (!master)
		return error_set(err, ERROR_RETRY, "bridge %s is missing", bridge);
	int rc = rtnl_link_veth_add(sock, host_end, guest_end, pid);
	if (rc < 0)
		return netlink_failed(err, rc, "make link", host_end);
	return link_up(sock, link_index(sock, host_end), master, 0, host_end, err);
}

int network_remove(const char *name, struct error *err)
{
	cleanup(nl_socket_free_ptr) struct nl_sock *sock = netlink_open(err);
	if (!sock)
		return -1;
	int index = link_index(sock, name);
	if (!index)
		return 0;
	cleanup(rtnl_link_put_ptr) struct rtnl_link *link = rtnl_link_alloc();
	if (!link)
		return netlink_failed(err, -NLE_NOMEM, "remove link", name);
	rtnl_link_set_ifindex(link, index);
	int rc = rtnl_link_delete(sock, link);
	/* The kernel removes it by itself when the instance's namespace goes. */
	return rc < 0 && rc != -NLE_NODEV && rc != -NLE_OBJ_NOTFOUND
		       ? netlink_failed(err, rc, "remove link", name)
		       : 0;
}

static int add_default_route(struct nl_sock *sock, int index, const char *gateway,
	struct error *err)
{
	cleanup(nl_addr_put_ptr) struct nl_addr *via = NULL, *any = NULL;
	int rc = nl_addr_parse(gateway, AF_INET, &via);
	if (rc == 0)
		rc = nl_addr_parse("default", AF_INET, &any);
	if (rc < 0)
		return error_set(err, ERROR_INVALID, "gateway %s: %s", gateway, nl_geterror(rc));
	cleanup(rtnl_route_put_ptr) struct rtnl_route *route = rtnl_route_alloc();
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
	if (!route || !hop)
		return netlink_failed(err, -NLE_NOMEM, "add default route via", gateway);
	rtnl_route_nh_set_ifindex(hop, index);
	rtnl_route_nh_set_gateway(hop, via);
	rtnl_route_set_family(route, AF_INET);
	rtnl_route_set_dst(route, any);
	rtnl_route_add_nexthop(route, hop);
	rc = rtnl_route_add(sock, route, NLM_F_EXCL);
	return rc < 0 && rc != -NLE_EXIST
		       ? netlink_failed(err, rc, "add default route via", gateway)
		       : 0;
}

int network_configure(const char *name, const char *cidr, const char *gateway, unsigned mtu,
	struct error *err)
{
	cleanup(nl_socket_free_ptr) struct nl_sock *sock = netlink_open(err);
	if (!sock)
		return -1;
	int index = link_index(sock, name);
	if (!index)
		return error_set(err, ERROR_INTERNAL, "link %s is missing", name);
	if (cidr && add_address(sock, index, cidr, err) < 0)
		return -1;
	if (link_up(sock, index, 0, mtu, name, err) < 0)
		return -1;
	return gateway ? add_default_route(sock, index, gateway, err) : 0;
}
