/* SPDX-License-Identifier: Apache-2.0 */
/* operation.c - see operation.h */
#include "providers/gcp/operation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "http/attempt.h"
#include "http/batch.h"
#include "providers/gcp/encode.h"
#include "providers/gcp/failure.h"

#define WAIT_ANSWER_NS (130 * NS_PER_S) /* the API answers within two minutes */
#define INTERVAL_NS (300 * NS_PER_MS)
#define BATCH_MAX 60 /* a URL has room for some 8 KiB */
#define FAULTS_MAX 8

void operation_free(struct operation *op)
{
	error_clear(&op->err);
}

int operation_read(const json_t *object, struct operation *op, struct error *err)
{
	const char *name = json_string_value(json_object_get(object, "name"));
	const char *zone = json_string_value(json_object_get(object, "zone"));
	const char *status = json_string_value(json_object_get(object, "status"));
	*op = (struct operation){0};
	if (!name || !path_is_plain(name) || strlen(name) >= sizeof(op->name) || !zone ||
		!name_is_plain(path_last(zone)) || !status)
		return error_set(err, ERROR_RETRY,
			"the answer is no operation with a name, a zone and a status");
	snprintf(op->name, sizeof(op->name), "%s", name);
	snprintf(op->zone, sizeof(op->zone), "%s", path_last(zone));
	op->done = !strcmp(status, "DONE");
	if (!time_read(json_string_value(json_object_get(object, "insertTime")), &op->inserted))
		op->inserted = 0;
	if (op->done)
		failure_of_operation(object, &op->err);
	return 0;
}

int operation_wait(struct compute *c, const char *project, const struct operation *started,
	const struct bound *bound, struct error *err)
{
	cleanup(buf_free) struct buf path = BUF_INIT;
	struct attempt attempt = {.who = "gcp", .faults_max = FAULTS_MAX};
	buf_printf(&path, "projects/%s/zones/%s/operations/%s/wait", project, started->zone,
		started->name);
	const struct compute_call call = {.what = "zoneOperations.wait",
		.class = COMPUTE_READ,
		.method = "POST",
		.path = buf_text(&path),
		.answer_ns = WAIT_ANSWER_NS,
		.faults = 1};
	for (;;) {
		cleanup_json *reply = NULL;
		cleanup_operation op = {0};
		cleanup_error why = ERROR_INIT;
		if (compute_call(c, &call, &reply, NULL, bound, &why) == 0 &&
			operation_read(reply, &op, &why) == 0) {
			if (op.err.kind != ERROR_NONE)
				return error_move(err, &op.err);
			if (op.done)
				return 0;
			/* It may answer early, and then is asked again. */
			if (bound_check(bound, "wait for the operation", err) < 0)
				return -1;
			continue;
		}
		if (attempt_again(&attempt, 0, bound, &why))
			continue;
		return error_move(err, &why);
	}
}

/* ---- many at once ------------------------------------------------------------------------------------------ */

struct operation_watch {
	struct compute *compute;
	struct batch *batch;
};

/* Keys are "project zone name". */
static bool key_split(const char *key, char *project, size_t size, char zone[ZONE_SIZE],
	const char **name)
{
	const char *first = strchr(key, ' '), *second = first ? strchr(first + 1, ' ') : NULL;
	if (!second || (size_t)(first - key) >= size || second - first > NAME_MAX_LEN)
		return false;
	snprintf(project, size, "%.*s", (int)(first - key), key);
	snprintf(zone, ZONE_SIZE, "%.*s", (int)(second - first - 1), first + 1);
	*name = second + 1;
	return true;
}

struct listing {
	struct batch *batch;
	const char *project, *zone;
};

static int listing_page(void *with, const json_t *page, struct error *err)
{
	const struct listing *l = with;
	size_t i;
	json_t *item;
	(void)err;
	json_array_foreach(json_object_get(page, "items"), i, item)
	{
		const char *name = json_string_value(json_object_get(item, "name"));
		cleanup(free_ptr) char *key = NULL;
		if (name && asprintf(&key, "%s %s %s", l->project, l->zone, name) >= 0)
			batch_answer(l->batch, key, item);
		else
			key = NULL;
	}
	return 0;
}

static int ask(void *with, struct batch *batch, char *const *keys, const struct bound *bound,
	struct error *err)
{
	struct operation_watch *w = with;
	cleanup(free_ptr) bool *asked = calloc(list_count(keys) + 1, sizeof(*asked));
	if (!asked)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (size_t i = 0; keys[i]; i++) {
		cleanup(buf_free) struct buf path = BUF_INIT, filter = BUF_INIT;
		char project[128], zone[ZONE_SIZE], other_project[128], other_zone[ZONE_SIZE];
		const char *name;
		if (asked[i] || !key_split(keys[i], project, sizeof(project), zone, &name))
			continue;
		for (size_t k = i; keys[k]; k++) {
			if (!key_split(keys[k], other_project, sizeof(other_project), other_zone,
				    &name) ||
				strcmp(project, other_project) != 0 ||
				strcmp(zone, other_zone) != 0)
				continue;
			asked[k] = true;
			buf_printf(&filter, "%s(name=\"%s\")", filter.len ? " OR " : "", name);
		}
		buf_printf(&path, "projects/%s/zones/%s/operations", project, zone);
		query_add(&path, "filter", buf_text(&filter));
		struct listing listing = {batch, project, zone};
		if (path.failed || filter.failed)
			return error_set(err, ERROR_CAPACITY, "out of memory");
		const struct compute_call call = {.what = "zoneOperations.list",
			.class = COMPUTE_READ,
			.path = buf_text(&path)};
		if (compute_pages(w->compute, &call, listing_page, &listing, bound, err) < 0)
			return -1;
	}
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

struct operation_watch *operation_watch_new(struct compute *c)
{
	static const struct batch_kind kind = {.what = "zoneOperations.list",
		.interval_ns = INTERVAL_NS,
		.keys_max = BATCH_MAX,
		.ask = ask,
		.copy = copy,
		.free = drop};
	struct operation_watch *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->compute = c;
	w->batch = batch_new(&kind, w);
	if (w->batch)
		return w;
	free(w);
	return NULL;
}

void operation_watch_free(struct operation_watch *w)
{
	if (!w)
		return;
	batch_free(w->batch);
	free(w);
}

int operation_look(struct operation_watch *w, const char *project, const struct operation *op,
	struct operation *now, const struct bound *bound, struct error *err)
{
	cleanup(free_ptr) char *key = NULL;
	void *item = NULL;
	if (asprintf(&key, "%s %s %s", project, op->zone, op->name) < 0) {
		key = NULL;
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	if (batch_get(w->batch, key, &item, bound, err) < 0)
		return -1;
	int result = operation_read(item, now, err);
	drop(item);
	return result;
}
