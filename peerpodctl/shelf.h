/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shelf.h - what there is to choose from: a driver's offerings, or what is known without asking
 */
#ifndef PEERPODCTL_SHELF_H
#define PEERPODCTL_SHELF_H

#include "base/json.h"
#include "peerpodctl/cloud.h"
#include "providers/choice/catalogue_file.h"
#include "providers/choice/prices.h"

struct shelf {
	struct offerings on;          /* "" region where nothing tells it */
	struct prices *prices;        /* NULL: the driver knows them */
	struct saved_catalogue saved; /* empty where there is none */
	struct cloud cloud;           /* open where the driver was asked */
};

/* Close with shelf_close, also after a failure. */
int shelf_open(struct invocation *in, struct shelf *shelf, struct error *err);
void shelf_close(struct shelf *shelf);

/*
 * The offerings for a request that names zones: where the shelf does not know zones, a copy for each of them. *copy is
 * new, or NULL where the shelf's own list will do.
 */
int shelf_zones(const struct shelf *shelf, char *const *zones, struct offering **copy,
	size_t *count, struct error *err);

/* Writes types as the cloud does, where they differ from it in capitals only. */
int shelf_spell(const struct shelf *shelf, char **types, struct error *err);

/* A new array of those types and zones that the shelf does not have: mistakes, mostly. NULL: no memory. */
json_t *shelf_unknown(const struct shelf *shelf, char *const *types, char *const *zones);

#endif
