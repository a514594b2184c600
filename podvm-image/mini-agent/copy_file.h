/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy_file.h - files, folders and links that a shim copies into the guest
 */
#ifndef PEERPOD_MINI_AGENT_COPY_FILE_H
#define PEERPOD_MINI_AGENT_COPY_FILE_H

#include "base/error.h"
#include "proto/agent.pb-c.h"

/* Where they go: nothing outside of it is touched, whatever path and links say. */
#define COPY_FILE_FOLDER "/run/kata-containers/shared/containers"

/*
 * One piece of a file, a folder, or a symbolic link. A file appears under its name, with owner and
 * mode, when its last piece has come; an older file or link of that name is replaced.
 */
int copy_file(const Agent__CopyFileRequest *request, struct error *err);

#endif
