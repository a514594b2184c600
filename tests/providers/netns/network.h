/* SPDX-License-Identifier: Apache-2.0 */
/*
 * network.h - the underlay of the netns driver: one bridge per machine, one veth per NIC
 *
 * What exists already is taken as it is, so every call may be repeated.
 */
#ifndef PEERPOD_NETNS_NETWORK_H
#define PEERPOD_NETNS_NETWORK_H

#include <stddef.h>
#include <sys/types.h>
#include "base/error.h"

/* NICs of an instance: eth0, and eth1 where a second one was asked for. */
#define NETWORK_NICS_MAX 2

/* Host end of NIC number nic of this token's instance: at most 15 characters. */
void network_link_name(const char *token, size_t nic, char *name, size_t size);

/* The bridge is there, has this address (CIDR) and is up. */
int network_bridge(const char *bridge, const char *cidr, struct error *err);

/* A veth pair: host_end in the bridge, the other end as guest_end in the network namespace of pid. */
int network_attach(const char *bridge, const char *host_end, pid_t pid, const char *guest_end,
	struct error *err);

/* Removes a link; one that is gone is fine. */
int network_remove(const char *name, struct error *err);

/*
 * In the caller's network namespace: the link is up with this address (CIDR), and gateway, where there
 * is one, is the default route. Used for "lo" with cidr NULL. mtu 0: as it is.
 */
int network_configure(const char *name, const char *cidr, const char *gateway, unsigned mtu,
	struct error *err);

#endif
