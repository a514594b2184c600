/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - the state of the GCP driver, and its verbs
 *
 * An instance is made whole by one insert: boot disk, addresses, labels and tags come and go with it, so that a crash
 * leaves an instance that can be found by its labels, or nothing. Its name and the request's id follow from the pod's
 * token, so the same request is the same instance.
 */
#ifndef PEERPOD_GCP_DRIVER_H
#define PEERPOD_GCP_DRIVER_H

#include "providers/choice/choice.h"
#include "providers/choice/prices.h"
#include "providers/gcp/catalogue.h"
#include "providers/gcp/compute.h"
#include "providers/gcp/credentials.h"
#include "providers/gcp/describe.h"
#include "providers/gcp/image.h"
#include "providers/gcp/operation.h"
#include "providers/gcp/options.h"
#include "providers/gcp/place.h"
#include "providers/gcp/tags.h"
#include "providers/verbs.h"

struct provider {
	const struct gcp_options *options;
	struct gcp_credentials credentials;
	struct compute *compute;
	struct place *place;
	struct images *images;
	struct tags *tags;
	struct prices *prices;
	struct catalogue *catalogue;
	struct choice_memory *refusals;
	/* near: in the configured zones; far: in all of the project. */
	struct describer *near_name, *near_token, *far_name, *far_token;
	struct operation_watch *operations;
};

/* An instance by its path; ERROR_GONE where there is none. */
int vm_get(struct provider *p, const char *project, const char *zone, const char *name,
	struct vm *vm, const struct bound *bound, struct error *err);

/*
 * Deletes an instance that is ours, waits until it is gone, and takes its boot disk if that is left. What is gone is
 * fine. *accepted (may be NULL): the cloud has begun.
 */
int vm_delete(struct provider *p, const char *project, const char *zone, const char *name,
	bool *accepted, const struct bound *bound, struct error *err);

/* A disk of this name that is ours and unused: 1 deleted, 0 there is none such, -1. token NULL: of any pod. */
int disk_delete_leftover(struct provider *p, const char *project, const char *zone,
	const char *name, const char *token, const struct bound *bound, struct error *err);

/* What may be launched where for this pod; the first is tried first. See rank.c. */
struct ranking {
	struct offering *list;
	size_t count;
	struct choice choice;
	char **types, **allowed;
	char *default_type;
};
int ranking_make(struct provider *p, const struct instance_request *r, const struct location *at,
	const struct image_facts *image, enum instance_tee tee, char *const *zones,
	struct ranking *out, const struct bound *bound, struct error *err);
void ranking_free(struct ranking *ranking);

/* The machine type for pods that wish nothing, with this protection; new string. */
char *default_type(const struct gcp_options *o, enum instance_tee tee);

/* The permissions that a role must have; NULL-terminated. */
extern const char *const gcp_permissions[];

#endif
