/* SPDX-License-Identifier: Apache-2.0 */
/*
 * candidates.h - what may be launched for a pod, where, the cheapest first
 */
#ifndef PEERPOD_AWS_CANDIDATES_H
#define PEERPOD_AWS_CANDIDATES_H

#include "providers/aws/driver.h"
#include "providers/aws/image.h"

/* What the pod and the options wish of markets, in the order of trying. */
struct markets {
	bool spot[2];
	size_t count;
};
struct markets markets_of(const struct aws_options *o, const struct instance_request *r);

/* Does the pod itself say what machine it needs, or does the configured default do? */
bool candidates_asked(const struct instance_request *r);

struct candidates {
	struct choice choice;
	struct offering *list;
	size_t count;
	char **allowed;
	struct buf no_start; /* what is against a type that cannot start the image */
};
void candidates_free(struct candidates *c);

/*
 * Ranks the allowed types in these subnets ({"", NULL}: wherever the launch template says), in one market. image: what
 * the type must be able to start; NULL: not known. ERROR_INVALID where nothing fits, ERROR_CAPACITY where what fits was
 * refused a short while ago.
 */
int candidates_rank(struct provider *p, const struct instance_request *r,
	const struct image_facts *image, bool snp, char *const *subnets, bool spot,
	struct candidates *out, const struct bound *bound, struct error *err);

#endif
