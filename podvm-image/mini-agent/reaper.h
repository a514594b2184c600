/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reaper.h - child processes: starting them and learning how they ended
 *
 * mini-agent is the subreaper of everything below it: what crun leaves behind (the first process of
 * a container, a process of an exec) becomes its child. One thread waits for every child.
 */
#ifndef PEERPOD_MINI_AGENT_REAPER_H
#define PEERPOD_MINI_AGENT_REAPER_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/bound.h"
#include "launch.h"

struct child {
	struct child *next; /* private */
	pid_t pid;
	int exit_fd;  /* eventfd, readable once it has ended; owned */
	bool claimed; /* private: is listed */
	bool exited;
	int status; /* as a shell says it: 0-255, 128 + signal */
};

/* Once, before any other thread starts children. */
int reaper_start(struct error *err);

int child_init(struct child *child, struct error *err);
void child_free(struct child *child);

/* Starts a program as child (child_init was called). */
int child_start(struct child *child, const struct launch *launch, struct error *err);

/*
 * Between these two, ends of processes that nobody knows yet are remembered, so that child_claim
 * for a pid that a program of ours reported is never too late.
 */
void reaper_hold(void);
void reaper_release(void);
void child_claim(struct child *child, pid_t pid);

/* Waits for the end. 0, or -1 as bound_check. */
int child_wait(struct child *child, const struct bound *bound, const char *what, struct error *err);

bool child_exited(struct child *child, int *status);

/*
 * Sends a signal unless it has ended (ERROR_GONE, "ESRCH: No such process"). Never hits another
 * process.
 */
int child_signal(struct child *child, int number, struct error *err);

#endif
