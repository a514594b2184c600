/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nftables.h - tables of the family inet: commands by libnftables, two questions asked of the kernel itself
 *
 * Acts on the netns of the calling thread. libnftables is not safe for threads: one caller at a time.
 */
#ifndef PEERPOD_PODNETWORK_NFTABLES_H
#define PEERPOD_PODNETWORK_NFTABLES_H

#include "base/buf.h"
#include "base/error.h"

/* Runs commands as nft(8) does: one transaction, all or nothing. */
int nftables_run(const char *commands, struct error *err);

/* Appends nft's JSON of a table, ports and other numbers as numbers. *gone: there is none. */
int nftables_list(const char *table, struct buf *json, bool *gone, struct error *err);

/* The kernel says that there is no such table. false: it is there, or who knows. */
bool nftables_table_missing(const char *table);

/*
 * The number that nf_tables raises by one with every transaction; 0: unknown. Tells whether somebody else's came
 * between two of ours.
 */
uint32_t nftables_generation(void);

/* Can the library be loaded? Says so before the first tunnel needs it, and leaves no trace in memory. */
int nftables_check(struct error *err);

#endif
