/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prices.h - what instance types cost, from a data file
 *
 * Each cloud's driver brings a file <provider>.json with the prices of some regions, its date and its source
 * (providers/<provider>/prices.json in the tree, prices/<provider>.json beside the driver). An operator may name
 * another one. What the file does not know has no price and ranks after what has one.
 */
#ifndef PEERPOD_PROVIDERS_PRICES_H
#define PEERPOD_PROVIDERS_PRICES_H

#include "providers/choice/choice.h"

struct prices;

/*
 * path "": the file that came with the driver or program that this code is linked into; where it is missing, an
 * empty table and a log line. A file that is named and cannot be used: ERROR_INVALID, ERROR_GONE.
 */
struct prices *prices_load(const char *provider, const char *path, struct error *err);
void prices_free(struct prices *prices);

/* "2026-11-01", and where the figures are from; never NULL. */
const char *prices_date(const struct prices *prices);
const char *prices_source(const struct prices *prices);

/* Sets price_micros of what the file knows, by region, type and spot; leaves the others as they are. */
void prices_apply(const struct prices *prices, const char *region, struct offering *list,
	size_t count);

/*
 * The region's part of the file as a catalogue, on-demand and (where it has a price) spot, zone "". The array is new,
 * the strings are the file's. ERROR_GONE: the region is not in the file; the message names those that are.
 */
int prices_catalogue(const struct prices *prices, const char *region, struct offering **list,
	size_t *count, struct error *err);

#endif
