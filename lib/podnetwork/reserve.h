/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reserve.h - the tunnel device of a pod on the worker, which is also the reservation of its VNI
 *
 * The kernel lets no two VXLAN devices made in one netns share (VNI, port, family). So the device
 * is made as soon as the VNI is chosen, in the pod's netns, from a socket of the root netns: an
 * atomic reservation that outlives every process of ours and dies with the pod. It is known by its
 * alias "peerpod:<sandbox>"; between making and naming it has a name that comes from the sandbox
 * id.
 */
#ifndef PEERPOD_PODNETWORK_RESERVE_H
#define PEERPOD_PODNETWORK_RESERVE_H

#include "podnetwork/link.h"
#include "podnetwork/podnetwork.h"

#define TUNNEL_NAME "vxlan1"
#define TUNNEL_ALIAS "peerpod:"

struct reservation {
	const char *sandbox;
	uint16_t port;
	uint32_t vni_min;
	struct ip_prefix local; /* outer source, and the family of the tunnel */
	bool no_checksum;       /* struct vxlan_plan */
	const uint32_t *quarantined;
	size_t quarantined_count;
};

/*
 * The name that a device of this sandbox has until it is known by its alias; into name[IFNAMSIZ].
 */
void reservation_temporary_name(const char *sandbox, char *name);
/* Could this be such a name? */
bool reservation_name_temporary(const char *name);

/* The sandbox's device in the pod netns, if any. */
int reservation_find(struct netlink *pod, const char *sandbox, struct link *link, bool *found,
	struct error *err);

/* Any free VNI. A device that is there and fits is kept. */
int reservation_make(struct netlink *root, struct netlink *pod, const struct reservation *wanted,
	struct link *link, struct error *err);

/* Exactly this VNI: after the device went away behind our back. */
int reservation_make_exact(struct netlink *root, struct netlink *pod,
	const struct reservation *wanted, uint32_t vni, struct link *link, struct error *err);

/*
 * Raises the device, which opens the UDP port: a clash is found, and the port held, before a VM is
 * paid for. Without a remote it sends nothing; the filter must be there first. It is not lowered
 * again: that waits for all CPUs to pass, 10 ms in which no other link of the node can change.
 */
int reservation_raise(struct netlink *pod, const struct link *link, struct error *err);

/* The error of raising a VXLAN device. */
int vxlan_up_error(const struct netlink *nl, int errnum, uint16_t port, struct error *err);

#endif
