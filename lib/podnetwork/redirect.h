/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redirect.h - every frame that comes in on one device goes out of another (tc: u32 and mirred)
 */
#ifndef PEERPOD_PODNETWORK_REDIRECT_H
#define PEERPOD_PODNETWORK_REDIRECT_H

#include "podnetwork/netlink.h"

/*
 * Ensures the redirect; one that is there is pointed at the new target. -1 with err. Without a
 * target (it was deleted) the filter stays and drops: nothing ever leaks into the netns' own IP
 * stack.
 */
int redirect_ensure(struct netlink *nl, int from_index, int to_index, struct error *err);

#endif
