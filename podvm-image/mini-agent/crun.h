/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crun.h - commands of the OCI runtime
 */
#ifndef PEERPOD_MINI_AGENT_CRUN_H
#define PEERPOD_MINI_AGENT_CRUN_H

#include "reaper.h"

struct crun {
	char *program;     /* absolute path */
	char *root;        /* where crun keeps its state */
	char *logs;        /* a folder for the logs of single commands */
	bool own_root;     /* see launch.h */
	bool no_pivot;     /* pivot_root(2) does not work here */
	bool hide_cgroups; /* crun refuses the cgroups of this machine; ours do without its help */
};

/* Finds the program (a name is looked up in PATH) and what this machine lets it do. */
int crun_find(struct crun *crun, const char *name, const char *state_dir, struct error *err);
void crun_free(struct crun *crun);

/* Where a process of a container gets its input from and its output to. */
struct crun_stdio {
	int fds[3];
	const char *console_socket; /* or NULL */
	const char *const *cgroups; /* as in struct launch */
};

/* The new process is not started yet; *child is its first process. */
int crun_create(const struct crun *crun, const char *id, const char *bundle,
	const struct crun_stdio *stdio, struct child *child, const struct bound *bound,
	struct error *err);
int crun_start(const struct crun *crun, const char *id, const struct bound *bound,
	struct error *err);
int crun_exec(const struct crun *crun, const char *id, const char *process_file,
	const struct crun_stdio *stdio, struct child *child, const struct bound *bound,
	struct error *err);
/* Kills what runs and forgets the container. One that is gone is fine. */
int crun_delete(const struct crun *crun, const char *id, const struct bound *bound,
	struct error *err);

#endif
