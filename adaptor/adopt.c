/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adopt.c - what a new process makes of the records of the one before it
 *
 *   created    kept: a StartVM may still come. Taken down when the pod's netns is no longer the one.
 *   starting   taken down: its caller's connection died with the process before.
 *   running    served on: agent-proxy either never stopped or is told again.
 *   stopping,
 *   failed     taken down, where that had not come to its end.
 *
 * The folder of the agent sockets loses what belongs to no sandbox, and so does the pod network once agent-proxy has told
 * what it serves: a record may have been lost while its pod runs. Instances that no record knows are left to the
 * housekeeper, who waits for their grace period.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adaptor/adaptor.h"
#include "base/cleanup.h"
#include "base/log.h"

static bool netns_is_the_same(const struct record *record)
{
	struct stat st;
	return stat(record->netns_path, &st) == 0 && (int64_t)st.st_dev == record->netns_device &&
	       (int64_t)st.st_ino == record->netns_inode;
}

static void adopt_one(struct adaptor *adaptor, struct sandbox *sandbox)
{
	log_scope(sandbox_log_context(sandbox));
	const char *state = sandbox_state_name(sandbox->record.state);
	switch (sandbox->record.state) {
	case SANDBOX_CREATED:
		if (netns_is_the_same(&sandbox->record)) {
			log_info("adopted: created, not started yet");
			return;
		}
		log_warn(
			"created before the restart, and its network namespace %s is gone: taking it down",
			sandbox->record.netns_path);
		break;
	case SANDBOX_RUNNING:
		log_info("adopted: running in instance %s", sandbox->record.instance_id);
		return;
	case SANDBOX_STARTING:
	case SANDBOX_STOPPING:
	case SANDBOX_FAILED:
		log_warn("was %s (%s) when the process before ended: taking it down", state,
			start_stage_name(sandbox->record.stage));
		break;
	}
	sandbox_reap(adaptor, sandbox, false);
}

/* CreateVM makes the folder before the record: one whose record was never written is empty. */
void adaptor_remove_empty_folders(struct adaptor *adaptor)
{
	cleanup(closedir_ptr) DIR *pods = opendir(adaptor->settings->pods_dir);
	struct dirent *entry;
	while (pods && (entry = readdir(pods))) {
		if (entry->d_name[0] == '.')
			continue;
		struct sandbox *known = sandbox_find(&adaptor->table, entry->d_name);
		struct log_context context = {.sandbox = entry->d_name};
		if (known)
			sandbox_unref(&adaptor->table, known);
		else if (unlinkat(dirfd(pods), entry->d_name, AT_REMOVEDIR) == 0)
			log_info_ctx(&context, "it has no record: removed its empty folder");
	}
}

int adaptor_adopt(struct adaptor *adaptor, struct error *err)
{
	struct record *records;
	size_t count;
	int result = journal_read_all(&adaptor->journal, &records, &count, err);
	for (size_t i = 0; i < count; i++) {
		struct sandbox *sandbox = result == 0 ? sandbox_new(&records[i], err) : NULL;
		record_free(&records[i]);
		if (!sandbox) {
			result = -1;
			continue;
		}
		sandbox->created = sandbox->inherited = true;
		if (sandbox_add(&adaptor->table, sandbox, err) < 0)
			result = -1;
		sandbox_unref(&adaptor->table, sandbox);
	}
	free(records);
	if (result < 0)
		return -1;
	adaptor_remove_empty_folders(adaptor);
	struct sandbox **all = sandbox_all(&adaptor->table);
	for (struct sandbox **s = all; s && *s; s++)
		adopt_one(adaptor, *s);
	sandbox_all_free(&adaptor->table, all);
	return all ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}

/*
 * To be taken down: whoever does that may have closed it before it was opened here, or while agent-proxy was away.
 */
static bool is_ending(struct adaptor *adaptor, struct sandbox *sandbox)
{
	enum sandbox_state state = sandbox_state(&adaptor->table, sandbox);
	return state == SANDBOX_STOPPING || state == SANDBOX_FAILED;
}

/* What agent-proxy serves and nobody here knows, or wants any more: sandboxes taken down while it was away. */
static void close_unknown(struct adaptor *adaptor, const struct bound *bound)
{
	const struct world *world = adaptor->world;
	struct proxy_sandbox *served;
	size_t count;
	cleanup_error why = ERROR_INIT;
	if (world->proxy_ops->list(world->proxy, &served, &count, bound, &why) < 0) {
		log_warn("agent-proxy: list: %s", error_message(&why));
		return;
	}
	for (size_t i = 0; i < count; i++) {
		struct sandbox *known = sandbox_find(&adaptor->table, served[i].sandbox);
		if (known) {
			if (is_ending(adaptor, known))
				world->proxy_ops->close(world->proxy, served[i].sandbox, bound,
					NULL);
			sandbox_unref(&adaptor->table, known);
			continue;
		}
		log_scope(((struct log_context){.sandbox = served[i].sandbox}));
		if (served[i].shim_connections > 0 ||
			journal_is_damaged(&adaptor->journal, served[i].sandbox)) {
			log_warn(
				"agent-proxy serves a sandbox that has no record: left alone until its StopVM");
			continue;
		}
		log_warn("agent-proxy serves a sandbox that has no record and no shim: closing it");
		world->proxy_ops->close(world->proxy, served[i].sandbox, bound, NULL);
	}
	proxy_sandboxes_free(served, count);
}

void adaptor_serve_all(struct adaptor *adaptor, const struct bound *bound)
{
	struct sandbox **all = sandbox_all(&adaptor->table);
	for (struct sandbox **s = all; s && *s; s++) {
		if (sandbox_state(&adaptor->table, *s) != SANDBOX_RUNNING)
			continue;
		cleanup_error why = ERROR_INIT;
		log_scope(sandbox_log_context(*s));
		if (adaptor->world->proxy_ops->open(adaptor->world->proxy, &(*s)->record, 0, bound,
			    NULL, &why) == 0)
			continue;
		log_error("agent-proxy: open: %s", error_message(&why));
		if (why.kind == ERROR_CANCELED)
			break; /* the next connection has it all done again */
	}
	sandbox_all_free(&adaptor->table, all);
	if (all)
		close_unknown(adaptor, bound);
	adaptor_reconcile_network(adaptor, bound);
	adaptor_remove_empty_folders(adaptor);
}
