/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe.h - what an instance is like just now: many that ask share one list call
 */
#ifndef PEERPOD_GCP_DESCRIBE_H
#define PEERPOD_GCP_DESCRIBE_H

#include "providers/gcp/compute.h"
#include "providers/gcp/place.h"
#include "providers/gcp/vm.h"

struct describer;

enum describe_by { BY_NAME, BY_TOKEN };

/*
 * everywhere: in all zones of the project; else in those that are configured, which is quicker where that is one. Where
 * several have the key, one that is ours and alive is shown before others.
 */
struct describer *describer_new(struct compute *c, struct place *place, enum describe_by by,
	bool everywhere);
void describer_free(struct describer *d);

/* ERROR_GONE where the API shows none (yet). */
int describe(struct describer *d, const char *key, struct vm *vm, const struct bound *bound,
	struct error *err);

/*
 * Goes through the instances that a filter finds ("": all), in all zones or in one. An item that is no instance is
 * passed over. each: 0, or -1 to end it.
 */
int instances_each(struct compute *c, const char *project, const char *zone, const char *filter,
	int (*each)(void *with, const json_t *item, struct error *err), void *with,
	const struct bound *bound, struct error *err);

/* Likewise of disks. */
int disks_each(struct compute *c, const char *project, const char *filter,
	int (*each)(void *with, const json_t *item, struct error *err), void *with,
	const struct bound *bound, struct error *err);

#endif
