/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - readers of the kernel's notifications (podnetwork.h has the watch itself)
 */
#ifndef PEERPOD_PODNETWORK_WATCH_H
#define PEERPOD_PODNETWORK_WATCH_H

#include "podnetwork/netlink.h"

/* Does it say that something of the nftables table of ours was removed? */
bool watch_read_rules(const struct nlmsghdr *message);

/* Does it say that a tunnel device was? sandbox[PODNETWORK_SANDBOX_SIZE]: whose. */
bool watch_read_link(const struct nlmsghdr *message, char *sandbox);

#endif
