/* SPDX-License-Identifier: Apache-2.0 */
/* reserve.c - see reserve.h */
#include "podnetwork/reserve.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/fault.h"

/* More clashes in a row than a node can have pods. */
#define VNI_ATTEMPTS 20000

/* FNV-1a. Spreads sandbox ids; nothing here rests on it being hard to guess. */
static uint64_t hash(uint64_t state, const char *text)
{
	for (; *text; text++)
		state = (state ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	return state;
}

static uint64_t hash_start(void)
{
	return UINT64_C(0xcbf29ce484222325);
}

void reservation_temporary_name(const char *sandbox, char *name)
{
	uint64_t ten_digits = hash(hash_start(), sandbox) & UINT64_C(0xffffffffff);
	snprintf(name, IFNAMSIZ, "pp%010llx", (unsigned long long)ten_digits);
}

bool reservation_name_temporary(const char *name)
{
	return !strncmp(name, "pp", 2) && strlen(name) == 12 &&
	       strspn(name + 2, "0123456789abcdef") == 10;
}

int reservation_find(struct netlink *pod, const char *sandbox, struct link *link, bool *found,
	struct error *err)
{
	cleanup(free_ptr) struct link *links = NULL;
	size_t count;
	char temporary[IFNAMSIZ];
	reservation_temporary_name(sandbox, temporary);
	*found = false;
	if (link_list(pod, &links, &count, err))
		return -1;
	for (size_t i = 0; i < count && !*found; i++) {
		const struct link *candidate = &links[i];
		bool ours = !strncmp(candidate->alias, TUNNEL_ALIAS, strlen(TUNNEL_ALIAS)) &&
			    !strcmp(candidate->alias + strlen(TUNNEL_ALIAS), sandbox);
		if (strcmp(candidate->kind, "vxlan") ||
			!(ours || !strcmp(candidate->name, temporary)))
			continue;
		*link = *candidate;
		*found = true;
	}
	return 0;
}

/* From the temporary name to the final one, with the alias: one message, all or nothing. */
static int name_device(struct netlink *pod, const char *sandbox, struct link *link,
	struct error *err)
{
	char alias[LINK_ALIAS_MAX];
	snprintf(alias, sizeof(alias), TUNNEL_ALIAS "%s", sandbox);
	if (!strcmp(link->name, TUNNEL_NAME) && !strcmp(link->alias, alias))
		return 0;
	const struct link_change change = {
		.name = strcmp(link->name, TUNNEL_NAME) ? TUNNEL_NAME : NULL,
		.alias = alias,
		.no_ipv6_autoconf = true,
	};
	int errnum = link_change(pod, link->index, &change);
	if (errnum == EEXIST) {
		netlink_error(pod, errnum, err, "name the tunnel device " TUNNEL_NAME);
		return error_append(err,
			"; the pod's network namespace has an interface of that name that is "
			"not ours: remove it");
	}
	if (errnum)
		return netlink_error(pod, errnum, err, "name the tunnel device " TUNNEL_NAME);
	snprintf(link->name, sizeof(link->name), TUNNEL_NAME);
	snprintf(link->alias, sizeof(link->alias), "%s", alias);
	return 0;
}

/* Reads it back, then names it. A failure takes the device away again. */
static int settle(struct netlink *pod, const char *sandbox, const char *temporary,
	struct link *link, struct error *err)
{
	int errnum = link_get(pod, temporary, link);
	if (errnum)
		return netlink_error(pod, errnum, err, "find the new tunnel device %s", temporary);
	fault_point("podnet-reserved");
	if (name_device(pod, sandbox, link, err)) {
		link_delete(pod, link->index);
		return -1;
	}
	fault_point("podnet-named");
	return 0;
}

static bool fits(const struct link *link, const struct reservation *wanted)
{
	return link->port == wanted->port && link->vni >= wanted->vni_min &&
	       ip_address_equal(&link->local, &wanted->local);
}

static bool quarantined(const struct reservation *wanted, uint32_t vni)
{
	for (size_t i = 0; i < wanted->quarantined_count; i++) {
		if (wanted->quarantined[i] == vni)
			return true;
	}
	return false;
}

/* What is there of this sandbox: kept where it fits, else removed. */
static int take_over(struct netlink *pod, const struct reservation *wanted, uint32_t vni,
	struct link *link, bool *kept, struct error *err)
{
	bool found;
	*kept = false;
	if (reservation_find(pod, wanted->sandbox, link, &found, err))
		return -1;
	if (!found)
		return 0;
	if (fits(link, wanted) && (!vni || link->vni == vni)) {
		*kept = true;
		return name_device(pod, wanted->sandbox, link, err);
	}
	int errnum = link_delete(pod, link->index);
	if (errnum && errnum != ENODEV)
		return netlink_error(pod, errnum, err, "remove the earlier tunnel device %s",
			link->name);
	return 0;
}

int reservation_make(struct netlink *root, struct netlink *pod, const struct reservation *wanted,
	struct link *link, struct error *err)
{
	bool kept;
	char temporary[IFNAMSIZ], node[256] = "";
	if (take_over(pod, wanted, 0, link, &kept, err))
		return -1;
	if (kept)
		return 0;
	reservation_temporary_name(wanted->sandbox, temporary);
	gethostname(node, sizeof(node) - 1);
	uint32_t span = PODNETWORK_VXLAN_MAX_ID - wanted->vni_min + 1;
	uint64_t start = hash(hash(hash_start(), node), wanted->sandbox);
	uint32_t attempts = span < VNI_ATTEMPTS ? span : VNI_ATTEMPTS;
	for (uint32_t i = 0; i < attempts; i++) {
		const struct vxlan_plan plan = {
			.name = temporary,
			.vni = wanted->vni_min + (uint32_t)((start + i) % span),
			.port = wanted->port,
			.local = wanted->local,
			.no_checksum = wanted->no_checksum,
		};
		if (quarantined(wanted, plan.vni))
			continue;
		int errnum = link_add_vxlan(root, pod->netns_fd, &plan);
		if (!errnum)
			return settle(pod, wanted->sandbox, temporary, link, err);
		if (errnum != EEXIST)
			return netlink_error(root, errnum, err,
				"make a VXLAN device in the pod's network namespace (kernel module vxlan)");
	}
	return error_set(err, ERROR_CAPACITY,
		"no free VXLAN network id: %u tried from %u up on UDP port %u, all taken or released only "
		"a short while ago; set -vxlan-min-id lower or another -vxlan-port",
		attempts, wanted->vni_min, wanted->port);
}

int reservation_make_exact(struct netlink *root, struct netlink *pod,
	const struct reservation *wanted, uint32_t vni, struct link *link, struct error *err)
{
	bool kept;
	char temporary[IFNAMSIZ];
	if (take_over(pod, wanted, vni, link, &kept, err))
		return -1;
	if (kept)
		return 0;
	reservation_temporary_name(wanted->sandbox, temporary);
	const struct vxlan_plan plan = {.name = temporary,
		.vni = vni,
		.port = wanted->port,
		.local = wanted->local,
		.no_checksum = wanted->no_checksum};
	int errnum = link_add_vxlan(root, pod->netns_fd, &plan);
	if (errnum) {
		netlink_error(root, errnum, err, "make a VXLAN device with id %u on UDP port %u",
			vni, wanted->port);
		return errnum == EEXIST
			       ? error_append(err, "; another device of this node has that id")
			       : -1;
	}
	return settle(pod, wanted->sandbox, temporary, link, err);
}

int vxlan_up_error(const struct netlink *nl, int errnum, uint16_t port, struct error *err)
{
	netlink_error(nl, errnum, err, "open UDP port %u for the tunnel", port);
	if (errnum != EADDRINUSE)
		return -1;
	return error_append(err,
		"; a program, or a VXLAN device of the CNI that takes every id (Cilium, "
		"Open vSwitch), has it: set -vxlan-port (VXLAN_PORT) to a free port and "
		"allow it in firewalls");
}

int reservation_raise(struct netlink *pod, const struct link *link, struct error *err)
{
	const struct link_change up = {.up = true};
	int errnum = link->flags & IFF_UP ? 0 : link_change(pod, link->index, &up);
	return errnum ? vxlan_up_error(pod, errnum, link->port, err) : 0;
}
