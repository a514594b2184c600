/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.h - the programs that podvm-init starts, and waiting for what happens to them
 */
#ifndef PEERPOD_INIT_SERVICE_H
#define PEERPOD_INIT_SERVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"

#define SERVICE_ARGS_MAX 32

struct service {
	const char *name;             /* for messages; not owned */
	char *argv[SERVICE_ARGS_MAX]; /* owned, NULL-terminated; argv[0] is the path */
	int argc;
	pid_t pid;           /* 0: not running */
	int status;          /* of waitpid(2), once it has ended */
	uint64_t started_ns; /* CLOCK_MONOTONIC */
	bool ended;          /* ended and not yet looked at by services_wait's caller */
};

/* Appends one argument (copied). ERROR_INVALID when there are too many. */
int service_add(struct service *service, const char *arg, struct error *err);

/* Appends the words of text, which are separated by blanks. */
int service_add_words(struct service *service, const char *text, struct error *err);

/* Starts it with podvm-init's output and environment, in a session of its own. */
int service_start(struct service *service, struct error *err);

/* Sends the signal if it runs. */
void service_signal(const struct service *service, int signum);

/* "ended with status 3", "was killed by signal 9". Into text. */
void service_fate(const struct service *service, char *text, size_t size);

void service_free(struct service *service);

enum service_event {
	SERVICE_ENDED,   /* at least one service has `ended` set */
	SERVICE_NETWORK, /* podvm-dhcp has said (SIGUSR1) that there is an address */
	SERVICE_STOP,    /* somebody wants us to end (SIGTERM, SIGINT) */
	SERVICE_TIMEOUT,
	SERVICE_FAILED, /* waiting itself failed */
};

/*
 * Blocks the signals that services_wait takes in. Once, before the first service is started: a signal
 * that comes early is then kept, not lost.
 */
int services_init(struct error *err);

/* Gives the signals back, before another program takes this process over. */
void services_end(void);

/*
 * Waits for the next event until deadline_ns (DEADLINE_NEVER: for ever). Reaps every process that ended, also
 * those that nobody here has started: the first process inherits all orphans.
 */
enum service_event services_wait(struct service *services, size_t count, uint64_t deadline_ns,
	struct error *err);

#endif
