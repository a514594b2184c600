/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h - the RunInstances request of a pod VM
 */
#ifndef PEERPOD_AWS_LAUNCH_H
#define PEERPOD_AWS_LAUNCH_H

#include "providers/aws/image.h"
#include "providers/aws/options.h"
#include "providers/aws/place.h"
#include "providers/aws/query.h"
#include "providers/provider.h"

/* EC2: user data is limited to 16 KiB before base64. */
#define USER_DATA_MAX 16384

struct launch {
	const struct aws_options *options;
	const struct instance_request *request;
	struct place_network network;
	const char *image;
	struct image_facts image_facts; /* unused with a launch template */
	/* zone: the subnet; with a launch template: only its type and market count, NULL: the template's. */
	const struct offering *offering;
	bool snp;
	bool spot;          /* where there is no offering */
	const char *extras; /* extras_wanted */
	const char *client_token;
};

/* ERROR_INVALID where the request cannot be made as it is. */
int launch_check(const struct instance_request *r, struct error *err);

/* Fills the query; dry: EC2 only says whether it would be allowed. */
int launch_query(const struct launch *launch, bool dry, struct query *query, struct error *err);

#endif
