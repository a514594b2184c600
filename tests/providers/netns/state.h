/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - what the netns driver knows about its instances: a folder per token
 *
 *   <dir>/lock                held while an address is chosen
 *   <dir>/addresses/<ip>      who has it: a token
 *   <dir>/<token>/lock        held by whoever makes or removes this instance
 *   <dir>/<token>/metadata.json, process, user-data, console.log, root/
 *
 * metadata.json is written before anything else is made and removed after all of it is gone, so that a
 * driver that was killed in between leaves an instance that list shows and delete removes. Locks are
 * flock(2) locks: they end with the processes that hold them.
 */
#ifndef PEERPOD_NETNS_STATE_H
#define PEERPOD_NETNS_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/bound.h"
#include "network.h"
#include "providers/provider.h"

#define STATE_TOKEN_MAX 64

struct record {
	char *name, *cluster, *node, *pod_namespace, *pod, *sandbox;
	int64_t created;
	char addresses[NETWORK_NICS_MAX][16];
	size_t address_count;
};
void record_free(struct record *record);

/* Lower-case hex digits only: a token becomes a file name. */
int state_check_token(const char *token, struct error *err);

/* <dir>/<token>[/<file>] into path (PATH_MAX bytes). */
void state_path(const char *dir, const char *token, const char *file, char *path, size_t size);

/*
 * The lock of one token, as a descriptor that whoever inherits it holds too. With make the folder is
 * made; without, a missing folder is ERROR_GONE.
 */
int state_lock(const char *dir, const char *token, bool make, const struct bound *bound, int *fd,
	struct error *err);

/* ERROR_GONE where there is none. */
int state_read(const char *dir, const char *token, struct record *record, struct error *err);
int state_write(const char *dir, const char *token, const struct record *record, struct error *err);

/*
 * A free address of the subnet (CIDR; its first address is the bridge's) for this token, whose folder
 * exists. ERROR_CAPACITY when all are taken.
 */
int state_reserve_address(const char *dir, const char *subnet, const char *token, char *address,
	size_t size, const struct bound *bound, struct error *err);

/* The bridge's address as CIDR, and the prefix length of the subnet. */
int state_gateway(const char *subnet, char *cidr, size_t size, int *prefix, struct error *err);

/* The first process of the instance, 0 where none lives. *pidfd, where wanted, is its descriptor. */
pid_t state_process(const char *dir, const char *token, int *pidfd);

/* Removes what the folder holds and the addresses; the folder itself and its lock stay. */
void state_wipe(const char *dir, const char *token, const struct record *record);

/* After a wipe, with the lock held: the folder is gone. */
void state_forget(const char *dir, const char *token);

/* Calls each with every token that has a folder, until it returns nonzero. */
int state_each(const char *dir, int (*each)(void *closure, const char *token, struct error *err),
	void *closure, struct error *err);

#endif
