/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapshot.h - all of a netns' network at one moment, and which interface and address matter in it
 */
#ifndef PEERPOD_PODNETWORK_SNAPSHOT_H
#define PEERPOD_PODNETWORK_SNAPSHOT_H

#include "podnetwork/link.h"
#include "podnetwork/route.h"

struct snapshot {
	struct link *links;
	struct address *addresses;
	struct route *routes;
	size_t link_count, address_count, route_count;
};

int snapshot_take(struct netlink *nl, struct snapshot *snapshot, struct error *err);
void snapshot_free(struct snapshot *snapshot);
#define cleanup_snapshot cleanup(snapshot_free) struct snapshot

const struct link *snapshot_link(const struct snapshot *snapshot, const char *name);
const struct link *snapshot_link_index(const struct snapshot *snapshot, int index);

/*
 * The default route of table main that packets take: the best metric; among equals of one naming
 * scheme (ens5, ens6) the lower number; else the first. only: on this interface; NULL: on any.
 * family AF_UNSPEC: IPv4, and IPv6 where there is none. NULL: there is none.
 */
const struct route *snapshot_default_route(const struct snapshot *snapshot, int family,
	const struct link *only);

/*
 * The address of an interface that stands for it: not a secondary, temporary or tentative one; a
 * real prefix rather than a single-address one (which are often virtual IPs). family AF_UNSPEC:
 * IPv4, and IPv6 where there is none. NULL: none.
 */
const struct address *snapshot_address(const struct snapshot *snapshot, const struct link *link,
	int family);

#endif
