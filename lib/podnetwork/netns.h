/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netns.h - network namespaces by path: opening with checks, and doing one thing inside
 *
 * The caller's thread never changes its namespace: what must happen inside (opening a socket,
 * writing a sysctl) runs on a short-lived thread.
 */
#ifndef PEERPOD_PODNETWORK_NETNS_H
#define PEERPOD_PODNETWORK_NETNS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

#define NETNS_DIR "/run/netns"

/*
 * A descriptor of the netns at path, or -1: ERROR_GONE where the path does not exist or holds no
 * netns (any more), ERROR_INVALID where it is no netns or the one that we are in ourselves.
 */
int netns_open(const char *path, struct error *err);

/* As netns_open; ERROR_GONE where another netns than that of inode is there meanwhile. 0: any. */
int netns_open_known(const char *path, uint64_t inode, struct error *err);

/* The netns of this thread. */
int netns_open_own(struct error *err);

/* Runs function(arg) on a thread that is in the netns; netns_fd -1: directly, in our own. */
int netns_run(int netns_fd, void (*function)(void *), void *arg, struct error *err);

/* Writes /proc/sys/<name> inside. ERROR_GONE where this kernel has no such setting. */
int netns_write_sysctl(int netns_fd, const char *name, const char *value, struct error *err);

#endif
