/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota.c - see quota.h
 *
 * EC2 counts vCPUs by groups of families, on-demand and spot apart. A quota tells how many may run; how many do is added
 * up from the running instances of the account, ours or not.
 */
#include "providers/aws/quota.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CORES_MAX 4096 /* of an instance; more is no count */

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

/* ---- what runs ---------------------------------------------------------------------------------------------- */

/* A quota of those that the types have, and the smallest of its types. */
struct quota {
	const char *code;
	const struct offering *type;
	int64_t in_use;
};

/* vCPUs of an instance; those on a host of the account's own are not counted by EC2. */
static void count_vcpus(xmlNode *item, struct quota *quotas, size_t count)
{
	cleanup(free_ptr) char *type = xml_text(item, "instanceType"),
			       *lifecycle = xml_text(item, "instanceLifecycle"),
			       *tenancy = xml_text(item, "placement/tenancy");
	int64_t cores = xml_number(item, "cpuOptions/coreCount", 0),
		threads = xml_number(item, "cpuOptions/threadsPerCore", 0);
	const char *code = type ? quota_code(type, lifecycle && !strcmp(lifecycle, "spot")) : NULL;
	if (!code || (tenancy && !strcmp(tenancy, "host")) || cores > CORES_MAX ||
		threads > CORES_MAX)
		return;
	for (size_t i = 0; i < count; i++)
		quotas[i].in_use += strcmp(quotas[i].code, code) ? 0 : cores * threads;
}

static int count_running(struct ec2 *ec2, struct quota *quotas, size_t count,
	const struct bound *bound, struct error *err)
{
	static const char *const states[] = {"pending", "running", NULL};
	cleanup_query query = {0};
	cleanup_pages pages = {0};
	int result;
	query_start(&query, "DescribeInstances", EC2_VERSION);
	query_filter(&query, 1, "instance-state-name", states);
	query_add(&query, "1000", "MaxResults");
	while ((result = ec2_page(ec2, &query, &pages, bound, err)) > 0) {
		xmlNode *r = xml_first_item(pages.page, "reservationSet");
		for (; r; r = xml_next_item(r)) {
			xmlNode *i = xml_first_item(r, "instancesSet");
			for (; i; i = xml_next_item(i))
				count_vcpus(i, quotas, count);
		}
	}
	return result;
}

/* ---- rows --------------------------------------------------------------------------------------------------- */

static void check_one(struct ec2 *ec2, struct check_report *report, const struct quota *q,
	const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	cleanup(free_ptr) char *name = NULL;
	double value = 0;
	if (look(ec2, q->code, &value, &name, bound, &why) < 0)
		check_unknown(report, "quota", "%s", error_message(&why));
	else if (value < (double)(q->in_use + q->type->vcpus))
		check_wrong(report, ERROR_QUOTA, "quota",
			"ask for more at Service Quotas, or use other types",
			"%s (%s): %.0f vCPUs, %lld in use, one %s needs %lld", name, q->code, value,
			(long long)q->in_use, q->type->type, (long long)q->type->vcpus);
	else
		check_right(report, "quota", "%s (%s): %.0f vCPUs, %lld in use", name, q->code,
			value, (long long)q->in_use);
}

void quota_check(struct ec2 *ec2, struct check_report *report, const struct offering *types,
	size_t count, const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	cleanup(free_ptr) struct quota *quotas = calloc(count + 1, sizeof(*quotas));
	size_t n = 0;
	for (size_t i = 0; quotas && i < count; i++) {
		const char *code = quota_code(types[i].type, types[i].spot);
		size_t k = 0;
		while (code && k < n && strcmp(quotas[k].code, code) != 0)
			k++;
		if (!code)
			check_unknown(report, "quota", "which one counts %s", types[i].type);
		else if (k == n)
			quotas[n++] = (struct quota){.code = code, .type = &types[i]};
		else if (types[i].vcpus < quotas[k].type->vcpus)
			quotas[k].type = &types[i];
	}
	if (n && count_running(ec2, quotas, n, bound, &why) < 0)
		check_unknown(report, "quota", "what is in use: %s", error_message(&why));
	for (size_t i = 0; i < n; i++)
		check_one(ec2, report, &quotas[i], bound);
}
