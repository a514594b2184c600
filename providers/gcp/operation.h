/* SPDX-License-Identifier: Apache-2.0 */
/*
 * operation.h - what the cloud does after it has answered
 */
#ifndef PEERPOD_GCP_OPERATION_H
#define PEERPOD_GCP_OPERATION_H

#include <jansson.h>
#include <stdint.h>
#include "providers/gcp/compute.h"
#include "providers/gcp/names.h"

struct operation {
	char name[NAME_SIZE + 64], zone[ZONE_SIZE];
	bool done;
	int64_t inserted; /* Unix time; 0: unknown */
	struct error err; /* how it failed; ERROR_NONE: it did not (yet) */
};

/* ERROR_RETRY where it has no name or zone. */
int operation_read(const json_t *object, struct operation *op, struct error *err);
void operation_free(struct operation *op);
#define cleanup_operation cleanup(operation_free) struct operation

/* Waits until it is done, by the API's own long poll. Its failure is the result's. */
int operation_wait(struct compute *c, const char *project, const struct operation *op,
	const struct bound *bound, struct error *err);

/* How the operations of many pods stand, asked in one call for each zone. */
struct operation_watch;
struct operation_watch *operation_watch_new(struct compute *c);
void operation_watch_free(struct operation_watch *w);
int operation_look(struct operation_watch *w, const char *project, const struct operation *op,
	struct operation *now, const struct bound *bound, struct error *err);

#endif
