/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - where pod VMs go: project, zones, networks
 *
 * What the options leave empty is the credentials', or is asked of the metadata server when it is first needed, and
 * kept. Start-up asks nothing.
 */
#ifndef PEERPOD_GCP_PLACE_H
#define PEERPOD_GCP_PLACE_H

#include "base/bound.h"
#include "base/error.h"
#include "providers/gcp/credentials.h"
#include "providers/gcp/metadata.h"
#include "providers/gcp/options.h"

struct place;

/* What is known. Kept by the place, never changed once it is there. */
struct location {
	const char *project;
	char *const *zones;  /* at least one */
	const char *network; /* a path; "": the subnetwork says it */
};

/* All must outlive it. NULL: no memory. */
struct place *place_new(const struct gcp_options *options,
	const struct gcp_credentials *credentials, struct metadata *metadata);
void place_free(struct place *place);

/* What must be known at the start and is not: ERROR_INVALID, naming the variable. */
int place_check(const struct gcp_options *options, const struct gcp_credentials *credentials,
	struct error *err);

int place_find(struct place *place, struct location *out, const struct bound *bound,
	struct error *err);

#endif
