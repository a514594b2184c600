/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe.h - what an instance is like just now: many that ask share one DescribeInstances
 */
#ifndef PEERPOD_AWS_DESCRIBE_H
#define PEERPOD_AWS_DESCRIBE_H

#include "providers/aws/ec2.h"
#include "providers/aws/vm.h"

struct describer;

/* filter: what instances are found by ("instance-id", "tag:..."); live: leave out the dead. */
struct describer *describer_new(struct ec2 *ec2, const char *filter, bool live);
void describer_free(struct describer *d);

/* The instance of this key. ERROR_GONE where the API shows none (yet). */
int describe(struct describer *d, const char *key, struct vm *vm, const struct bound *bound,
	struct error *err);

#endif
