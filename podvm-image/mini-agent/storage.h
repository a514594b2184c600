/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storage.h - storages that a sandbox or a container asks for: folders and memory file systems
 */
#ifndef PEERPOD_MINI_AGENT_STORAGE_H
#define PEERPOD_MINI_AGENT_STORAGE_H

#include "base/error.h"
#include "proto/agent.pb-c.h"

/* Everything that a request may have made lies here. */
#define KATA_FOLDER "/run/kata-containers"

/* Is it below KATA_FOLDER, without "..", and of a sane length? */
int storage_check_path(const char *path, struct error *err);

/*
 * "ephemeral" is a tmpfs, "local" a folder; "image_guest_pull" is the container's matter and passed
 * over; others are refused. One that is there already (shared by containers) is fine.
 */
int storages_make(Agent__Storage *const *storages, size_t count, struct error *err);

/*
 * Unmounts and removes all that is mounted below KATA_FOLDER and what lies in its folders for
 * sandboxes.
 */
void storages_remove(void);

#endif
