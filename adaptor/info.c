/* SPDX-License-Identifier: Apache-2.0 */
/*
 * info.c - which instance a pod runs in, for those who attach volumes to it
 *
 * With `wait`, the answer is held back until the instance's id is known, the sandbox fails, or the
 * caller's time is up. A pod that was made anew has several sandboxes for a while: the newest counts.
 */
#include <stdlib.h>
#include <string.h>

#include "adaptor/adaptor.h"
#include "base/cleanup.h"

enum answer { ANSWER_UNKNOWN, ANSWER_PENDING, ANSWER_FAILED, ANSWER_KNOWN };

/* Under the table's lock. What came within one second is in the list with the newest first; what was adopted is not. */
static const struct sandbox *newest(const struct sandbox_table *table, const char *pod,
	const char *pod_namespace)
{
	const struct sandbox *found = NULL;
	for (const struct sandbox *s = table->first; s; s = s->next) {
		if (!strcmp(s->record.pod, pod) &&
			!strcmp(s->record.pod_namespace, pod_namespace) &&
			(!found || s->record.created_at > found->record.created_at))
			found = s;
	}
	return found;
}

/* Under the table's lock. */
static enum answer look(const struct sandbox_table *table, const char *pod,
	const char *pod_namespace, char **id)
{
	const struct sandbox *s = newest(table, pod, pod_namespace);
	if (!s)
		return ANSWER_UNKNOWN;
	if (s->record.state == SANDBOX_STOPPING || s->record.state == SANDBOX_FAILED || s->reaping)
		return ANSWER_FAILED;
	if (s->record.stage < STAGE_INSTANCE)
		return ANSWER_PENDING;
	*id = strdup(s->record.instance_id);
	return ANSWER_KNOWN;
}

char *sandbox_instance_of(struct adaptor *adaptor, const char *pod, const char *pod_namespace,
	bool wait, const struct bound *bound, struct error *err)
{
	for (;;) {
		char *id = NULL;
		uint64_t seen = notice_count(adaptor->table.changed);
		pthread_mutex_lock(&adaptor->table.lock);
		enum answer answer = look(&adaptor->table, pod, pod_namespace, &id);
		pthread_mutex_unlock(&adaptor->table.lock);
		if (answer == ANSWER_KNOWN) {
			if (!id)
				error_set(err, ERROR_CAPACITY, "out of memory");
			return id;
		}
		if (!wait || answer == ANSWER_FAILED) {
			error_set(err, ERROR_GONE, "VM ID for %s:%s was not found", pod_namespace,
				pod);
			return NULL;
		}
		if (notice_wait(adaptor->table.changed, seen, bound, "wait for the VM ID", err) <
			0) {
			error_prefix(err, "pod %s/%s", pod_namespace, pod);
			return NULL;
		}
	}
}
