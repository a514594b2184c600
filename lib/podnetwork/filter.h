/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter.h - the nftables table `inet peerpod` of the root netns, on the worker and in the pod VM
 *
 * VXLAN itself checks only port and VNI: anybody who reaches the node could send frames into a
 * pod. The table lets in only packets whose (source address, port, VNI) is that of a tunnel of
 * ours, drops the others in our range of VNIs, leaves other users of the port alone, and keeps our
 * packets out of connection tracking. The rules are fixed; a tunnel is one element in a set, with
 * the sandbox id as its comment; one that is only reserved has a source address that no packet can
 * have. Everything changes in single transactions. The last tunnel takes the table with it.
 *
 * Acts on the netns of the calling thread. Calls are serialized: libnftables is not safe for
 * threads, and other processes may work on the same table. A call may wait for them, at most 10 s.
 */
#ifndef PEERPOD_PODNETWORK_FILTER_H
#define PEERPOD_PODNETWORK_FILTER_H

#include "podnetwork/ip.h"
#include "base/error.h"

struct filter_tunnel {
	const char *sandbox;
	struct ip_prefix remote;
	uint32_t vni;
	uint32_t vni_min; /* below this the port's packets are somebody else's */
	uint16_t port;
};

/*
 * Ensures table and rules for a tunnel that is reserved (its remote is not looked at): what belongs to no tunnel is
 * dropped from now on, and as long as this one is there, whatever becomes of others. Older elements of the VNI go.
 */
int filter_prepare(const struct filter_tunnel *tunnel, struct error *err);

/* Ensures table, rules and this tunnel's element; older elements of the same sandbox or VNI go. */
int filter_allow(const struct filter_tunnel *tunnel, struct error *err);

/* Removes this sandbox's elements. None is fine. */
int filter_forbid(const char *sandbox, struct error *err);

/* Removes the elements of this port for which keep(comment) is false. */
int filter_sweep(uint16_t port, bool (*keep)(const char *sandbox, void *arg), void *arg,
	struct error *err);

/* A text that can stand as a comment in an nftables command. */
bool filter_comment_valid(const char *sandbox);

#endif
