/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe.c - see describe.h
 *
 * Asked for by a filter, where unknown ids do no harm.
 */
#include "providers/aws/describe.h"

#include <stdlib.h>
#include <string.h>

#include "http/batch.h"

#define INTERVAL_NS (300 * NS_PER_MS)
#define BATCH_MAX 190 /* a filter takes 200 values */

struct describer {
	struct ec2 *ec2;
	const char *filter;
	bool live;
	struct batch *batch;
};

static const char *key_of(const struct describer *d, const struct vm *vm)
{
	return !strcmp(d->filter, "instance-id") ? vm->id : vm->tags.token;
}

static void answer_page(struct describer *d, struct batch *batch, xmlNode *root)
{
	for (xmlNode *r = xml_first_item(root, "reservationSet"); r; r = xml_next_item(r)) {
		for (xmlNode *i = xml_first_item(r, "instancesSet"); i; i = xml_next_item(i)) {
			cleanup_vm vm = {0};
			if (vm_read(i, &vm, NULL) == 0 && key_of(d, &vm))
				batch_answer(batch, key_of(d, &vm), i);
		}
	}
}

static int ask(void *with, struct batch *batch, char *const *keys, const struct bound *bound,
	struct error *err)
{
	static const char *const live_states[] = {"pending", "running", "stopping", "stopped",
		NULL};
	struct describer *d = with;
	cleanup_query query = {0};
	cleanup_pages pages = {0};
	int result;
	query_start(&query, "DescribeInstances", EC2_VERSION);
	query_filter(&query, 1, d->filter, (const char *const *)keys);
	if (d->live)
		query_filter(&query, 2, "instance-state-name", live_states);
	query_add(&query, "1000", "MaxResults");
	while ((result = ec2_page(d->ec2, &query, &pages, bound, err)) > 0)
		answer_page(d, batch, pages.page);
	return result;
}

static void *copy(const void *item)
{
	return xmlCopyNode((xmlNode *)item, 1);
}

static void drop(void *item)
{
	xmlFreeNode(item);
}

struct describer *describer_new(struct ec2 *ec2, const char *filter, bool live)
{
	static const struct batch_kind kind = {.what = "DescribeInstances",
		.interval_ns = INTERVAL_NS,
		.keys_max = BATCH_MAX,
		.ask = ask,
		.copy = copy,
		.free = drop};
	struct describer *d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->ec2 = ec2;
	d->filter = filter;
	d->live = live;
	d->batch = batch_new(&kind, d);
	if (d->batch)
		return d;
	free(d);
	return NULL;
}

void describer_free(struct describer *d)
{
	if (!d)
		return;
	batch_free(d->batch);
	free(d);
}

int describe(struct describer *d, const char *key, struct vm *vm, const struct bound *bound,
	struct error *err)
{
	void *item = NULL;
	*vm = (struct vm){0};
	if (batch_get(d->batch, key, &item, bound, err) < 0)
		return err && err->kind == ERROR_GONE
			       ? error_set(err, ERROR_GONE, "there is no instance with %s %s",
					 d->filter, key)
			       : -1;
	int result = vm_read(item, vm, err);
	drop(item);
	return result;
}
