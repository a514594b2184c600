/* SPDX-License-Identifier: Apache-2.0 */
/*
 * query.h - the bodies of EC2 and STS requests: Action=...&Version=...&Name.N.Member=value
 *
 * Bytes outside A-Z a-z 0-9 - _ . ~ become %XX. Bodies may hold user data, so they are overwritten when freed.
 */
#ifndef PEERPOD_AWS_QUERY_H
#define PEERPOD_AWS_QUERY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"

#define EC2_VERSION "2016-11-15"
#define STS_VERSION "2011-06-15"

struct query {
	const char *action; /* not owned */
	bool once; /* may not be carried out twice: after a passing fault the caller has to look */
	struct buf body;
};

void query_start(struct query *q, const char *action, const char *version);

/* Adds one parameter. The key's format makes "Filter.2.Value.1"; its letters need no encoding. */
void query_add(struct query *q, const char *value, const char *key_format, ...)
	__attribute__((format(printf, 3, 4)));
void query_add_int(struct query *q, int64_t value, const char *key);

/* Filter.N with its values; n counts from 1. */
void query_filter(struct query *q, unsigned n, const char *name, const char *const *values);
void query_filter_one(struct query *q, unsigned n, const char *name, const char *value);

void query_free(struct query *q);
#define cleanup_query cleanup(query_free) struct query

#endif
