/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adaptor.h - the control plane of one worker node
 *
 * What every part of the room shares, and the verbs: create, start, stop (the hypervisor service),
 * adopt (after a restart), housekeep (what nobody asks for). The verbs are blocking, straight-line
 * code; each runs on a thread of its caller's.
 */
#ifndef PEERPOD_ADAPTOR_ADAPTOR_H
#define PEERPOD_ADAPTOR_ADAPTOR_H

#include <pthread.h>
#include "adaptor/annotations.h"
#include "adaptor/identity.h"
#include "adaptor/journal.h"
#include "adaptor/sandbox.h"
#include "adaptor/settings.h"
#include "adaptor/world.h"
#include "base/thread.h"

/* Numbers that were released a short while ago: an old pod VM may still send with them. */
#define QUARANTINE_SIZE 64
struct quarantine {
	pthread_mutex_t lock;
	struct {
		uint32_t vni;
		uint64_t until_ns;
	} released[QUARANTINE_SIZE];
	size_t next;
};

struct adaptor {
	const struct settings *settings;
	const struct world *world;
	char *cluster; /* owned; what instances are tagged with */
	struct journal journal;
	struct node_identity identity;
	struct sandbox_table table;
	struct quarantine quarantine;
	struct cancel *stopping; /* fired when the process is told to end: nothing new is begun */
	struct cancel *quit;     /* fired some seconds later: what is still at work breaks off */

	struct threads threads;
	pthread_mutex_t workers_lock;
	unsigned workers; /* threads at work, under workers_lock */
	struct notice *workers_changed;
};

/* Opens the journal and the node's identity. World and settings outlive the adaptor. */
int adaptor_init(struct adaptor *adaptor, const struct settings *settings,
	const struct world *world, struct error *err);

/* Fires `stopping`; fires `quit` when workers have not ended by themselves after grace_ns; waits for them. */
void adaptor_finish(struct adaptor *adaptor, uint64_t grace_ns);
void adaptor_free(struct adaptor *adaptor);

/* Runs work(adaptor, argument) on a thread that adaptor_finish waits for. */
typedef void adaptor_work(struct adaptor *adaptor, void *argument);
int adaptor_spawn(struct adaptor *adaptor, adaptor_work *work, void *argument, struct error *err);

/* ---- verbs ---- */

/* CreateVM: validates, reserves, records. Makes nothing in the cloud. *agent_socket is new. */
int sandbox_create(struct adaptor *adaptor, const char *id, const struct annotation *annotations,
	size_t count, const char *netns_path, char **agent_socket, struct error *err);

/*
 * StartVM: returns when the agent in the pod VM has answered. When it fails, or bound ends, what it
 * made is taken down.
 */
int sandbox_start(struct adaptor *adaptor, const char *id, const struct bound *bound,
	struct error *err);

/*
 * StopVM: cancels a start, takes everything down. What bound ends is only the waiting: the work goes
 * on. A sandbox that nobody knows is stopped.
 */
int sandbox_stop(struct adaptor *adaptor, const char *id, const struct bound *bound,
	struct error *err);

/*
 * Gets a reaper for the sandbox, if it has none: a thread that becomes its owner and takes it down,
 * again and again until that succeeds or the process ends. With stop, it is being stopped from now on,
 * and a start that is at work is cancelled. Returns at once, with how many attempts have failed so far.
 */
unsigned sandbox_reap(struct adaptor *adaptor, struct sandbox *sandbox, bool stop);

/* Waits until it is gone (0), or more attempts than those have failed (-1, with the reason). */
int sandbox_wait_gone(struct adaptor *adaptor, struct sandbox *sandbox, unsigned failed_before,
	const struct bound *bound, struct error *err);

/* PodVMInfo: the instance id of the newest sandbox of the pod. New string. */
char *sandbox_instance_of(struct adaptor *adaptor, const char *pod, const char *pod_namespace,
	bool wait, const struct bound *bound, struct error *err);

/* On start: reads the journal, adopts what runs, takes down what was half done. */
int adaptor_adopt(struct adaptor *adaptor, struct error *err);

/*
 * The pod network loses what belongs to no sandbox in the table, and to none that a shim still uses: its record may have
 * been lost, and the pod runs. Where agent-proxy does not say which those are, nothing is taken away.
 */
void adaptor_reconcile_network(struct adaptor *adaptor, const struct bound *bound);

/* Running pods get their network set up again, where somebody took something away; what is right stays as it is. */
void adaptor_mend_network(struct adaptor *adaptor);

/* Mends as soon as the kernel tells of a loss, until `stopping` fires. */
void adaptor_watch_network(struct adaptor *adaptor);

/* The folder of the agent sockets loses the empty folders of sandboxes that are not in the table. */
void adaptor_remove_empty_folders(struct adaptor *adaptor);

/* agent-proxy is (again) there: serves what runs, closes what nobody knows. */
void adaptor_serve_all(struct adaptor *adaptor, const struct bound *bound);

/* What nobody asks for, until `stopping` fires: grace periods, orphaned instances, the pod network. */
void adaptor_housekeep(struct adaptor *adaptor);

/* Deletes what the provider lists of this sandbox, whatever its age: for one that is taken down. */
int orphans_delete(struct adaptor *adaptor, const struct record *record, const struct bound *bound,
	struct error *err);

/* One round over the provider's instances; seen is what earlier rounds found (orphans.h). */
struct orphans;
int orphans_sweep(struct adaptor *adaptor, struct orphans *seen, const struct bound *bound,
	struct error *err);
struct orphans *orphans_new(void);
void orphans_free(struct orphans *orphans);

/* The settings of lib/podnetwork for this sandbox. */
struct podnetwork_worker_settings sandbox_network_settings(const struct adaptor *adaptor,
	const struct record *record);
void quarantine_add(struct quarantine *quarantine, uint32_t vni);
size_t quarantine_list(struct quarantine *quarantine, uint32_t vnis[QUARANTINE_SIZE]);

/* The creation token of a sandbox on this node: 32 hex digits. New string. */
char *sandbox_token(const struct adaptor *adaptor, const char *id, struct error *err);

#endif
