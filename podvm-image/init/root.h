/* SPDX-License-Identifier: Apache-2.0 */
/*
 * root.h - from the initial ramfs to the root file system on a disk
 */
#ifndef PEERPOD_INIT_ROOT_H
#define PEERPOD_INIT_ROOT_H

#include "settings.h"

/*
 * Loads the modules of the group [media], waits for the partition that -root names, mounts it read-only
 * (with -root-hash: only what dm-verity finds unchanged can be read) and becomes its /sbin/init.
 * Returns only on failure.
 */
int root_switch(const struct settings *settings, struct error *err);

#endif
