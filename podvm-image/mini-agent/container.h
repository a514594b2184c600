/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.h - one container: made, started, entered, removed
 */
#ifndef PEERPOD_MINI_AGENT_CONTAINER_H
#define PEERPOD_MINI_AGENT_CONTAINER_H

#include "cgroup.h"
#include "process.h"
#include "proto/agent.pb-c.h"
#include "rootfs.h"

/* Where things are on this machine. */
struct places {
	const char *bundles;
	const char *state;
	const char *scratch;
};

/* What the sandbox gives to its containers. */
struct container_host {
	const struct places *places;
	const struct crun *crun;
	const struct cgroups *cgroups;
	const char *ipc_ns, *uts_ns; /* NULL: none made */
	const char *pid_ns;          /* shared; NULL: each container has its own */
};

struct container {
	atomic_int references;
	struct container *next; /* guarded by the sandbox */
	char *id;
	const struct crun *crun;
	const struct places *places;
	bool is_sandbox;
	char *folder; /* config.json and the like */
	struct rootfs rootfs;
	struct cgroup cgroup;
	char *termination_log; /* NULL: none asked for */
	bool log_in_rootfs;    /* a path of the container's, not of this machine */
	uint64_t oom_kills;    /* told so far; guarded by the sandbox */
	pthread_mutex_t busy;  /* one of create, start, exec, remove at a time */
	bool started, removed;
	pthread_mutex_t lock; /* guards the list */
	struct process *processes;
};

/* Makes it, up to the point where its process waits to be started. */
struct container *container_create(const Agent__CreateContainerRequest *request,
	const struct container_host *host, const struct bound *bound, struct error *err);
struct container *container_ref(struct container *container);
void container_unref(struct container *container);
DEFINE_CLEANUP(struct container, container_unref)

int container_start(struct container *container, const struct bound *bound, struct error *err);
int container_exec(struct container *container, const char *exec_id, const Agent__Process *process,
	const struct bound *bound, struct error *err);

/* Kills what runs and removes what was made. Calling it again is fine. */
int container_remove(struct container *container, const struct bound *bound, struct error *err);

/* exec_id "" and the container's id are its first process. A reference, or NULL with status 5. */
struct process *container_process(struct container *container, const char *exec_id,
	struct error *err);
/* The process is known no more. */
void container_forget(struct container *container, struct process *process);

/*
 * whole: every process of the container. SIGTERM becomes SIGKILL for a first process that ignores
 * it.
 */
int container_signal(struct container *container, struct process *process, bool whole, int number,
	struct error *err);

/* The end of what the container says about its end, appended; nothing where it said nothing. */
int container_read_termination_log(struct container *container, struct buf *text,
	struct error *err);

/* The pid of the first process; 0: it has ended. */
pid_t container_pid(struct container *container);

#endif
