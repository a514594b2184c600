/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode.h - how values are written in forms and queries, and times in answers
 */
#ifndef PEERPOD_GCP_ENCODE_H
#define PEERPOD_GCP_ENCODE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"

/* Adds name=value, percent-encoded, with & before it where something is there already. */
void form_add(struct buf *form, const char *name, const char *value);

/* The same for a URL: ? before the first. */
void query_add(struct buf *url, const char *name, const char *value);

/* RFC 3339 ("2026-03-15T03:15:32.1-07:00") to Unix time. NULL is none. */
bool time_read(const char *text, int64_t *out);

#endif
