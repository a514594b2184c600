/* SPDX-License-Identifier: Apache-2.0 */
/*
 * describe.c - see describe.h
 *
 * Instances are asked for by a filter, where a name that does not exist does no harm. The metadata, with the user data
 * and its key in it, is never asked for.
 */
#include "providers/gcp/describe.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "http/batch.h"
#include "providers/gcp/encode.h"

#define INTERVAL_NS (300 * NS_PER_MS)
#define BATCH_MAX 60 /* a URL has room for some 8 KiB */
#define DISK_FIELDS "name,zone,labels,users,description,creationTimestamp"

struct each {
	const char *member; /* "instances" of a scope */
	int (*each)(void *with, const json_t *item, struct error *err);
	void *with;
};

static int each_item(const struct each *e, const json_t *list, struct error *err)
{
	size_t i;
	json_t *item;
	json_array_foreach(list, i, item)
	{
		if (json_is_object(item) && e->each(e->with, item, err) < 0)
			return -1;
	}
	return 0;
}

/* A zone's list has items[], an aggregated one items{"zones/Z": {"instances": []}}. */
static int each_page(void *with, const json_t *page, struct error *err)
{
	const struct each *e = with;
	json_t *items = json_object_get(page, "items"), *scope;
	const char *name;
	if (json_is_array(items))
		return each_item(e, items, err);
	json_object_foreach(items, name, scope)
	{
		if (each_item(e, json_object_get(scope, e->member), err) < 0)
			return -1;
	}
	return 0;
}

static int list_each(struct compute *c, const char *what, const char *project, const char *zone,
	const char *fields, const char *filter, struct each *e, const struct bound *bound,
	struct error *err)
{
	cleanup(buf_free) struct buf path = BUF_INIT, wanted = BUF_INIT;
	if (*zone) {
		buf_printf(&path, "projects/%s/zones/%s/%s", project, zone, e->member);
		buf_printf(&wanted, "items(%s),nextPageToken", fields);
	} else {
		buf_printf(&path, "projects/%s/aggregated/%s", project, e->member);
		buf_printf(&wanted, "items/*/%s(%s),nextPageToken", e->member, fields);
	}
	if (*filter)
		query_add(&path, "filter", filter);
	query_add(&path, "fields", buf_text(&wanted));
	if (path.failed || wanted.failed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	const struct compute_call call = {.what = what,
		.class = COMPUTE_READ,
		.path = buf_text(&path)};
	return compute_pages(c, &call, each_page, e, bound, err);
}

int instances_each(struct compute *c, const char *project, const char *zone, const char *filter,
	int (*each)(void *with, const json_t *item, struct error *err), void *with,
	const struct bound *bound, struct error *err)
{
	struct each e = {"instances", each, with};
	return list_each(c, *zone ? "instances.list" : "instances.aggregatedList", project, zone,
		VM_FIELDS, filter, &e, bound, err);
}

int disks_each(struct compute *c, const char *project, const char *filter,
	int (*each)(void *with, const json_t *item, struct error *err), void *with,
	const struct bound *bound, struct error *err)
{
	struct each e = {"disks", each, with};
	return list_each(c, "disks.aggregatedList", project, "", DISK_FIELDS, filter, &e, bound,
		err);
}

/* ---- many at once ------------------------------------------------------------------------------------------ */

struct describer {
	struct compute *compute;
	struct place *place;
	enum describe_by by;
	bool everywhere;
	struct batch *batch;
};

/* What the pages bring, so that the best of several can be chosen. */
static int collect(void *with, const json_t *item, struct error *err)
{
	json_t *all = with;
	if (json_array_append(all, (json_t *)item) < 0)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return 0;
}

static void answer(struct describer *d, struct batch *batch, const json_t *all, bool best)
{
	size_t i;
	json_t *item;
	json_array_foreach(all, i, item)
	{
		cleanup_vm vm = {0};
		if (vm_read(item, &vm, NULL) < 0)
			continue;
		const char *key = d->by == BY_NAME ? vm.name : vm.token;
		if (key && best == (vm_is_ours(&vm) && !vm_is_dead(&vm)))
			batch_answer(batch, key, item);
	}
}

static int ask(void *with, struct batch *batch, char *const *keys, const struct bound *bound,
	struct error *err)
{
	struct describer *d = with;
	struct location at;
	cleanup(buf_free) struct buf filter = BUF_INIT;
	cleanup_json *all = json_array();
	if (place_find(d->place, &at, bound, err) < 0)
		return -1;
	for (size_t i = 0; keys[i]; i++)
		buf_printf(&filter, "%s(%s=\"%s\")", i ? " OR " : "",
			d->by == BY_NAME ? "name" : "labels." LABEL_TOKEN, keys[i]);
	if (!all || filter.failed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	const char *zone = !d->everywhere && !at.zones[1] ? at.zones[0] : "";
	if (instances_each(d->compute, at.project, zone, buf_text(&filter), collect, all, bound,
		    err) < 0)
		return -1;
	answer(d, batch, all, true);
	answer(d, batch, all, false);
	return 0;
}

static void *copy(const void *item)
{
	return json_incref((json_t *)item);
}

static void drop(void *item)
{
	json_decref(item);
}

struct describer *describer_new(struct compute *c, struct place *place, enum describe_by by,
	bool everywhere)
{
	static const struct batch_kind kind = {.what = "instances.list",
		.interval_ns = INTERVAL_NS,
		.keys_max = BATCH_MAX,
		.ask = ask,
		.copy = copy,
		.free = drop};
	struct describer *d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->compute = c;
	d->place = place;
	d->by = by;
	d->everywhere = everywhere;
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
	cleanup_error why = ERROR_INIT;
	void *item = NULL;
	*vm = (struct vm){0};
	if (batch_get(d->batch, key, &item, bound, &why) < 0) {
		if (why.kind == ERROR_GONE)
			return error_set(err, ERROR_GONE, "there is no instance with %s %s",
				d->by == BY_NAME ? "the name" : "the token", key);
		return error_move(err, &why);
	}
	int result = vm_read(item, vm, err);
	drop(item);
	return result;
}
