/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reap.c - taking a sandbox down, whoever asks
 *
 * StopVM, a StartVM that failed, a grace period that passed and a restart in the middle of something
 * all end here. A sandbox gets one reaper: a thread that waits until it is the owner and then undoes
 * all that may exist. Every act succeeds on what is gone, so an attempt that failed is simply made
 * again; the record stays until all of it has succeeded, so the next process goes on where this one
 * ended. Nothing here depends on the caller that asked, its connection or its deadline.
 *
 * Order: the record says that it is being taken down; agent-proxy lets go (the shim sees its agent die);
 * the pod's network, before its number could be used by others; the instance; the folder; the record.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "adaptor/adaptor.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

/* One attempt, all acts. Clouds may take minutes to confirm that a VM is gone. */
#define ATTEMPT_NS (UINT64_C(300) * NS_PER_S)
#define CLOSE_NS (5 * NS_PER_S)
#define BACKOFF_FIRST_NS (1 * NS_PER_S)
#define BACKOFF_MOST_NS (60 * NS_PER_S)

/* Keeps the first failure for the caller; the log gets all. */
static int note_failure(const char *doing, struct error *why, struct error *err)
{
	error_prefix(why, "%s", doing);
	log_warn("take down: %s", error_message(why));
	if (err->kind == ERROR_NONE)
		error_move(err, why);
	return -1;
}

static void close_proxy(struct adaptor *adaptor, const struct record *record,
	const struct bound *bound)
{
	/* Without an agent-proxy nothing is served; one that comes back is told by adaptor_serve_all. */
	cleanup_error why = ERROR_INIT;
	struct bound soon = bound_within(bound, CLOSE_NS);
	fault_before(FAULT_STOP_CLOSE);
	if (record->stage >= STAGE_ADDRESSED &&
		adaptor->world->proxy_ops->close(adaptor->world->proxy, record->sandbox, &soon,
			&why) < 0)
		log_warn("take down: close the agent's socket: %s", error_message(&why));
	fault_after(FAULT_STOP_CLOSE);
}

static int take_network_down(struct adaptor *adaptor, const struct record *record,
	struct error *err)
{
	cleanup_error why = ERROR_INIT;
	if (!record->has_network)
		return 0;
	struct podnetwork_worker_settings settings = sandbox_network_settings(adaptor, record);
	fault_before(FAULT_STOP_NETWORK);
	if (adaptor->world->network->teardown(&settings, &record->network, &why) < 0)
		return note_failure("pod network", &why, err);
	quarantine_add(&adaptor->quarantine, (uint32_t)record->network.vxlan_id);
	fault_after(FAULT_STOP_NETWORK);
	return 0;
}

/*
 * Nothing has the token. Where the process that made it has ended, its creation, or the undoing of that, may have been
 * cut off and left parts of an instance; our own creations leave nothing, or what the search for orphans finds.
 */
static int delete_parts(struct adaptor *adaptor, const struct sandbox *sandbox,
	const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	if (sandbox->inherited && orphans_delete(adaptor, &sandbox->record, bound, &why) < 0)
		return note_failure("delete what an unfinished creation left", &why, err);
	return 0;
}

static int delete_instance(struct adaptor *adaptor, const struct sandbox *sandbox,
	const struct bound *bound, struct error *err)
{
	const struct record *record = &sandbox->record;
	const struct provider_table *driver = adaptor->world->driver;
	cleanup_error why = ERROR_INIT;
	cleanup(instance_free) struct instance found = {0};
	const char *id = record->instance_id;
	if (record->stage == STAGE_NONE)
		return 0;
	if (!*id) {
		/* The process, or the caller, went away between the creation and its answer. */
		int result =
			driver->find(adaptor->world->provider, record->token, &found, bound, &why);
		if (result < 0 && why.kind == ERROR_GONE)
			return delete_parts(adaptor, sandbox, bound, err);
		if (result < 0)
			return note_failure("find the instance", &why, err);
		id = found.id;
	}
	fault_before(FAULT_STOP_DELETE);
	if (driver->delete (adaptor->world->provider, id, bound, &why) < 0 &&
		why.kind != ERROR_GONE)
		return note_failure("delete the instance", &why, err);
	fault_after(FAULT_STOP_DELETE);
	log_info("instance %s deleted", id);
	return 0;
}

/* In it is the socket, and what an agent-proxy that was killed while it made it left beside it. */
static int remove_folder(struct adaptor *adaptor, const struct record *record, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	cleanup(free_ptr) char *folder = NULL;
	if (asprintf(&folder, "%s/%s", adaptor->settings->pods_dir, record->sandbox) < 0)
		folder = NULL;
	fault_before(FAULT_STOP_FOLDER);
	if (!folder)
		error_set(&why, ERROR_CAPACITY, "out of memory");
	else
		dir_remove(folder, &why);
	if (why.kind != ERROR_NONE)
		return note_failure("folder of the agent socket", &why, err);
	fault_after(FAULT_STOP_FOLDER);
	return 0;
}

/* One attempt. The caller is the owner. */
static int take_down(struct adaptor *adaptor, struct sandbox *sandbox, struct error *err)
{
	struct record *record = &sandbox->record;
	struct bound bound = {.deadline_ns = deadline_in(ATTEMPT_NS), .cancel = adaptor->quit};
	cleanup_error why = ERROR_INIT;
	if (journal_write(&adaptor->journal, record, FAULT_STOP_RECORD, &why) < 0)
		log_warn("take down: %s", error_message(&why)); /* a full disk must not keep a VM */
	error_clear(&why);
	close_proxy(adaptor, record, &bound);
	int result = take_network_down(adaptor, record, err);
	if (delete_instance(adaptor, sandbox, &bound, err) < 0 || result < 0 ||
		remove_folder(adaptor, record, err) < 0)
		return -1;
	fault_before(FAULT_STOP_FORGET);
	if (journal_remove(&adaptor->journal, record->sandbox, &why) < 0)
		return note_failure("record", &why, err);
	fault_after(FAULT_STOP_FORGET);
	return 0;
}

static void report_failure(struct adaptor *adaptor, struct sandbox *sandbox,
	const struct error *why)
{
	pthread_mutex_lock(&adaptor->table.lock);
	free(sandbox->reap_failure);
	sandbox->reap_failure = strdup(error_message(why));
	sandbox->failed_reaps++;
	pthread_mutex_unlock(&adaptor->table.lock);
	notice_post(adaptor->table.changed);
}

/* Half to one and a half of it, so that sandboxes do not come back in step. */
static uint64_t jittered(uint64_t ns)
{
	uint32_t random = 0;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
		random = UINT32_MAX / 2;
	return ns / 2 + (uint64_t)((double)ns * random / UINT32_MAX);
}

static bool stop_was_asked_for(struct adaptor *adaptor, struct sandbox *sandbox)
{
	pthread_mutex_lock(&adaptor->table.lock);
	bool asked = sandbox->stop_wanted;
	pthread_mutex_unlock(&adaptor->table.lock);
	return asked;
}

static void reap(struct adaptor *adaptor, void *argument)
{
	struct sandbox *sandbox = argument;
	log_scope(sandbox_log_context(sandbox));
	struct bound until_stopping = {.deadline_ns = DEADLINE_NEVER, .cancel = adaptor->stopping};
	uint64_t backoff = BACKOFF_FIRST_NS;
	pthread_mutex_lock(&sandbox->owner);
	for (;;) {
		cleanup_error why = ERROR_INIT;
		if (sandbox->record.state != SANDBOX_STOPPING &&
			(sandbox->record.state != SANDBOX_FAILED ||
				stop_was_asked_for(adaptor, sandbox)))
			sandbox_move(&adaptor->table, sandbox, SANDBOX_STOPPING, NULL);
		if (take_down(adaptor, sandbox, &why) == 0) {
			sandbox_forget(&adaptor->table, sandbox);
			log_info("taken down");
			break;
		}
		report_failure(adaptor, sandbox, &why);
		uint64_t pause = jittered(backoff);
		log_warn("not taken down yet: %s; next attempt in %llu s", error_message(&why),
			(unsigned long long)(pause / NS_PER_S));
		if (bound_sleep(&until_stopping, pause, "wait", NULL) < 0)
			break; /* the record is there for the next process */
		backoff = backoff * 2 < BACKOFF_MOST_NS ? backoff * 2 : BACKOFF_MOST_NS;
	}
	pthread_mutex_unlock(&sandbox->owner);
	sandbox_unref(&adaptor->table, sandbox);
}

unsigned sandbox_reap(struct adaptor *adaptor, struct sandbox *sandbox, bool stop)
{
	pthread_mutex_lock(&adaptor->table.lock);
	unsigned failed_before = sandbox->failed_reaps;
	bool begin = !sandbox->reaping && !sandbox->gone;
	if (stop) {
		sandbox->stop_wanted = true;
		if (sandbox->start_cancel)
			cancel_fire(sandbox->start_cancel);
	}
	if (begin) {
		sandbox->reaping = true;
		sandbox->references++;
	}
	pthread_mutex_unlock(&adaptor->table.lock);
	cleanup_error why = ERROR_INIT;
	if (!begin || adaptor_spawn(adaptor, reap, sandbox, &why) == 0)
		return failed_before;
	/* The housekeeper comes by again. */
	struct log_context context = sandbox_log_context(sandbox);
	log_error_ctx(&context, "take down: %s", error_message(&why));
	pthread_mutex_lock(&adaptor->table.lock);
	sandbox->reaping = false;
	sandbox->reap_again_ns = deadline_in(BACKOFF_FIRST_NS);
	pthread_mutex_unlock(&adaptor->table.lock);
	report_failure(adaptor, sandbox, &why);
	sandbox_unref(&adaptor->table, sandbox);
	return failed_before;
}

int sandbox_wait_gone(struct adaptor *adaptor, struct sandbox *sandbox, unsigned failed_before,
	const struct bound *bound, struct error *err)
{
	for (;;) {
		uint64_t seen = notice_count(adaptor->table.changed);
		pthread_mutex_lock(&adaptor->table.lock);
		bool gone = sandbox->gone, failed = sandbox->failed_reaps != failed_before;
		if (failed && !gone)
			error_set(err, ERROR_RETRY, "%s",
				sandbox->reap_failure ? sandbox->reap_failure : "out of memory");
		pthread_mutex_unlock(&adaptor->table.lock);
		if (gone || failed)
			return gone ? 0 : -1;
		if (notice_wait(adaptor->table.changed, seen, bound, "take the pod VM down", err) <
			0)
			return -1;
	}
}

/* Is there a sign of a sandbox that is not in the table? */
static bool is_unrecorded(struct adaptor *adaptor, const char *id, const struct bound *bound)
{
	const struct world *world = adaptor->world;
	bool found = journal_is_damaged(&adaptor->journal, id);
	struct proxy_sandbox *served;
	size_t count;
	if (found || world->proxy_ops->list(world->proxy, &served, &count, bound, NULL) < 0)
		return found;
	for (size_t i = 0; i < count && !found; i++)
		found = !strcmp(served[i].sandbox, id);
	proxy_sandboxes_free(served, count);
	return found;
}

static bool is_in_table(struct adaptor *adaptor, const char *id)
{
	struct sandbox *sandbox = sandbox_find(&adaptor->table, id);
	if (sandbox)
		sandbox_unref(&adaptor->table, sandbox);
	return sandbox != NULL;
}

/*
 * A sandbox whose record is damaged or lost, which agent-proxy may serve all the same. The argument is its id, to be
 * freed.
 */
static void reap_unrecorded(struct adaptor *adaptor, void *argument)
{
	cleanup(free_ptr) char *id = argument;
	const struct world *world = adaptor->world;
	log_scope(((struct log_context){.sandbox = id}));
	struct bound bound = {.deadline_ns = deadline_in(ATTEMPT_NS), .cancel = adaptor->quit};
	struct bound soon = bound_within(&bound, CLOSE_NS);
	cleanup_error why = ERROR_INIT;
	cleanup(instance_free) struct instance found = {0};
	if (!is_unrecorded(adaptor, id, &soon) || is_in_table(adaptor, id))
		return;
	log_info("stop of a sandbox without a record");
	cleanup(free_ptr) char *token = sandbox_token(adaptor, id, &why);
	world->proxy_ops->close(world->proxy, id, &soon, NULL);
	int result = token ? world->driver->find(world->provider, token, &found, &bound, &why) : -1;
	if (result == 0)
		result = world->driver->delete (world->provider, found.id, &bound, &why);
	if (result < 0 && why.kind != ERROR_GONE) {
		log_warn(
			"it has no record, and its instance could not be deleted: %s; the search for "
			"instances without a record will find it",
			error_message(&why));
		return;
	}
	log_info("it had no record; its instance is gone");
	journal_remove_damaged(&adaptor->journal, id, NULL);
	adaptor_reconcile_network(adaptor, &bound);
	adaptor_remove_empty_folders(adaptor);
}

int sandbox_stop(struct adaptor *adaptor, const char *id, const struct bound *bound,
	struct error *err)
{
	if (sandbox_id_check(id, err) < 0)
		return -1;
	struct sandbox *sandbox = sandbox_find(&adaptor->table, id);
	if (!sandbox) {
		char *copy = strdup(id);
		if (copy && adaptor_spawn(adaptor, reap_unrecorded, copy, NULL) < 0)
			free(copy);
		return 0; /* stopped is what it is */
	}
	log_scope(sandbox_log_context(sandbox));
	log_info("stop");
	unsigned failed = sandbox_reap(adaptor, sandbox, true);
	int result = sandbox_wait_gone(adaptor, sandbox, failed, bound, err);
	if (result < 0)
		error_prefix(err, "stop pod %s/%s", sandbox->record.pod_namespace,
			sandbox->record.pod);
	if (result < 0)
		error_append(err, " (it is taken down in the background)");
	sandbox_unref(&adaptor->table, sandbox);
	return result;
}
