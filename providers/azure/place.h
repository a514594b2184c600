/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - where this machine is, for what the options do not say
 */
#ifndef PEERPOD_AZURE_PLACE_H
#define PEERPOD_AZURE_PLACE_H

#include "base/bound.h"
#include "providers/azure/options.h"

/* What was looked up; NULL: was set. */
struct place {
	char *subscription, *region, *resource_group;
};

/*
 * Where subscription, region or resource group are empty in *o, puts in those of this machine, which the instance metadata
 * service tells; the strings are the place's. Asks nobody where all three are set. ERROR_INVALID, naming the variables,
 * where nothing tells them.
 */
int place_fill(struct place *place, struct azure_options *o, const struct bound *bound,
	struct error *err);
void place_free(struct place *place);

/* Reads an answer of the service: all three, new strings. ERROR_INVALID where one is missing or is no name. */
int place_read(const void *text, size_t len, struct place *place, struct error *err);

#endif
