/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - struct podnetwork in memory: freeing, growing lists, order of routes, words of the
 * enums
 */
#ifndef PEERPOD_PODNETWORK_MODEL_H
#define PEERPOD_PODNETWORK_MODEL_H

#include "podnetwork/ip.h"
#include "podnetwork/podnetwork.h"

/* Far above what any CNI makes, and small enough to refuse a flood before memory is taken. */
#define PODNETWORK_LIST_MAX 1024
#define PODNETWORK_ADDRESS_MAX 64

/* A word of the JSON and the kernel's number of it. */
struct word {
	const char *text;
	int number;
};

extern const struct word route_protocols[], route_scopes[], route_types[], neighbor_states[];

/* NULL text ends a table. -1: not in it. NULL counts as "". */
int word_number(const struct word *table, const char *text);
const char *word_text(const struct word *table, int number); /* NULL: not in it */

/* "" for NULL. */
const char *text_or_empty(const char *text);

/* Replaces *slot with a copy. -1: no memory, told to err. */
int text_set(char **slot, const char *text, struct error *err);

/* A new zeroed entry at the end of the list; NULL: no memory or more than PODNETWORK_LIST_MAX. */
struct podnetwork_route *podnetwork_route_add(struct podnetwork *network, struct error *err);
struct podnetwork_neighbor *podnetwork_neighbor_add(struct podnetwork *network, struct error *err);
struct podnetwork_rule *podnetwork_rule_add(struct podnetwork *network, struct error *err);
int podnetwork_podip_add(struct podnetwork *network, const char *cidr, struct error *err);
size_t podnetwork_podip_count(const struct podnetwork *network);

void podnetwork_route_clear(struct podnetwork_route *route);

/* Upstream's order: table, destination bytes, prefix length, metric; IPv4 before IPv6; stable. */
int podnetwork_routes_sort(struct podnetwork *network, struct error *err);

/*
 * The order in which routes can be added: what needs no gateway first (a gateway must be
 * reachable), of each kind the longer prefixes first, then the better metric; stable.
 */
int podnetwork_routes_sort_for_setup(struct podnetwork *network, struct error *err);

#endif
