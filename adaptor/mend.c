/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mend.c - the network of pods that run stays as it was set up, whatever others do to it
 *
 * Set-up is "ensure": run again it changes nothing where all is right. It is run for every pod on start and from time
 * to time, and at once when the kernel tells that something was taken away. Without the rules, anybody on the
 * node's network who guesses a tunnel's number could send into a pod; without its device a pod is cut off.
 */
#include <string.h>

#include "adaptor/adaptor.h"
#include "base/list.h"
#include "base/log.h"

/* Somebody who takes the rules away again and again must not keep us at nothing else. */
#define PAUSE_NS (1 * NS_PER_S)

/* Whoever owns it is starting it or taking it down, and sees to its network. false: left to them. */
static bool mend(struct adaptor *adaptor, struct sandbox *sandbox)
{
	const struct record *record = &sandbox->record;
	cleanup_error why = ERROR_INIT;
	log_scope(sandbox_log_context(sandbox));
	if (pthread_mutex_trylock(&sandbox->owner) != 0)
		return false;
	bool ours = sandbox_state(&adaptor->table, sandbox) == SANDBOX_RUNNING &&
		    !sandbox_is_gone(&adaptor->table, sandbox) && record->has_network;
	struct podnetwork_worker_settings settings = sandbox_network_settings(adaptor, record);
	if (ours && adaptor->world->network->setup(&settings, &record->network, record->addresses,
			    list_count(record->addresses), &why) < 0)
		log_warn("pod network: %s", error_message(&why));
	pthread_mutex_unlock(&sandbox->owner);
	return ours;
}

void adaptor_mend_network(struct adaptor *adaptor)
{
	struct sandbox **all = sandbox_all(&adaptor->table);
	for (struct sandbox **s = all; s && *s && !cancel_fired(adaptor->stopping); s++)
		mend(adaptor, *s);
	sandbox_all_free(&adaptor->table, all);
}

static void mend_one(struct adaptor *adaptor, const char *id)
{
	struct sandbox *sandbox = sandbox_find(&adaptor->table, id);
	if (!sandbox)
		return;
	struct log_context context = sandbox_log_context(sandbox);
	if (mend(adaptor, sandbox))
		log_warn_ctx(&context,
			"pod network: somebody removed the tunnel's device: it was made again");
	sandbox_unref(&adaptor->table, sandbox);
}

void adaptor_watch_network(struct adaptor *adaptor)
{
	const struct bound bound = {.deadline_ns = DEADLINE_NEVER, .cancel = adaptor->stopping};
	cleanup_error err = ERROR_INIT;
	char sandbox[PODNETWORK_SANDBOX_SIZE];
	struct podnetwork_watch *watch = podnetwork_watch_open(&err);
	if (!watch) {
		log_warn("pod network: %s: what others remove is only made again once a minute",
			error_message(&err));
		return;
	}
	while (podnetwork_watch_wait(watch, &bound, sandbox, NULL) == 0) {
		if (*sandbox) {
			mend_one(adaptor, sandbox);
			continue;
		}
		log_debug("pod network: rules were removed: looking at every pod's");
		adaptor_mend_network(adaptor);
		bound_sleep(&bound, PAUSE_NS, "pause", NULL);
	}
	podnetwork_watch_close(watch);
}
