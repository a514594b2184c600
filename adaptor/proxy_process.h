/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_process.h - agent-proxy as a process that the adaptor starts when it is run by hand
 *
 * The process is made to outlive us: a session of its own, none of our descriptors but standard
 * error, our signal mask undone.
 */
#ifndef PEERPOD_ADAPTOR_PROXY_PROCESS_H
#define PEERPOD_ADAPTOR_PROXY_PROCESS_H

#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"

struct proxy_client_settings;

struct proxy_process {
	pid_t pid;              /* -1: none that we started, or it has ended */
	uint64_t not_before_ns; /* the next start, after one that ended at once */
};
#define PROXY_PROCESS_INIT ((struct proxy_process){.pid = -1})

/*
 * Starts it unless the one that we started still runs. *err, which says why agent-proxy could not be
 * reached, is replaced when it cannot be started either.
 */
void proxy_process_ensure(struct proxy_process *process,
	const struct proxy_client_settings *settings, struct error *err);

/* Takes note of its end, if it has ended. */
void proxy_process_reap(struct proxy_process *process);

#endif
