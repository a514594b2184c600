/* SPDX-License-Identifier: Apache-2.0 */
/*
 * route.h - addresses, routes, neighbours and rules of a netns: reading, adding, removing
 *
 * As in link.h, functions that send return 0 or a positive errno.
 */
#ifndef PEERPOD_PODNETWORK_ROUTE_H
#define PEERPOD_PODNETWORK_ROUTE_H

#include "podnetwork/ip.h"
#include "podnetwork/netlink.h"

struct address {
	int index;      /* of the interface */
	uint32_t flags; /* IFA_F_SECONDARY ... */
	uint8_t scope;
	struct ip_prefix ip; /* the local one, where there is a peer */
};

struct route {
	struct ip_prefix dst, gw, src; /* gw, src: family 0 where there is none */
	uint32_t table, metric, mtu, advmss;
	uint32_t flags; /* RTNH_F_ONLINK, RTM_F_CLONED ... */
	int index;      /* of the interface; 0: none */
	uint8_t protocol, scope, type;
};

struct neighbor {
	struct ip_prefix ip;
	int index;
	uint16_t state;
	uint8_t mac[MAC_SIZE];
	bool has_mac;
};

struct rule {
	struct ip_prefix from, to; /* family 0: any */
	char iif[IFNAMSIZ], oif[IFNAMSIZ];
	uint32_t priority, table, mark, mask;
	uint8_t family;
	bool copyable; /* says nothing but what is above */
};

/*
 * One message each; false where it is malformed or of another type. Of several next hops the first
 * live one counts.
 */
bool address_parse(const struct nlmsghdr *message, struct address *address);
bool route_parse(const struct nlmsghdr *message, struct route *route);
bool neighbor_parse(const struct nlmsghdr *message, struct neighbor *neighbor);
bool rule_parse(const struct nlmsghdr *message, struct rule *rule);

/* Lists of all of both families, in dump order, IPv4 first; owned by the caller. -1 with err. */
int address_list(struct netlink *nl, struct address **list, size_t *count, struct error *err);
int route_list(struct netlink *nl, struct route **list, size_t *count, struct error *err);
int neighbor_list(struct netlink *nl, struct neighbor **list, size_t *count, struct error *err);
int rule_list(struct netlink *nl, struct rule **list, size_t *count, struct error *err);

/*
 * Adds or replaces. Addresses come without a route of their own and without duplicate address
 * detection (the pod owns its address; nobody may use it while it waits).
 */
int address_add(struct netlink *nl, int index, const struct ip_prefix *ip);
int address_delete(struct netlink *nl, int index, const struct ip_prefix *ip);
int route_add(struct netlink *nl, const struct route *route);
int route_delete(struct netlink *nl, const struct route *route);
int neighbor_add(struct netlink *nl, const struct neighbor *neighbor);
int rule_add(struct netlink *nl, const struct rule *rule);
int rule_delete(struct netlink *nl, const struct rule *rule);

/* Which way packets to this address go. ENETUNREACH where there is none. */
int route_lookup(struct netlink *nl, const struct ip_prefix *address, struct route *route);

/* The MTU of that way: the route's own, or that of its interface. -1 with err. */
int route_path_mtu(struct netlink *nl, const struct ip_prefix *address, uint32_t *mtu,
	struct error *err);

#endif
