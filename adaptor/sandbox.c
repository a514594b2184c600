/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.c - see sandbox.h
 *
 * A list: a node has tens of sandboxes, and a look-up happens a few times in the life of a pod.
 */
#include "adaptor/sandbox.h"

#include <stdlib.h>
#include <string.h>

int sandbox_table_init(struct sandbox_table *table, struct error *err)
{
	*table = (struct sandbox_table){.changed = notice_new(err)};
	if (!table->changed)
		return -1;
	pthread_mutex_init(&table->lock, NULL);
	return 0;
}

static void sandbox_free(struct sandbox *sandbox)
{
	record_free(&sandbox->record);
	free(sandbox->reap_failure);
	pthread_mutex_destroy(&sandbox->owner);
	free(sandbox);
}

void sandbox_table_free(struct sandbox_table *table)
{
	while (table->first) {
		struct sandbox *sandbox = table->first;
		table->first = sandbox->next;
		sandbox_free(sandbox);
	}
	notice_free(table->changed);
	pthread_mutex_destroy(&table->lock);
}

struct sandbox *sandbox_new(struct record *record, struct error *err)
{
	struct sandbox *sandbox = calloc(1, sizeof(*sandbox));
	if (!sandbox) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&sandbox->owner, NULL);
	sandbox->record = *record;
	*record = (struct record){0};
	sandbox->references = 1;
	sandbox->shim_seen_ns = clock_ns();
	return sandbox;
}

/* Under the lock. The link that points to it, or the one at the end. */
static struct sandbox **link_of(struct sandbox_table *table, const char *id)
{
	struct sandbox **at = &table->first;
	while (*at && strcmp((*at)->record.sandbox, id) != 0)
		at = &(*at)->next;
	return at;
}

int sandbox_add(struct sandbox_table *table, struct sandbox *sandbox, struct error *err)
{
	pthread_mutex_lock(&table->lock);
	bool exists = *link_of(table, sandbox->record.sandbox) != NULL;
	if (!exists) {
		sandbox->references++;
		sandbox->next = table->first;
		table->first = sandbox;
	}
	pthread_mutex_unlock(&table->lock);
	if (exists)
		return error_set(err, ERROR_EXISTS, "sandbox %s already exists",
			sandbox->record.sandbox);
	notice_post(table->changed);
	return 0;
}

struct sandbox *sandbox_find(struct sandbox_table *table, const char *id)
{
	pthread_mutex_lock(&table->lock);
	struct sandbox *sandbox = *link_of(table, id);
	if (sandbox)
		sandbox->references++;
	pthread_mutex_unlock(&table->lock);
	return sandbox;
}

void sandbox_forget(struct sandbox_table *table, struct sandbox *sandbox)
{
	pthread_mutex_lock(&table->lock);
	struct sandbox **at = link_of(table, sandbox->record.sandbox);
	if (*at == sandbox) {
		*at = sandbox->next;
		sandbox->references--;
	}
	sandbox->gone = true;
	pthread_mutex_unlock(&table->lock);
	notice_post(table->changed);
}

void sandbox_unref(struct sandbox_table *table, struct sandbox *sandbox)
{
	pthread_mutex_lock(&table->lock);
	bool last = --sandbox->references == 0;
	pthread_mutex_unlock(&table->lock);
	if (last)
		sandbox_free(sandbox);
}

struct sandbox **sandbox_all(struct sandbox_table *table)
{
	pthread_mutex_lock(&table->lock);
	size_t count = 0;
	for (struct sandbox *s = table->first; s; s = s->next)
		count++;
	struct sandbox **all = calloc(count + 1, sizeof(struct sandbox *));
	size_t i = 0;
	for (struct sandbox *s = table->first; all && s; s = s->next) {
		s->references++;
		all[i++] = s;
	}
	pthread_mutex_unlock(&table->lock);
	return all;
}

void sandbox_all_free(struct sandbox_table *table, struct sandbox **sandboxes)
{
	for (struct sandbox **s = sandboxes; s && *s; s++)
		sandbox_unref(table, *s);
	free(sandboxes);
}

void sandbox_set_created(struct sandbox_table *table, struct sandbox *sandbox)
{
	pthread_mutex_lock(&table->lock);
	sandbox->created = true;
	pthread_mutex_unlock(&table->lock);
	notice_post(table->changed);
}

int sandbox_move(struct sandbox_table *table, struct sandbox *sandbox, enum sandbox_state state,
	struct error *err)
{
	pthread_mutex_lock(&table->lock);
	enum sandbox_state from = sandbox->record.state;
	bool may = sandbox_state_may(from, state);
	if (may)
		sandbox->record.state = state;
	pthread_mutex_unlock(&table->lock);
	if (!may)
		return error_set(err, ERROR_INTERNAL, "sandbox %s cannot go from %s to %s",
			sandbox->record.sandbox, sandbox_state_name(from),
			sandbox_state_name(state));
	notice_post(table->changed);
	return 0;
}

void sandbox_reach(struct sandbox_table *table, struct sandbox *sandbox, enum start_stage stage)
{
	pthread_mutex_lock(&table->lock);
	sandbox->record.stage = stage;
	pthread_mutex_unlock(&table->lock);
}

void sandbox_set_instance(struct sandbox_table *table, struct sandbox *sandbox, char *instance_id)
{
	pthread_mutex_lock(&table->lock);
	free(sandbox->record.instance_id);
	sandbox->record.instance_id = instance_id;
	sandbox->record.stage = STAGE_INSTANCE;
	pthread_mutex_unlock(&table->lock);
	notice_post(table->changed);
}

enum sandbox_state sandbox_state(struct sandbox_table *table, struct sandbox *sandbox)
{
	pthread_mutex_lock(&table->lock);
	enum sandbox_state state = sandbox->record.state;
	pthread_mutex_unlock(&table->lock);
	return state;
}

bool sandbox_is_gone(struct sandbox_table *table, struct sandbox *sandbox)
{
	pthread_mutex_lock(&table->lock);
	bool gone = sandbox->gone;
	pthread_mutex_unlock(&table->lock);
	return gone;
}

struct log_context sandbox_log_context(const struct sandbox *sandbox)
{
	return (struct log_context){
		.sandbox = sandbox->record.sandbox,
		.pod = sandbox->record.pod,
		.pod_namespace = sandbox->record.pod_namespace,
	};
}
