/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.h - the sandboxes of this node: one owner each, and the table that holds them
 *
 * Whoever works on a sandbox (CreateVM, StartVM, the reaper) holds its `owner` mutex, for as long as
 * that takes. The table's own lock is held for moments: it guards membership, references, and those
 * members that others than the owner look at (marked below). The owner changes them under that lock, by
 * the functions here, and may read them without.
 */
#ifndef PEERPOD_ADAPTOR_SANDBOX_H
#define PEERPOD_ADAPTOR_SANDBOX_H

#include <pthread.h>
#include "adaptor/notice.h"
#include "adaptor/record.h"
#include "base/bound.h"
#include "base/log.h"

struct sandbox {
	pthread_mutex_t owner;
	/*
	 * state, stage and instance_id: changed under the table's lock. Names, netns path and agent
	 * socket never change once the sandbox is in the table; tunnel, network and addresses not after
	 * it has been running.
	 */
	struct record record;

	/* under the table's lock: */
	struct sandbox *next;
	unsigned references;
	bool created;           /* CreateVM is through with it */
	bool inherited;         /* from the process before: what it did may be cut off anywhere */
	bool gone;              /* taken down and forgotten */
	bool stop_wanted;       /* StopVM came, or a grace period passed */
	bool reaping;           /* a reaper has it, or will */
	unsigned failed_reaps;  /* attempts to take it down that failed */
	char *reap_failure;     /* why the last one did; NULL */
	uint64_t reap_again_ns; /* clock: there was no thread for a reaper; when to try once more */
	struct cancel *start_cancel; /* of the StartVM at work, or NULL */
	uint64_t shim_seen_ns;       /* clock: created, running, or a shim was connected */
};

struct sandbox_table {
	pthread_mutex_t lock;
	struct sandbox *first;
	struct notice *changed; /* posted after every change that somebody may wait for */
};

int sandbox_table_init(struct sandbox_table *table, struct error *err);
void sandbox_table_free(struct sandbox_table *table); /* nobody may use it any more */

/* A sandbox with one reference, the caller's, not yet in a table. Takes the record over. */
struct sandbox *sandbox_new(struct record *record, struct error *err);

/* Puts it in (the table takes a reference). ERROR_EXISTS: "sandbox <id> already exists". */
int sandbox_add(struct sandbox_table *table, struct sandbox *sandbox, struct error *err);

/* With a reference for the caller, or NULL. */
struct sandbox *sandbox_find(struct sandbox_table *table, const char *id);

/* Takes it out for good: gone is set and waiters are woken. The caller's reference stays. */
void sandbox_forget(struct sandbox_table *table, struct sandbox *sandbox);

void sandbox_unref(struct sandbox_table *table, struct sandbox *sandbox);

/* All that are in the table, with a reference each, NULL-terminated. NULL: no memory. */
struct sandbox **sandbox_all(struct sandbox_table *table);
void sandbox_all_free(struct sandbox_table *table, struct sandbox **sandboxes);

/* CreateVM is through with it: from now on it may be started. */
void sandbox_set_created(struct sandbox_table *table, struct sandbox *sandbox);

/* The owner moves it on. A transition that does not exist is ERROR_INTERNAL. */
int sandbox_move(struct sandbox_table *table, struct sandbox *sandbox, enum sandbox_state state,
	struct error *err);
void sandbox_reach(struct sandbox_table *table, struct sandbox *sandbox, enum start_stage stage);
/* Takes the string over. */
void sandbox_set_instance(struct sandbox_table *table, struct sandbox *sandbox, char *instance_id);

enum sandbox_state sandbox_state(struct sandbox_table *table, struct sandbox *sandbox);
bool sandbox_is_gone(struct sandbox_table *table, struct sandbox *sandbox);

/* The context of log lines about it. */
struct log_context sandbox_log_context(const struct sandbox *sandbox);

#endif
