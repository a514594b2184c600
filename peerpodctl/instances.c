/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instances.c - peerpodctl instances: what exists in the cloud, beside what the journal of this node knows
 *
 * Only what carries our tags is ever listed, and only what was listed is ever deleted: a driver's list is the one
 * door. The journal is another source and may be missing (a workstation): then nothing is said of records, and
 * nothing is collected.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "adaptor/journal_look.h"
#include "adaptor/orphan_rule.h"
#include "adaptor/sandbox_id.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "peerpodctl/cloud.h"
#include "peerpodctl/owner.h"
#include "peerpodctl/print.h"
#include "peerpodctl/progress.h"
#include "peerpodctl/shims.h"
#include "peerpodctl/table.h"

#define CONSOLE_MAX ((size_t)16 * 1024)

/* All that a verb looks at. */
struct scene {
	struct cloud cloud;
	struct journal_look journal;
	bool has_journal;
	struct instance *instances;
	size_t count;
};

static void scene_close(struct scene *scene)
{
	instances_free(scene->instances, scene->count);
	journal_look_free(&scene->journal);
	cloud_close(&scene->cloud);
}

static int by_pod(const void *left, const void *right)
{
	const struct instance *a = left, *b = right;
	const char *const keys[][2] = {{a->cluster, b->cluster},
		{a->pod_namespace, b->pod_namespace}, {a->pod, b->pod}, {a->id, b->id}};
	int order = 0;
	for (size_t i = 0; !order && i < array_size(keys); i++)
		order = strcmp(keys[i][0] ? keys[i][0] : "", keys[i][1] ? keys[i][1] : "");
	return order;
}

/* cluster, node "": any. */
static int scene_open(struct invocation *in, const char *cluster, const char *node,
	struct scene *scene, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	scene->has_journal = journal_look(in->values.state_dir, &scene->journal, &why) == 0;
	if (!scene->has_journal && why.kind != ERROR_GONE && why.kind != ERROR_DENIED)
		return error_move(err, &why);
	if (cloud_open(in, &scene->cloud, err) < 0)
		return -1;
	struct cloud *cloud = &scene->cloud;
	progress_scope("list the instances");
	if (cloud->table->list(cloud->provider, cluster, node, &scene->instances, &scene->count,
		    &cloud->bound, err) < 0)
		return error_prefix(err, "%s: list the instances", cloud->table->name);
	if (scene->count)
		qsort(scene->instances, scene->count, sizeof(*scene->instances), by_pod);
	return 0;
}

static const struct record *record_of(const struct scene *scene, const struct instance *i)
{
	const struct record *record =
		i->sandbox ? journal_look_find(&scene->journal, i->sandbox) : NULL;
	for (size_t n = 0; !record && i->id && n < scene->journal.count; n++) {
		const struct record *r = &scene->journal.records[n];
		if (r->instance_id && *r->instance_id && !strcmp(r->instance_id, i->id))
			record = r;
	}
	return record;
}

/* What the journal says of it, in a word. */
static const char *record_word(const struct invocation *in, const struct scene *scene,
	const struct instance *i)
{
	const struct record *record = record_of(scene, i);
	if (record)
		return sandbox_state_name(record->state);
	if (!scene->has_journal || !orphan_is_ours(i, in->values.cluster, in->values.node))
		return "";
	return i->sandbox && journal_look_damage(&scene->journal, i->sandbox) ? "damaged" : "none";
}

static char **addresses_of(const struct scene *scene, const struct instance *i)
{
	const struct record *record = i->addresses ? NULL : record_of(scene, i);
	return record ? record->addresses : i->addresses;
}

static json_t *instance_json(const struct invocation *in, const struct scene *scene,
	const struct instance *i)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
		json_text(i->id), "name", json_text(i->name), "cluster", json_text(i->cluster),
		"node", json_text(i->node), "namespace", json_text(i->pod_namespace), "pod",
		json_text(i->pod), "sandbox", json_text(i->sandbox), "token", json_text(i->token),
		"addresses", json_texts(addresses_of(scene, i)), "created", json_time(i->created),
		"record", json_text(record_word(in, scene, i)));
}

static void pod_print(const struct instance *i, struct table *table)
{
	bool known = i->pod && *i->pod;
	table_cell(table, "%s%s%s", known && i->pod_namespace ? i->pod_namespace : "",
		known ? "/" : "", known ? i->pod : "");
}

/* ---- list and show ----------------------------------------------------------------------------------------- */

static int print_list(struct invocation *in, const struct scene *scene, struct error *err)
{
	static const char *const headers[] = {"INSTANCE", "NAME", "POD", "CLUSTER", "NODE",
		"ADDRESS", "AGE", "RECORD"};
	cleanup(table_free) struct table table;
	char age[32];
	table_start(&table, array_size(headers), headers);
	for (size_t n = 0; n < scene->count; n++) {
		const struct instance *i = &scene->instances[n];
		char **addresses = addresses_of(scene, i);
		age_print(i->created, (int64_t)time(NULL), age, sizeof(age));
		table_cell(&table, "%s", i->id ? i->id : "");
		table_cell(&table, "%s", i->name ? i->name : "");
		pod_print(i, &table);
		table_cell(&table, "%s", i->cluster ? i->cluster : "");
		table_cell(&table, "%s", i->node ? i->node : "");
		table_cell(&table, "%s", addresses && addresses[0] ? addresses[0] : "");
		table_cell(&table, "%s", age);
		table_cell(&table, "%s", record_word(in, scene, i));
	}
	if (table_print(&table, stdout) < 0)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return 0;
}

static int instances_list(struct invocation *in, struct error *err)
{
	cleanup(scene_close) struct scene scene = {0};
	/* A node that was not named limits nothing. */
	cleanup(free_ptr) char *node = strdup(in->values.node);
	if (!node)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (owner_complete(&in->values, err) < 0 ||
		scene_open(in, in->values.all_clusters ? "" : in->values.cluster, node, &scene,
			err) < 0)
		return -1;
	if (!in->values.json)
		return print_list(in, &scene, err);
	json_t *all = json_array();
	for (size_t i = 0; i < scene.count; i++)
		json_array_append_new(all, instance_json(in, &scene, &scene.instances[i]));
	return print_json(all, false, err);
}

static bool is_named(const struct instance *i, const char *word)
{
	const char *const names[] = {i->id, i->name, i->token, i->sandbox};
	for (size_t n = 0; n < array_size(names); n++) {
		if (names[n] && *names[n] && !strcmp(names[n], word))
			return true;
	}
	return false;
}

static const struct instance *pick(const struct invocation *in, const struct scene *scene,
	const char *word, struct error *err)
{
	const struct instance *found = NULL;
	for (size_t i = 0; i < scene->count; i++) {
		if (!is_named(&scene->instances[i], word))
			continue;
		if (found) {
			error_set(err, ERROR_INVALID,
				"more than one instance is called \"%s\": name it by its id", word);
			return NULL;
		}
		found = &scene->instances[i];
	}
	const char *cluster = in->values.cluster;
	if (!found)
		error_set(err, ERROR_GONE,
			"there is no instance \"%s\" of %s%s%s at %s: `peerpodctl instances list` shows "
			"what there is",
			word, *cluster ? "cluster \"" : "any cluster", cluster,
			*cluster ? "\"" : "", scene->cloud.table->name);
	return found;
}

static int instances_show(struct invocation *in, struct error *err)
{
	cleanup(scene_close) struct scene scene = {0};
	cleanup(free_ptr) char *console = NULL;
	if (owner_complete(&in->values, err) < 0 ||
		scene_open(in, in->values.all_clusters ? "" : in->values.cluster, "", &scene, err) <
			0)
		return -1;
	const struct instance *i = pick(in, &scene, in->words[0], err);
	if (!i)
		return -1;
	if (in->values.console && !scene.cloud.table->console_tail)
		return error_set(err, ERROR_UNSUPPORTED, "driver %s keeps no console",
			scene.cloud.table->name);
	if (in->values.console)
		console = scene.cloud.table->console_tail(scene.cloud.provider, i->id, CONSOLE_MAX,
			&scene.cloud.bound);
	if (in->values.json) {
		json_t *value = instance_json(in, &scene, i);
		if (in->values.console)
			json_object_set_new(value, "console", json_text(console));
		return print_json(value, false, err);
	}
	char age[32];
	age_print(i->created, (int64_t)time(NULL), age, sizeof(age));
	print_line("instance", i->id);
	print_line("name", i->name);
	print_line("cluster", i->cluster);
	print_line("node", i->node);
	print_line("namespace", i->pod_namespace);
	print_line("pod", i->pod);
	print_line("sandbox", i->sandbox);
	print_line("token", i->token);
	for (char **address = addresses_of(&scene, i); address && *address; address++)
		print_line("address", *address);
	print_line("age", age);
	print_line("record", record_word(in, &scene, i));
	if (console) {
		for (char *c = console; *c; c++)
			putchar((unsigned char)*c < ' ' && *c != '\n' && *c != '\t' ? '?' : *c);
	}
	return 0;
}

/* ---- delete ------------------------------------------------------------------------------------------------ */

/* 0: nothing speaks against it. */
static int may_delete(const struct invocation *in, const struct scene *scene,
	const struct instance *i, struct error *err)
{
	const struct record *record = record_of(scene, i);
	if (!i->cluster || strcmp(i->cluster, in->values.cluster) != 0)
		return error_set(err, ERROR_DENIED,
			"instance %s is of cluster \"%s\", not of \"%s\"", i->id,
			i->cluster ? i->cluster : "", in->values.cluster);
	if (in->values.force)
		return 0;
	if (record)
		return error_set(err, ERROR_DENIED,
			"instance %s serves pod %s/%s (%s): delete the pod, or force it with --force",
			i->id, record->pod_namespace, record->pod,
			sandbox_state_name(record->state));
	if (!scene->has_journal || !orphan_is_ours(i, in->values.cluster, in->values.node))
		return error_set(err, ERROR_DENIED,
			"instance %s is of node \"%s\", whose journal is not here: run this there, or force "
			"it with --force",
			i->id, i->node ? i->node : "");
	return 0;
}

static int delete_one(struct scene *scene, const struct instance *i, struct error *err)
{
	struct cloud *cloud = &scene->cloud;
	progress_scope("delete the instance");
	if (cloud->table->delete (cloud->provider, i->id, &cloud->bound, err) == 0)
		return 0;
	if (err->kind != ERROR_GONE)
		return error_prefix(err, "delete instance %s", i->id);
	error_clear(err);
	return 0;
}

static int instances_delete(struct invocation *in, struct error *err)
{
	cleanup(scene_close) struct scene scene = {0};
	json_t *deleted = NULL;
	if (owner_complete(&in->values, err) < 0 || owner_cluster_known(in, err) < 0 ||
		scene_open(in, in->values.cluster, "", &scene, err) < 0)
		return -1;
	/* All of them or none: a slip in the third word must not cost the first two. */
	for (size_t n = 0; n < in->word_count; n++) {
		const struct instance *i = pick(in, &scene, in->words[n], err);
		if (!i || may_delete(in, &scene, i, err) < 0)
			return -1;
	}
	deleted = json_array();
	for (size_t n = 0; n < in->word_count; n++) {
		const struct instance *i = pick(in, &scene, in->words[n], err);
		if (!i || delete_one(&scene, i, err) < 0) {
			json_decref(deleted);
			return -1;
		}
		json_array_append_new(deleted, json_text(i->id));
		if (!in->values.json)
			printf("instance %s deleted\n", i->id);
	}
	if (in->values.json)
		return print_json(json_pack("{s:o}", "deleted", deleted), false, err);
	json_decref(deleted);
	return 0;
}

/* ---- gc ---------------------------------------------------------------------------------------------------- */

enum fate { FATE_KEPT, FATE_DELETED, FATE_WOULD_DELETE, FATE_FAILED };

static const char *const fate_names[] = {"kept", "deleted", "would be deleted", "failed"};

/* NULL: it is an orphan. The adaptor's own rule, and what a look from outside cannot know is kept. */
static const char *why_kept(const struct invocation *in, const struct scene *scene,
	const struct shims *shims, const struct instance *i)
{
	const struct journal_damage *damage =
		i->sandbox ? journal_look_damage(&scene->journal, i->sandbox) : NULL;
	if (!orphan_is_ours(i, in->values.cluster, in->values.node))
		return "not this node's";
	if (record_of(scene, i))
		return "it has a record";
	if (damage && !damage->moved)
		return "its record cannot be read";
	if (shims_hold(shims, i->sandbox))
		return "a shim is connected to it";
	if (!orphan_is_old(i, (int64_t)time(NULL), 0, in->values.grace_ns))
		return i->created > 0 ? "younger than the grace period" : "its age is not known";
	return NULL;
}

/* The record that the adaptor moved aside has nothing left to stand for. */
static void forget_damaged(const struct invocation *in, const struct instance *i)
{
	cleanup(free_ptr) char *path = NULL;
	if (!i->sandbox || sandbox_id_check(i->sandbox, NULL) < 0)
		return;
	if (asprintf(&path, "%s/sandboxes/%s" RECORD_SUFFIX RECORD_DAMAGED_SUFFIX,
		    in->values.state_dir, i->sandbox) < 0) {
		path = NULL;
		return;
	}
	file_remove(path, NULL);
}

struct outcome {
	enum fate fate;
	char *reason;
};

static struct outcome collect(struct invocation *in, struct scene *scene, const struct shims *shims,
	const struct instance *i)
{
	const char *kept = why_kept(in, scene, shims, i);
	cleanup_error why = ERROR_INIT;
	if (kept)
		return (struct outcome){FATE_KEPT, strdup(kept)};
	if (in->values.dry_run)
		return (struct outcome){FATE_WOULD_DELETE,
			strdup("no record, older than the grace period")};
	if (delete_one(scene, i, &why) < 0)
		return (struct outcome){FATE_FAILED, strdup(error_message(&why))};
	forget_damaged(in, i);
	return (struct outcome){FATE_DELETED, strdup("no record, older than the grace period")};
}

static int gc_print(const struct invocation *in, const struct scene *scene,
	const struct outcome *outcomes, struct error *err)
{
	static const char *const headers[] = {"INSTANCE", "POD", "AGE", "FATE", "WHY"};
	cleanup(table_free) struct table table;
	json_t *all = json_array();
	char age[32];
	table_start(&table, array_size(headers), headers);
	for (size_t n = 0; n < scene->count; n++) {
		const struct instance *i = &scene->instances[n];
		json_t *one = instance_json(in, scene, i);
		json_object_set_new(one, "fate", json_text(fate_names[outcomes[n].fate]));
		json_object_set_new(one, "why", json_text(outcomes[n].reason));
		json_array_append_new(all, one);
		age_print(i->created, (int64_t)time(NULL), age, sizeof(age));
		table_cell(&table, "%s", i->id);
		pod_print(i, &table);
		table_cell(&table, "%s", age);
		table_cell(&table, "%s", fate_names[outcomes[n].fate]);
		table_cell(&table, "%s", outcomes[n].reason ? outcomes[n].reason : "");
	}
	if (in->values.json)
		return print_json(all, false, err);
	json_decref(all);
	if (table_print(&table, stdout) < 0)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return 0;
}

static int gc_all(struct invocation *in, struct scene *scene, const struct shims *shims,
	struct error *err)
{
	cleanup(free_ptr) struct outcome *outcomes = calloc(scene->count + 1, sizeof(*outcomes));
	size_t failed = 0;
	if (!outcomes)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (size_t n = 0; n < scene->count; n++) {
		outcomes[n] = collect(in, scene, shims, &scene->instances[n]);
		failed += outcomes[n].fate == FATE_FAILED;
	}
	int result = gc_print(in, scene, outcomes, err);
	for (size_t n = 0; n < scene->count; n++)
		free(outcomes[n].reason);
	if (result == 0 && failed)
		return error_set(err, ERROR_RETRY, "%zu of %zu could not be deleted; run it again",
			failed, scene->count);
	return result;
}

static int instances_gc(struct invocation *in, struct error *err)
{
	cleanup(scene_close) struct scene scene = {0};
	cleanup(shims_free) struct shims shims = {0};
	if (owner_complete(&in->values, err) < 0 || owner_cluster_known(in, err) < 0)
		return -1;
	/* The list first: what is recorded between the two looks has a record by the time of the second. */
	if (scene_open(in, in->values.cluster, in->values.node, &scene, err) < 0)
		return -1;
	journal_look_free(&scene.journal);
	if (journal_look(in->values.state_dir, &scene.journal, err) < 0)
		return error_append(err,
			": without the journal nobody can tell an orphan; run this on the node, as root, with the "
			"adaptor's --state-dir");
	scene.has_journal = true;
	if (shims_ask(in->values.proxy_socket, &scene.cloud.bound, &shims, err) < 0)
		return error_append(err, ": nothing was deleted");
	return gc_all(in, &scene, &shims, err);
}

static const struct option list_options[] = {
	{"all-clusters", NULL, "false", "those of other clusters, too", AT(all_clusters),
		OPTION_BOOL},
	OPTION_ROWS_OWNER,
	OPTION_ROWS_DRIVER,
	OPTION_ROW_JSON,
};
static const struct option show_options[] = {
	{"console", NULL, "false", "the end of its serial console, too", AT(console), OPTION_BOOL},
	{"all-clusters", NULL, "false", "look among those of other clusters, too", AT(all_clusters),
		OPTION_BOOL},
	OPTION_ROWS_OWNER,
	OPTION_ROWS_DRIVER,
	OPTION_ROW_JSON,
};
static const struct option delete_options[] = {
	{"force", NULL, "false", "also one that serves a pod, or that another node made", AT(force),
		OPTION_BOOL},
	OPTION_ROWS_OWNER,
	OPTION_ROWS_DRIVER,
	OPTION_ROW_JSON,
};
static const struct option gc_options[] = {
	{"dry-run", NULL, "false", "only say what would be deleted", AT(dry_run), OPTION_BOOL},
	{"grace", "ORPHAN_GRACE", "15m", "an instance without a record must be older than this",
		AT(grace_ns), OPTION_DURATION},
	{"agent-proxy-socket", "AGENT_PROXY_SOCKET", "/run/peerpod/agent-proxy.sock",
		"control socket of agent-proxy, which knows what is in use", AT(proxy_socket)},
	OPTION_ROWS_OWNER,
	OPTION_ROWS_DRIVER,
	OPTION_ROW_JSON,
};

const struct verb instance_verbs[] = {
	{"instances", "list", "", 0, 0,
		"pod VMs of this cluster, with what the journal of this node says of them",
		list_options, array_size(list_options), true, instances_list},
	{"instances", "show", "INSTANCE", 1, 1,
		"all about one, named by its id, name, token or sandbox", show_options,
		array_size(show_options), true, instances_show},
	{"instances", "delete", "INSTANCE...", 1, 1000,
		"deletes instances of this cluster, with all that was made for them",
		delete_options, array_size(delete_options), true, instances_delete},
	{"instances", "gc", "", 0, 0,
		"deletes what this node made and no record of it knows, by the adaptor's own rule",
		gc_options, array_size(gc_options), true, instances_gc},
	{0},
};
