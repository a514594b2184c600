/* SPDX-License-Identifier: Apache-2.0 */
/*
 * filter_rules.h - the fixed part of the table `inet peerpod`, and whether it still is as we wrote it
 *
 * Writing the rules again is what mends them when somebody has touched them, and costs 10 ms and more each time: the
 * kernel waits until no packet uses the old ones. So this process remembers what the table looked like after it wrote
 * them, handles included, and writes them again only when a listing says something else. filter.c calls this under its
 * lock.
 */
#ifndef PEERPOD_PODNETWORK_FILTER_RULES_H
#define PEERPOD_PODNETWORK_FILTER_RULES_H

#include <jansson.h>
#include "base/buf.h"

/* Bit 96 of the UDP datagram: 8 bytes UDP header, 4 bytes VXLAN flags; then 24 bits of VNI. */
#define FILTER_VNI "@th,96,24"

/* Which rules: those of this port in this netns. */
struct filter_rules {
	int netns; /* an open descriptor */
	uint16_t port;
	uint32_t vni_min;
};

/* Appends the commands that write them. */
void filter_rules_write(struct buf *out, const struct filter_rules *rules);

/* Does nftables' listing of the table (NULL: there is no table) say what was remembered? */
bool filter_rules_stand(const struct filter_rules *rules, const json_t *listing);

/* This listing shows the rules as they were just written. NULL: nobody can say; they are written again next time. */
void filter_rules_remember(const struct filter_rules *rules, const json_t *listing);

#endif
