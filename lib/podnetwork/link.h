/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - network devices: reading them, and making the two kinds that a tunnel is made of
 *
 * Functions that send return 0 or a positive errno (the kernel's words are in nl->text), so that
 * callers can tell "exists" from "gone"; netlink_error makes an error of it.
 */
#ifndef PEERPOD_PODNETWORK_LINK_H
#define PEERPOD_PODNETWORK_LINK_H

#include "podnetwork/ip.h"
#include "podnetwork/netlink.h"

#define LINK_KIND_MAX 16
#define LINK_ALIAS_MAX 256 /* the kernel's IFALIASZ */

struct link {
	int index;
	unsigned int flags; /* IFF_UP ... */
	uint32_t mtu;
	char name[IFNAMSIZ], kind[LINK_KIND_MAX], alias[LINK_ALIAS_MAX];
	uint8_t mac[MAC_SIZE];
	bool has_mac;
	int master;    /* bridge or the like; 0: none */
	int lower;     /* IFLA_LINK: the peer of a veth, the lower device of a macvlan; 0: none */
	int32_t netns; /* IFLA_LINK_NETNSID: where lower lives, a VXLAN device was made; -1: here */
	/* kind "vxlan": */
	uint32_t vni;
	uint16_t port;
	struct ip_prefix remote, local;
};

/* One RTM_NEWLINK message. false where it is malformed or something else. */
bool link_parse(const struct nlmsghdr *message, struct link *link);

/* All links of the netns, in dump order. *links is owned by the caller. -1 with err. */
int link_list(struct netlink *nl, struct link **links, size_t *count, struct error *err);
/* ENODEV where there is none. */
int link_get(struct netlink *nl, const char *name, struct link *link);
int link_get_index(struct netlink *nl, int index, struct link *link);

struct vxlan_plan {
	const char *name;
	uint32_t vni, mtu; /* mtu 0: the kernel's choice */
	uint16_t port;
	struct ip_prefix remote, local; /* family 0: none yet */
	bool no_checksum;               /* UDP checksum 0 in outer packets */
};

/*
 * Makes the device, down. Sent from the root netns, whose routes and sockets it will use for life;
 * it appears in target_fd (-1: there as well).
 */
int link_add_vxlan(struct netlink *root, int target_fd, const struct vxlan_plan *plan);
/* Points it elsewhere; also while it is up. The family cannot change. */
int link_set_remote(struct netlink *nl, int index, const struct ip_prefix *remote,
	const struct ip_prefix *local);

/* A macvlan (private) on top of lower_index of this netns, made in target_fd, down. */
int link_add_macvlan(struct netlink *root, int target_fd, const char *name, int lower_index,
	const uint8_t mac[MAC_SIZE], uint32_t mtu);

/* What may be changed; zero, NULL or false: leave it. The device must be down for a new name. */
struct link_change {
	const char *name, *alias;
	const uint8_t *mac;
	uint32_t mtu;
	bool no_ipv6_autoconf; /* no link-local address of its own, so no IPv6 noise */
	bool up, down;
	const int *netns_fd; /* move there */
};
int link_change(struct netlink *nl, int index, const struct link_change *change);

int link_delete(struct netlink *nl, int index);

/* The id that this netns uses for another one in IFLA_LINK_NETNSID; -1: none. */
int32_t link_netns_id(struct netlink *nl, int netns_fd);

#endif
