/* SPDX-License-Identifier: Apache-2.0 */
/*
 * orphans.c - instances of this node that no record knows
 *
 * They exist when a creation was answered into a crash, when a record was damaged, or when a cloud
 * finished what it had reported as failed. The provider lists by our tags; an instance is deleted only
 * if cluster and node are exactly ours, no sandbox here has its id, no shim is connected to it, and it
 * is older than the grace period, by its own age or by the time that this process has known it.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "adaptor/adaptor.h"
#include "adaptor/orphan_rule.h"
#include "base/cleanup.h"
#include "base/log.h"

struct seen {
	char *id;
	uint64_t first_ns;
	bool present; /* in the present round */
};

struct orphans {
	struct seen *list;
	size_t count;
};

struct orphans *orphans_new(void)
{
	return calloc(1, sizeof(struct orphans));
}

void orphans_free(struct orphans *orphans)
{
	for (size_t i = 0; orphans && i < orphans->count; i++)
		free(orphans->list[i].id);
	if (orphans)
		free(orphans->list);
	free(orphans);
}

/* When this process first saw it; remembers it from now on. */
static uint64_t first_seen(struct orphans *orphans, const char *id)
{
	for (size_t i = 0; i < orphans->count; i++) {
		if (!strcmp(orphans->list[i].id, id)) {
			orphans->list[i].present = true;
			return orphans->list[i].first_ns;
		}
	}
	struct seen *grown = reallocarray(orphans->list, orphans->count + 1, sizeof(*grown));
	char *copy = strdup(id);
	if (grown)
		orphans->list = grown;
	if (grown && copy)
		orphans->list[orphans->count++] = (struct seen){copy, clock_ns(), true};
	else
		free(copy);
	return clock_ns();
}

static void drop_absent(struct orphans *orphans)
{
	size_t kept = 0;
	for (size_t i = 0; i < orphans->count; i++) {
		if (!orphans->list[i].present) {
			free(orphans->list[i].id);
			continue;
		}
		orphans->list[kept] = orphans->list[i];
		orphans->list[kept++].present = false;
	}
	orphans->count = kept;
}

static bool is_known(struct adaptor *adaptor, const struct instance *instance)
{
	struct sandbox *sandbox =
		instance->sandbox ? sandbox_find(&adaptor->table, instance->sandbox) : NULL;
	if (!sandbox)
		return false;
	sandbox_unref(&adaptor->table, sandbox);
	return true;
}

static bool has_shim(const struct proxy_sandbox *served, size_t count, const char *sandbox)
{
	for (size_t i = 0; i < count; i++) {
		if (sandbox && !strcmp(served[i].sandbox, sandbox))
			return served[i].shim_connections > 0;
	}
	return false;
}

static bool is_old(const struct adaptor *adaptor, struct orphans *seen,
	const struct instance *instance)
{
	/* Where the provider cannot tell, it is as old as our knowledge of it. */
	uint64_t first = first_seen(seen, instance->id);
	return orphan_is_old(instance, (int64_t)time(NULL), clock_ns() - first,
		adaptor->settings->orphan_grace_ns);
}

static void sweep_one(struct adaptor *adaptor, struct orphans *seen,
	const struct instance *instance, const struct proxy_sandbox *served, size_t served_count,
	const struct bound *bound)
{
	const struct world *world = adaptor->world;
	if (!orphan_is_ours(instance, adaptor->cluster, adaptor->settings->node_name) ||
		is_known(adaptor, instance))
		return;
	struct log_context context = {.sandbox = instance->sandbox,
		.pod = instance->pod,
		.pod_namespace = instance->pod_namespace};
	log_scope(context);
	if (has_shim(served, served_count, instance->sandbox)) {
		log_warn("instance %s has no record, and a shim is connected to it: left alone",
			instance->id);
		return;
	}
	if (!is_old(adaptor, seen, instance)) {
		log_info(
			"instance %s has no record; it is deleted once its grace period has passed",
			instance->id);
		return;
	}
	log_warn("instance %s has no record and is older than the grace period: deleting it",
		instance->id);
	cleanup_error why = ERROR_INIT;
	if (world->driver->delete (world->provider, instance->id, bound, &why) < 0 &&
		why.kind != ERROR_GONE)
		log_warn("delete instance %s: %s", instance->id, error_message(&why));
	else if (instance->sandbox && sandbox_id_check(instance->sandbox, NULL) == 0)
		journal_remove_damaged(&adaptor->journal, instance->sandbox, NULL);
}

static bool is_text(const char *a, const char *b)
{
	return a && *a && b && !strcmp(a, b);
}

/* By its sandbox or its token; what a cloud lets nobody tag bears the name of its instance. */
static bool is_of(const struct instance *instance, const struct record *record)
{
	bool tagged =
		(instance->sandbox && *instance->sandbox) || (instance->token && *instance->token);
	return is_text(instance->sandbox, record->sandbox) ||
	       is_text(instance->token, record->token) ||
	       (!tagged && is_text(instance->name, record->instance_name));
}

int orphans_delete(struct adaptor *adaptor, const struct record *record, const struct bound *bound,
	struct error *err)
{
	const struct world *world = adaptor->world;
	struct instance *instances = NULL;
	size_t count = 0;
	int result = world->driver->list(world->provider, adaptor->cluster,
		adaptor->settings->node_name, &instances, &count, bound, err);
	for (size_t i = 0; result == 0 && i < count; i++) {
		const struct instance *one = &instances[i];
		if (!orphan_is_ours(one, adaptor->cluster, adaptor->settings->node_name) ||
			!is_of(one, record))
			continue;
		log_warn("%s is left of an unfinished creation: deleting it", one->id);
		cleanup_error why = ERROR_INIT;
		if (world->driver->delete (world->provider, one->id, bound, &why) < 0 &&
			why.kind != ERROR_GONE)
			result = error_move(err, &why);
	}
	instances_free(instances, count);
	return result;
}

int orphans_sweep(struct adaptor *adaptor, struct orphans *seen, const struct bound *bound,
	struct error *err)
{
	const struct world *world = adaptor->world;
	struct instance *instances = NULL;
	size_t count = 0;
	if (world->driver->list(world->provider, adaptor->cluster, adaptor->settings->node_name,
		    &instances, &count, bound, err) < 0)
		return error_prefix(err, "list instances");
	/* Who has no answer about shims deletes nothing that might have one. */
	struct proxy_sandbox *served = NULL;
	size_t served_count = 0;
	int result = 0;
	if (count > 0)
		result = world->proxy_ops->list(world->proxy, &served, &served_count, bound, err);
	for (size_t i = 0; result == 0 && i < count; i++)
		sweep_one(adaptor, seen, &instances[i], served, served_count, bound);
	proxy_sandboxes_free(served, served_count);
	instances_free(instances, count);
	drop_absent(seen);
	if (count > 0)
		adaptor_remove_empty_folders(adaptor);
	return result;
}
