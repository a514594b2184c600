/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - the state of the AWS driver, and its verbs
 *
 * An instance is made whole by one RunInstances: tags, volumes and network interfaces come and go with it, so that a
 * crash leaves an instance that can be found by its tags, or nothing. What cannot be made so has the same tags (extras.h).
 */
#ifndef PEERPOD_AWS_DRIVER_H
#define PEERPOD_AWS_DRIVER_H

#include "providers/aws/catalogue.h"
#include "providers/aws/describe.h"
#include "providers/aws/ec2.h"
#include "providers/aws/image.h"
#include "providers/aws/options.h"
#include "http/attempt.h"
#include "providers/choice/choice.h"
#include "providers/verbs.h"

struct provider {
	const struct aws_options *options;
	struct ec2 *ec2;
	struct describer *by_id, *by_token;
	struct catalogue *catalogue;
	struct images *images;
	struct choice_memory *refusals;
};

/* i-, and 8 to 17 hexadecimal digits. ERROR_INVALID. */
int instance_id_check(const char *id, struct error *err);

/*
 * Waits until the instance runs, and tells what it is like then. ERROR_CAPACITY and the like, with EC2's reason, where
 * it ends instead.
 */
int vm_wait_running(struct provider *p, const char *id, struct vm *vm, const struct bound *bound,
	struct error *err);

/* Attaches existing volumes in their order; what is attached already is fine. */
int volumes_attach(struct provider *p, const char *id, const struct instance_request *request,
	const struct bound *bound, struct error *err);
/*
 * Checks that they can be attached, and gives the zone that they are in (new string, "" for none). A volume that is
 * attached to `id` already is fine; id "": none is.
 */
int volumes_check(struct provider *p, const struct instance_request *request, const char *id,
	char **zone, const struct bound *bound, struct error *err);

/* Terminates; gone is fine. Looks at no tags. */
int vm_terminate(struct provider *p, const char *id, const struct bound *bound, struct error *err);

/* Those of the subnets that are in the zone; new list. */
int subnets_in_zone(struct provider *p, char *const *subnets, const char *zone, char ***out,
	const struct bound *bound, struct error *err);

#endif
