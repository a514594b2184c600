/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue.h - the machine types of zones, asked once and kept, also on disk for when nobody answers
 */
#ifndef PEERPOD_GCP_CATALOGUE_H
#define PEERPOD_GCP_CATALOGUE_H

#include <jansson.h>
#include "providers/choice/choice.h"
#include "providers/choice/prices.h"
#include "providers/gcp/compute.h"

struct catalogue;

/* folder: where it is kept on disk; "": nowhere. All must outlive it. */
struct catalogue *catalogue_new(struct compute *c, const struct prices *prices, const char *folder);
void catalogue_free(struct catalogue *c);

struct catalogue_wish {
	const char *project;
	char *const *zones;
	char *const *types;       /* NULL: all */
	const char *architecture; /* of the image: "X86_64", "ARM64"; NULL or "": any */
	bool spot, on_demand;
};

/*
 * The offerings of these types in these zones, with prices where they are known. *list is new, its strings are the
 * catalogue's and the wish's. Where the API cannot be asked: what is kept on disk; of types that that does not know, either, sizes are
 * 0 and everything counts as possible. What a zone lacks, or the
 * image does not start on, is unfit.
 */
int catalogue_offerings(struct catalogue *c, const struct catalogue_wish *wish,
	struct offering **list, size_t *count, const struct bound *bound, struct error *err);

/* Reader of a machine type; strings are new. false: not usable. */
struct type_entry {
	char *name, *family, *zone, *architecture;
	struct offering offering;
	struct type_entry *next;
};
bool type_read(const json_t *item, struct type_entry *entry);
void type_entry_clear(struct type_entry *entry);

#endif
