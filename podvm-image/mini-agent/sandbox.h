/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox.h - the pod: its containers and what they share
 */
#ifndef PEERPOD_MINI_AGENT_SANDBOX_H
#define PEERPOD_MINI_AGENT_SANDBOX_H

#include "container.h"

struct sandbox {
	struct places places;
	struct crun crun;
	struct cgroups cgroups;
	const char
		*unlink_socket; /* the agent's socket, removed by CreateSandbox; NULL: left alone */
	int destroyed_fd;       /* eventfd, readable once the sandbox was destroyed */
	pthread_mutex_t lock;   /* guards what follows */
	bool created;
	char *ipc_ns, *uts_ns; /* files that hold the namespaces */
	struct container *containers;
	char *creating[64]; /* ids of containers that are being made */
};

int sandbox_init(struct sandbox *sandbox, struct error *err);
void sandbox_free(struct sandbox *sandbox);

int sandbox_create(struct sandbox *sandbox, const Agent__CreateSandboxRequest *request,
	struct error *err);

/* Removes every container and what CreateSandbox made; destroyed_fd becomes readable. */
void sandbox_destroy(struct sandbox *sandbox);

int sandbox_create_container(struct sandbox *sandbox, const Agent__CreateContainerRequest *request,
	const struct bound *bound, struct error *err);
int sandbox_remove_container(struct sandbox *sandbox, const char *id, const struct bound *bound,
	struct error *err);

/* A reference, or NULL with status 3. */
struct container *sandbox_container(struct sandbox *sandbox, const char *id, struct error *err);

/*
 * Waits until the kernel has killed for want of memory in some container: *id is it, to be freed.
 */
int sandbox_wait_oom(struct sandbox *sandbox, char **id, const struct bound *bound,
	struct error *err);

#endif
