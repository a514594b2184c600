/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota.h - how many vCPUs the account may run at once, as Service Quotas tells it
 */
#ifndef PEERPOD_AWS_QUOTA_H
#define PEERPOD_AWS_QUOTA_H

#include "providers/aws/ec2.h"
#include "providers/check_report.h"
#include "providers/choice/choice.h"

/* The code of the quota that counts this type's vCPUs; NULL: not known. */
const char *quota_code(const char *type, bool spot);

/* A row about each quota that counts these types: how much there is, how much is in use, whether one more has room. */
void quota_check(struct ec2 *ec2, struct check_report *report, const struct offering *types,
	size_t count, const struct bound *bound);

/* Reads the answer of GetServiceQuota. ERROR_RETRY where it holds no value. */
int quota_read(const json_t *answer, double *value, char **name, struct error *err);

#endif
