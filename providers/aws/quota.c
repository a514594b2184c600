/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota.c - see quota.h
 *
 * EC2 counts vCPUs by groups of families, on-demand and spot apart. What of a quota is in use already is not asked:
 * a quota that is smaller than one instance is what a new account stumbles over.
 */
#include "providers/aws/quota.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* By the start of the family's name, the first that matches; the codes are Service Quotas' own. */
static const struct group {
	const char *start;
	const char *on_demand, *spot; /* NULL: not known */
} groups[] = {
	{"inf", NULL, NULL},
	{"trn", NULL, NULL},
	{"dl", NULL, NULL},
	{"hpc", NULL, NULL},
	{"mac", NULL, NULL},
	{"g", "L-DB2E81BA", "L-3819A6DF"},
	{"vt", "L-DB2E81BA", "L-3819A6DF"},
	{"p", "L-417A185B", "L-7212CCBC"},
	{"a", "L-1216C47A", "L-34B43A08"},
	{"c", "L-1216C47A", "L-34B43A08"},
	{"d", "L-1216C47A", "L-34B43A08"},
	{"h", "L-1216C47A", "L-34B43A08"},
	{"i", "L-1216C47A", "L-34B43A08"},
	{"m", "L-1216C47A", "L-34B43A08"},
	{"r", "L-1216C47A", "L-34B43A08"},
	{"t", "L-1216C47A", "L-34B43A08"},
	{"z", "L-1216C47A", "L-34B43A08"},
};

const char *quota_code(const char *type, bool spot)
{
	for (size_t i = 0; i < array_size(groups); i++) {
		if (!strncmp(type, groups[i].start, strlen(groups[i].start)))
			return spot ? groups[i].spot : groups[i].on_demand;
	}
	return NULL;
}

int quota_read(const json_t *answer, double *value, char **name, struct error *err)
{
	const json_t *quota = json_object_get(answer, "Quota");
	const json_t *number = json_object_get(quota, "Value");
	if (!json_is_number(number) || json_number_value(number) < 0)
		return error_set(err, ERROR_RETRY, "the answer holds no quota");
	*value = json_number_value(number);
	return json_read_string(quota, "quota", "QuotaName", JSON_REQUIRED, name, err);
}

static int look(struct ec2 *ec2, const char *code, double *value, char **name,
	const struct bound *bound, struct error *err)
{
	char body[96];
	cleanup_json *answer = NULL;
	snprintf(body, sizeof(body), "{\"ServiceCode\":\"ec2\",\"QuotaCode\":\"%s\"}", code);
	if (aws_json_call(ec2, "servicequotas", "ServiceQuotasV20190624.GetServiceQuota", body,
		    &answer, bound, err) < 0)
		return -1;
	return quota_read(answer, value, name, err);
}

static void check_one(struct ec2 *ec2, struct check_report *report, const struct offering *o,
	const char *code, const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	cleanup(free_ptr) char *name = NULL;
	double value = 0;
	if (look(ec2, code, &value, &name, bound, &why) < 0)
		check_unknown(report, "quota", "%s", error_message(&why));
	else if (value < (double)o->vcpus)
		check_wrong(report, ERROR_QUOTA, "quota",
			"ask for more at Service Quotas, or use other types",
			"%s (%s): %.0f vCPUs, one %s has %lld", name, code, value, o->type,
			(long long)o->vcpus);
	else
		check_right(report, "quota", "%s (%s): %.0f vCPUs", name, code, value);
}

void quota_check(struct ec2 *ec2, struct check_report *report, const struct offering *types,
	size_t count, const struct bound *bound)
{
	for (size_t i = 0; i < count; i++) {
		const char *code = quota_code(types[i].type, types[i].spot);
		bool seen = false;
		for (size_t k = 0; k < i && code; k++) {
			const char *other = quota_code(types[k].type, types[k].spot);
			seen = seen || (other && !strcmp(other, code));
		}
		if (!code)
			check_unknown(report, "quota", "which one counts %s", types[i].type);
		else if (!seen)
			check_one(ec2, report, &types[i], code, bound);
	}
}
