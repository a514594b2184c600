/* SPDX-License-Identifier: Apache-2.0 */
/*
 * housekeep.c - what nobody asks for
 *
 * One thread: sandboxes that were created and not started, sandboxes whose shim is gone (a shim that
 * is killed never sends StopVM, and no shim ever connects a second time), reapers that could not be
 * started, instances without a record, and the pod network, of which others may have taken something away (mend.c).
 */
#include <stdlib.h>
#include <string.h>

#include "adaptor/adaptor.h"
#include "base/cleanup.h"
#include "base/log.h"

#define NETWORK_INTERVAL_NS (60 * NS_PER_S)
#define SHIM_INTERVAL_MOST_NS (30 * NS_PER_S)
#define SHIM_INTERVAL_LEAST_NS (100 * NS_PER_MS)
#define LIST_NS (10 * NS_PER_S)
#define SWEEP_NS (UINT64_C(300) * NS_PER_S)

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Sees which sandboxes have a shim. 0: it is known now. */
static int look_for_shims(struct adaptor *adaptor)
{
	const struct world *world = adaptor->world;
	struct bound bound = {.deadline_ns = deadline_in(LIST_NS), .cancel = adaptor->stopping};
	struct proxy_sandbox *served;
	size_t count;
	if (world->proxy_ops->list(world->proxy, &served, &count, &bound, NULL) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		struct sandbox *sandbox = served[i].shim_connections > 0
						  ? sandbox_find(&adaptor->table, served[i].sandbox)
						  : NULL;
		if (!sandbox)
			continue;
		pthread_mutex_lock(&adaptor->table.lock);
		sandbox->shim_seen_ns = clock_ns();
		pthread_mutex_unlock(&adaptor->table.lock);
		sandbox_unref(&adaptor->table, sandbox);
	}
	proxy_sandboxes_free(served, count);
	return 0;
}

/* What is to be done with a sandbox, and when to look again. NULL: nothing. */
static const char *judge(struct adaptor *adaptor, struct sandbox *sandbox, bool shims_known,
	uint64_t now, uint64_t *next)
{
	const struct settings *settings = adaptor->settings;
	const char *why = NULL;
	pthread_mutex_lock(&adaptor->table.lock);
	uint64_t idle = now > sandbox->shim_seen_ns ? now - sandbox->shim_seen_ns : 0;
	if (sandbox->gone || sandbox->reaping || !sandbox->created) {
		/* somebody is at it */
	} else if (sandbox->stop_wanted || sandbox->record.state == SANDBOX_FAILED ||
		   sandbox->record.state == SANDBOX_STOPPING) {
		if (now >= sandbox->reap_again_ns)
			why = "nobody is taking it down";
		else
			*next = earlier(*next, sandbox->reap_again_ns);
	} else if (sandbox->record.state == SANDBOX_CREATED) {
		if (idle >= settings->create_grace_ns)
			why = "created, and not started within the grace period";
		else
			*next = earlier(*next, sandbox->shim_seen_ns + settings->create_grace_ns);
	} else if (sandbox->record.state == SANDBOX_RUNNING && settings->shim_grace_ns) {
		if (shims_known && idle >= settings->shim_grace_ns)
			why = "no shim has been connected to it for the grace period";
	}
	pthread_mutex_unlock(&adaptor->table.lock);
	return why;
}

static bool any_is_running(struct sandbox_table *table)
{
	bool any = false;
	pthread_mutex_lock(&table->lock);
	for (const struct sandbox *s = table->first; s && !any; s = s->next)
		any = s->record.state == SANDBOX_RUNNING;
	pthread_mutex_unlock(&table->lock);
	return any;
}

/* Grace periods. Returns when the next one may end. */
static uint64_t check_grace(struct adaptor *adaptor)
{
	uint64_t grace = adaptor->settings->shim_grace_ns;
	uint64_t next = DEADLINE_NEVER;
	bool watch = grace && any_is_running(&adaptor->table);
	bool shims_known = watch && look_for_shims(adaptor) == 0;
	struct sandbox **all = sandbox_all(&adaptor->table);
	for (struct sandbox **s = all; s && *s; s++) {
		const char *why = judge(adaptor, *s, shims_known, clock_ns(), &next);
		if (!why)
			continue;
		struct log_context context = sandbox_log_context(*s);
		log_warn_ctx(&context, "%s: taking it down", why);
		sandbox_reap(adaptor, *s, true);
	}
	sandbox_all_free(&adaptor->table, all);
	if (watch) {
		uint64_t interval = earlier(grace / 4, SHIM_INTERVAL_MOST_NS);
		next = earlier(next,
			deadline_in(interval > SHIM_INTERVAL_LEAST_NS ? interval
								      : SHIM_INTERVAL_LEAST_NS));
	}
	return next;
}

static void check_configuration(struct adaptor *adaptor)
{
	const struct world *world = adaptor->world;
	struct bound bound = {.deadline_ns = deadline_in(60 * NS_PER_S),
		.cancel = adaptor->stopping};
	cleanup_error why = ERROR_INIT;
	cleanup_report report = {0};
	if (adaptor->settings->cloud_config_verify || !world->driver->check)
		return; /* done before we began to serve */
	if (world->driver->check(world->provider, &report, &bound, &why) < 0)
		log_warn("check of the provider's configuration: %s", error_message(&why));
}

static void sweep(struct adaptor *adaptor, struct orphans *seen)
{
	struct bound bound = {.deadline_ns = deadline_in(SWEEP_NS), .cancel = adaptor->stopping};
	cleanup_error why = ERROR_INIT;
	if (orphans_sweep(adaptor, seen, &bound, &why) < 0 && why.kind != ERROR_CANCELED)
		log_warn("search for instances without a record: %s", error_message(&why));
}

void adaptor_housekeep(struct adaptor *adaptor)
{
	struct bound until_stopping = {.deadline_ns = DEADLINE_NEVER, .cancel = adaptor->stopping};
	struct orphans *seen = orphans_new();
	uint64_t network_at = deadline_in(NETWORK_INTERVAL_NS), sweep_at = clock_ns();
	check_configuration(adaptor);
	adaptor_mend_network(adaptor);
	while (seen && bound_check(&until_stopping, "housekeep", NULL) == 0) {
		uint64_t count = notice_count(adaptor->table.changed);
		uint64_t next = earlier(check_grace(adaptor), network_at);
		if (clock_ns() >= network_at) {
			struct bound ask = bound_within(&until_stopping, LIST_NS);
			adaptor_reconcile_network(adaptor, &ask);
			adaptor_mend_network(adaptor);
			network_at = deadline_in(NETWORK_INTERVAL_NS);
		}
		if (adaptor->settings->orphan_grace_ns && clock_ns() >= sweep_at) {
			sweep(adaptor, seen);
			sweep_at = deadline_in(adaptor->settings->orphan_interval_ns);
		}
		if (adaptor->settings->orphan_grace_ns)
			next = earlier(next, sweep_at);
		struct bound pause = {.deadline_ns = next, .cancel = adaptor->stopping};
		notice_wait(adaptor->table.changed, count, &pause, "housekeep", NULL);
	}
	orphans_free(seen);
}
