/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cloudinit.h - user data as a cloud-config with write_files, path and content only
 */
#ifndef PEERPOD_CLOUDINIT_H
#define PEERPOD_CLOUDINIT_H

#include <stddef.h>
#include "base/buf.h"
#include "base/error.h"

struct cloudinit_file {
	char *path;
	char *content; /* NUL-terminated, may be NULL or ""; owned when read */
	size_t len;
};

struct cloudinit {
	struct cloudinit_file *files;
	size_t count;
};

/*
 * Appends the document: "#cloud-config", an empty line, write_files with literal blocks of indent 6. A
 * file without content has only its path. What is read back is the same bytes, except that content which does
 * not end with a newline gains one. A content that a literal block cannot carry (control
 * characters, not UTF-8) is ERROR_INVALID naming the path. Contents may be secret: buf_wipe out.
 */
int cloudinit_write(const struct cloudinit_file *files, size_t count, struct buf *out,
	struct error *err);

/* Limits of the reader. */
#define CLOUDINIT_DOCUMENT_MAX 1048576
#define CLOUDINIT_FILES_MAX 64

/*
 * Strict: unknown or duplicate keys at either level, aliases, anchors and tags, several documents,
 * sizes over the limits are ERROR_INVALID with line and column. Empty input is a document with no files.
 */
int cloudinit_read(const char *text, size_t len, struct cloudinit *out, struct error *err);
void cloudinit_free(struct cloudinit *document);

#endif
