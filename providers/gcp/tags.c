/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tags.c - see tags.h
 *
 * Where all are given as ids, nobody is asked. Failures are not kept: the next creation asks again.
 */
#include "providers/gcp/tags.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/list.h"
#include "providers/gcp/encode.h"

#define LOCK_STEP_NS (10 * NS_PER_MS)

struct tags {
	struct compute *compute;
	const char *text;
	pthread_mutex_t lock;
	json_t *known;
};

struct tags *tags_new(struct compute *c, const char *text)
{
	struct tags *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->compute = c;
	t->text = text;
	pthread_mutex_init(&t->lock, NULL);
	return t;
}

void tags_free(struct tags *t)
{
	if (!t)
		return;
	json_decref(t->known);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

/* The one of a list whose short name is wanted. */
struct search {
	const char *member, *short_name;
	char *name;
};

static int search_page(void *with, const json_t *page, struct error *err)
{
	struct search *s = with;
	size_t i;
	json_t *item;
	json_array_foreach(json_object_get(page, s->member), i, item)
	{
		const char *short_name = json_string_value(json_object_get(item, "shortName"));
		if (!short_name || strcmp(short_name, s->short_name) != 0)
			continue;
		if (json_read_string(item, s->member, "name", JSON_REQUIRED, &s->name, err) < 0)
			return -1;
	}
	return 0;
}

static int search(struct tags *t, const char *what, const char *collection, const char *parent,
	const char *short_name, char **name, const struct bound *bound, struct error *err)
{
	struct search s = {collection, short_name, NULL};
	cleanup(buf_free) struct buf path = BUF_INIT;
	buf_printf(&path, "v3/%s", collection);
	query_add(&path, "parent", parent);
	const struct compute_call call = {.what = what,
		.class = COMPUTE_MANAGER,
		.path = buf_text(&path)};
	int result = path.failed ? error_set(err, ERROR_CAPACITY, "out of memory")
				 : compute_pages(t->compute, &call, search_page, &s, bound, err);
	*name = s.name;
	return result;
}

static int resolve_one(struct tags *t, const char *project, const char *key, const char *value,
	json_t *into, const struct bound *bound, struct error *err)
{
	cleanup(free_ptr) char *key_id = NULL, *value_id = NULL;
	cleanup(buf_free) struct buf parent = BUF_INIT;
	if (!strncmp(key, "tagKeys/", 8))
		return json_object_set_new(into, key, json_string(value)) < 0
			       ? error_set(err, ERROR_CAPACITY, "out of memory")
			       : 0;
	buf_printf(&parent, "projects/%s", project);
	if (search(t, "tagKeys.list", "tagKeys", buf_text(&parent), key, &key_id, bound, err) < 0)
		return error_prefix(err, "TAGS: %s", key);
	if (!key_id)
		return error_set(err, ERROR_INVALID,
			"TAGS: project %s has no tag key \"%s\": make it (gcloud resource-manager tags keys create), "
			"or give the ids, tagKeys/1=tagValues/2",
			project, key);
	if (search(t, "tagValues.list", "tagValues", key_id, value, &value_id, bound, err) < 0)
		return error_prefix(err, "TAGS: %s", key);
	if (!value_id)
		return error_set(err, ERROR_INVALID,
			"TAGS: tag key \"%s\" has no value \"%s\": make it (gcloud resource-manager tags values create)",
			key, value);
	return json_object_set_new(into, key_id, json_string(value_id)) < 0
		       ? error_set(err, ERROR_CAPACITY, "out of memory")
		       : 0;
}

static int resolve_all(struct tags *t, const char *project, const struct bound *bound,
	struct error *err)
{
	cleanup_json *all = json_object();
	const char *text = t->text;
	if (!all)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (;;) {
		cleanup(free_ptr) char *key = NULL, *value = NULL;
		int more = pairs_next("TAGS", &text, &key, &value, err);
		if (more < 0)
			return -1;
		if (!more)
			break;
		if (resolve_one(t, project, key, value, all, bound, err) < 0)
			return -1;
	}
	t->known = take_ptr(all);
	return 0;
}

int tags_resolve(struct tags *t, const char *project, json_t **out, const struct bound *bound,
	struct error *err)
{
	*out = NULL;
	if (!*t->text)
		return 0;
	while (pthread_mutex_trylock(&t->lock)) {
		if (bound_sleep(bound, LOCK_STEP_NS, "wait for the tags", err) < 0)
			return -1;
	}
	int result = t->known ? 0 : resolve_all(t, project, bound, err);
	*out = result == 0 ? json_deep_copy(t->known) : NULL;
	pthread_mutex_unlock(&t->lock);
	if (result == 0 && !*out)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return result;
}
