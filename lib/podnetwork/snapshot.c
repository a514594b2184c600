/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot.c - see snapshot.h */
#include "podnetwork/snapshot.h"

#include <ctype.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <string.h>

int snapshot_take(struct netlink *nl, struct snapshot *snapshot, struct error *err)
{
	*snapshot = (struct snapshot){0};
	if (link_list(nl, &snapshot->links, &snapshot->link_count, err) ||
		address_list(nl, &snapshot->addresses, &snapshot->address_count, err) ||
		route_list(nl, &snapshot->routes, &snapshot->route_count, err)) {
		snapshot_free(snapshot);
		return -1;
	}
	return 0;
}

void snapshot_free(struct snapshot *snapshot)
{
	free(snapshot->links);
	free(snapshot->addresses);
	free(snapshot->routes);
	*snapshot = (struct snapshot){0};
}

const struct link *snapshot_link(const struct snapshot *snapshot, const char *name)
{
	for (size_t i = 0; i < snapshot->link_count; i++) {
		if (!strcmp(snapshot->links[i].name, name))
			return &snapshot->links[i];
	}
	return NULL;
}

const struct link *snapshot_link_index(const struct snapshot *snapshot, int index)
{
	for (size_t i = 0; i < snapshot->link_count; i++) {
		if (snapshot->links[i].index == index)
			return &snapshot->links[i];
	}
	return NULL;
}

/* "ens5" is before "ens10"; names of two kinds have no order. */
static bool lower_number(const char *a, const char *b)
{
	size_t head = strcspn(a, "0123456789");
	char *a_end, *b_end;
	if (head != strcspn(b, "0123456789") || strncmp(a, b, head) || !a[head] || !b[head])
		return false;
	unsigned long left = strtoul(a + head, &a_end, 10), right = strtoul(b + head, &b_end, 10);
	return !*a_end && !*b_end && left < right;
}

static bool usable_default(const struct snapshot *snapshot, const struct route *route,
	const struct link *only)
{
	return ip_is_default(&route->dst) && route->table == RT_TABLE_MAIN &&
	       route->type == RTN_UNICAST && !(route->flags & RTM_F_CLONED) &&
	       (!only || route->index == only->index) &&
	       snapshot_link_index(snapshot, route->index);
}

const struct route *snapshot_default_route(const struct snapshot *snapshot, int family,
	const struct link *only)
{
	if (family == AF_UNSPEC) {
		const struct route *v4 = snapshot_default_route(snapshot, AF_INET, only);
		return v4 ? v4 : snapshot_default_route(snapshot, AF_INET6, only);
	}
	const struct route *best = NULL;
	for (size_t i = 0; i < snapshot->route_count; i++) {
		const struct route *route = &snapshot->routes[i];
		if (route->dst.family != family || !usable_default(snapshot, route, only))
			continue;
		if (!best || route->metric < best->metric ||
			(route->metric == best->metric &&
				lower_number(snapshot_link_index(snapshot, route->index)->name,
					snapshot_link_index(snapshot, best->index)->name)))
			best = route;
	}
	return best;
}

const struct address *snapshot_address(const struct snapshot *snapshot, const struct link *link,
	int family)
{
	/* IFA_F_SECONDARY and IFA_F_TEMPORARY are one bit. */
	const uint32_t unfit =
		IFA_F_SECONDARY | IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED;
	if (family == AF_UNSPEC) {
		const struct address *v4 = snapshot_address(snapshot, link, AF_INET);
		return v4 ? v4 : snapshot_address(snapshot, link, AF_INET6);
	}
	const struct address *single = NULL;
	for (size_t i = 0; i < snapshot->address_count; i++) {
		const struct address *address = &snapshot->addresses[i];
		if (address->index != link->index || address->ip.family != family ||
			(address->flags & unfit) || ip_is_link_local(&address->ip) ||
			address->scope == RT_SCOPE_HOST)
			continue;
		if (!ip_is_single(&address->ip))
			return address;
		single = single ? single : address;
	}
	return single;
}
