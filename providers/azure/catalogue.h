/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue.h - what sizes there are in the region, asked once in twelve hours and kept on disk
 */
#ifndef PEERPOD_AZURE_CATALOGUE_H
#define PEERPOD_AZURE_CATALOGUE_H

#include "providers/azure/arm.h"
#include "providers/choice/choice.h"

#define ZONES_MAX 8
#define ZONE_SIZE 8

/* What the options may ask of a size, and not each can. */
enum size_feature { SIZE_PREMIUM = 1, SIZE_EPHEMERAL = 2, SIZE_ENCRYPTION = 4 };

/* One size. Strings are the owner's. */
struct size {
	char *name, *family, *architecture, *controllers; /* "x64", "SCSI,NVMe"; "" */
	struct offering
		facts; /* without zone, spot and price; type and family point into this struct's strings */
	bool generation_2;                /* takes images of generation 2 */
	unsigned lacks;                   /* of enum size_feature: what the list says it cannot */
	bool refused;                     /* the subscription cannot have it in this region */
	char refusal[48];                 /* why: "NotAvailableForSubscription" */
	bool zones_known;                 /* false: from a file that keeps none */
	char zones[ZONES_MAX][ZONE_SIZE]; /* where it is and may be had; "": the end */
};

/*
 * An item of resourceSkus that is a VM size of this region: 1 filled, 0 something else, -1 no memory. What is not told
 * stays 0 and "".
 */
int size_read(const json_t *item, const char *region, struct size *size, struct error *err);
void size_clear(struct size *size);

/* Why the size cannot do what the options ask of it; NULL: it can, as far as is known. */
const char *size_why_not(const struct size *size, const struct azure_options *o);

struct catalogue;

/* NULL: no memory. */
struct catalogue *catalogue_new(struct arm *arm, const struct azure_options *o);
void catalogue_free(struct catalogue *c);

/*
 * The sizes of these names (NULL-terminated; NULL: all), in no order: *sizes is new (free), what it points to is the
 * catalogue's and stays. Names are compared without case. *known: the list could be had; false: it is empty, and what
 * was asked for may exist. Fails for lack of memory and at the bound only.
 */
int catalogue_sizes(struct catalogue *c, char *const *names, const struct size ***sizes,
	size_t *count, bool *known, const struct bound *bound, struct error *err);

/* A stand-in for a size of which nothing is known: it can everything. The catalogue's. NULL: no memory. */
const struct size *catalogue_stand_in(struct catalogue *c, const char *name);

/* As catalogue_sizes for all, but why the list could not be had is an error. */
int catalogue_require(struct catalogue *c, const struct bound *bound, struct error *err);

#endif
