/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mounts.h - the file systems of a pod VM that starts from the initial ramfs
 */
#ifndef PEERPOD_INIT_MOUNTS_H
#define PEERPOD_INIT_MOUNTS_H

#include "base/error.h"

/* Mounts /proc, /sys, /dev and /run only: what the next root takes over. */
int mounts_make_base(struct error *err);

/* Gives the machine a root that containers can pivot away from, and mounts /proc, /sys, /dev, /run ... */
int mounts_make(struct error *err);

#endif
