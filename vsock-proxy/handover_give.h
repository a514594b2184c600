/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover_give.h - the old process's side of a hand-over: see handover.h
 */
#ifndef PEERPOD_VSOCK_HANDOVER_GIVE_H
#define PEERPOD_VSOCK_HANDOVER_GIVE_H

#include "vsock-proxy/handover.h"

struct handover_giving {
	const struct listener *control;
	struct tunnel *const *tunnels;
	size_t count;
	int fd; /* connection of the successor; stays the caller's */
	uint32_t stream;
};

/*
 * Tells everything and waits until the successor serves. 0: it does, and nothing may be touched any more: let go.
 * -1: it does not and never will; everything here is as it was. Blocks; some ten seconds at most, while
 * nothing is served.
 */
int handover_give(const struct handover_giving *giving, struct error *err);

#endif
