/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file.h - whole files: read with a limit, replaced atomically
 */
#ifndef PEERPOD_BASE_FILE_H
#define PEERPOD_BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>
#include "base/buf.h"
#include "base/error.h"

/*
 * Reads all of path into out (appended). A file of more than max bytes is ERROR_INVALID and nothing
 * is read; a missing one is ERROR_GONE. Blocks on the disk only.
 */
int file_read(const char *path, size_t max, struct buf *out, struct error *err);

/*
 * Replaces path: writes a temporary file beside it with this mode, fsync, rename, fsync of the
 * folder. After a crash either the old or the new content is there, whole.
 */
int file_write(const char *path, mode_t mode, const void *bytes, size_t len, struct error *err);

/* Makes the folder and its missing parents with this mode. One that is there is fine. */
int dir_make(const char *path, mode_t mode, struct error *err);

/* Removes a folder and the files in it; it must hold no folder. One that is gone is fine. */
int dir_remove(const char *path, struct error *err);

/* Device, inode, size and time of change of a file's content, as text: another text, another file or content. */
#define FILE_IDENTITY_SIZE 96
int file_identity(const char *path, char out[FILE_IDENTITY_SIZE], struct error *err);

/* Removes a file; one that is gone is fine. */
int file_remove(const char *path, struct error *err);

#endif
