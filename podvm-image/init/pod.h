/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod.h - the pod's programs: user data, agent and forwarder, in that order, kept running
 */
#ifndef PEERPOD_INIT_POD_H
#define PEERPOD_INIT_POD_H

#include "settings.h"
#include "service.h"

enum pod_service { POD_USER_DATA, POD_AGENT, POD_FORWARDER, POD_DHCP, POD_SERVICES };

struct pod {
	struct service services[POD_SERVICES];
	uint64_t forwarder_again_ns; /* when to start it anew; DEADLINE_NEVER: not now */
	uint64_t forwarder_pause_ns; /* the wait before the next new start */
	bool network;                /* podvm-dhcp reported an address */
	bool stopping;               /* SIGTERM has come */
};

/* Fills in the command lines. */
int pod_init(struct pod *pod, const struct settings *settings, struct error *err);
void pod_free(struct pod *pod);

/* Starts process-user-data; pod_user_data_finish waits for it. 1: stopped by a signal meanwhile. */
int pod_user_data_start(struct pod *pod, struct error *err);
int pod_user_data_finish(struct pod *pod, struct error *err);

/* Waits until there is an address, at most timeout_ns. 0 also when there is none. */
int pod_wait_network(struct pod *pod, uint64_t timeout_ns, struct error *err);

/* Starts agent and forwarder. */
int pod_start(struct pod *pod, struct error *err);

/*
 * Looks after them until the agent ends or podvm-init is told to stop, then stops the forwarder (which
 * takes the pod network down) and the agent. 0 when the agent ended well or we were told to stop.
 */
int pod_run(struct pod *pod, struct error *err);

#endif
