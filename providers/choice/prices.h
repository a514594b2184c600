/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prices.h - what instance types cost, from a data file
 *
 * Each cloud's driver brings a file <provider>.json with the prices of some regions, its date and its source
 * (providers/<provider>/prices.json in the tree, prices/<provider>.json beside the driver). An operator may name
 * another one. What the file does not know has no price and ranks after what has one.
 *
 *   {"provider": "aws", "date": "2026-11-01", "source": "where the figures are from", "currency": "USD",
 *    "types": {"m6a.large": {"family": "m6a", "vcpus": 2, "memory_mib": 8192, "gpus": 0, "tees": ["snp"]}},
 *    "regions": {"us-east-2": {"m6a.large": {"on_demand": 0.0864, "spot": 0.0317},
 *                              "c6a.large": {}}}}
 *
 * Prices are a decimal number of the currency for an hour. "types" may be left out, or a type in it: such a type has
 * a price, and is in no catalogue. A region's entry without a price: the type is to be had there at a price not known. "tees" in a
 * region's entry stands for those of the type there. Everything else is refused, so that a slip of the pen is seen.
 */
#ifndef PEERPOD_PROVIDERS_PRICES_H
#define PEERPOD_PROVIDERS_PRICES_H

#include "providers/choice/choice.h"

/* A region of every type of a large cloud is about 100 KB. */
#define PRICES_SIZE_MAX ((size_t)16 * 1024 * 1024)

struct prices;

/*
 * path "": the file that came with the driver or program that this code is linked into; where it is missing, an
 * empty table and a log line. A file that is named and cannot be used: ERROR_INVALID, ERROR_GONE.
 */
struct prices *prices_load(const char *provider, const char *path, struct error *err);

/* The same of text in memory. name: for messages. */
struct prices *prices_read(const char *provider, const char *name, const void *text, size_t len,
	struct error *err);
void prices_free(struct prices *prices);

DEFINE_CLEANUP(struct prices, prices_free)

/* "2026-11-01", where the figures are from, and "USD"; never NULL, "" where the table is empty. */
const char *prices_date(const struct prices *prices);
const char *prices_source(const struct prices *prices);
const char *prices_currency(const struct prices *prices);

/* All three at once. */
void prices_tell(const struct prices *prices, const char **date, const char **source,
	const char **currency);

/*
 * Sets price_micros of what the file knows, by region, type and spot, and most_micros of a spot offering of which it
 * knows the on-demand price alone; leaves the others as they are.
 */
void prices_apply(const struct prices *prices, const char *region, struct offering *list,
	size_t count);

/*
 * The region's part of the file as a catalogue, on-demand and (where it has a price) spot, zone "". The array is new,
 * the strings are the file's. ERROR_GONE: the region is not in the file; the message names those that are.
 */
int prices_catalogue(const struct prices *prices, const char *region, struct offering **list,
	size_t *count, struct error *err);

#endif
