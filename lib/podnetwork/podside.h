/* SPDX-License-Identifier: Apache-2.0 */
/*
 * podside.h - addresses, routes, neighbours and rules of the pod's interface in the pod VM
 */
#ifndef PEERPOD_PODNETWORK_PODSIDE_H
#define PEERPOD_PODNETWORK_PODSIDE_H

#include "podnetwork/netlink.h"
#include "podnetwork/podnetwork.h"

bool podside_has_ipv6(const struct podnetwork *network);

/*
 * Makes the interface (down or up, with whatever is on it) what network says, and raises it and
 * lo.
 */
int podside_configure(struct netlink *pod, int index, const struct podnetwork *network,
	uint32_t mtu, struct error *err);

/* Removes what does not go with the interface: the routing rules. */
int podside_clear(struct netlink *pod, const struct podnetwork *network, struct error *err);

#endif
