/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iso9660.h - writes a small read-only file system: a handful of files in one folder
 *
 * What cloud-init's NoCloud source and process-user-data read: volume label "cidata", the names as they are
 * (as upstream writes them), and Rock Ridge entries for the names and a mode of 0400.
 */
#ifndef PEERPOD_LIBVIRT_ISO9660_H
#define PEERPOD_LIBVIRT_ISO9660_H

#include <stddef.h>
#include "base/buf.h"
#include "base/error.h"

struct iso9660_file {
	const char *name; /* at most 30 characters: a-z, 0-9, dash, dot, underscore */
	const void *bytes;
	size_t len;
};

#define ISO9660_FILES_MAX 8
#define ISO9660_SECTOR 2048

/* Appends the image, whole sectors, to out. label: at most 32 characters. */
int iso9660_write(const char *label, const struct iso9660_file *files, size_t count,
	struct buf *out, struct error *err);

#endif
