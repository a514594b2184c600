/* SPDX-License-Identifier: Apache-2.0 */
/*
 * root.h - the root file system of an instance: this machine's, with private /proc, /run and /media
 */
#ifndef PEERPOD_NETNS_ROOT_H
#define PEERPOD_NETNS_ROOT_H

#include "base/error.h"

/*
 * In a fresh mount and PID namespace: makes folder the root of the calling process. user_data, a file
 * outside, becomes /media/cidata/user-data, readable by root alone.
 *
 * "/" is then a mount point of its own, also where the machine is itself a chroot: without that
 * nobody could pivot_root(2) from it, as container runtimes do.
 */
int root_enter(const char *folder, const char *token, const char *user_data, struct error *err);

#endif
