/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bearer.h - a token that opens an API: fetched when it is first needed, kept, renewed before it ends
 *
 * One thread fetches at a time. Where a renewal fails, the old token is used as long as it is good.
 */
#ifndef PEERPOD_HTTP_BEARER_H
#define PEERPOD_HTTP_BEARER_H

#include <stdint.h>
#include "base/bound.h"
#include "base/error.h"
#include "base/secret.h"

struct bearer;

/*
 * Fetches a token: *token is set, *lives_ns is how long it is good from the moment of asking (0: unknown, taken as five
 * minutes). Tokens are opaque: nothing in them is read.
 */
typedef int bearer_fetch(void *with, struct secret *token, uint64_t *lives_ns,
	const struct bound *bound, struct error *err);

/* who: "azure", for log lines, kept. NULL: no memory. */
struct bearer *bearer_new(const char *who, bearer_fetch *fetch, void *with);
void bearer_free(struct bearer *bearer);

/*
 * A copy of the token in use. Renewed five minutes before its end, at half its life where that is longer than two
 * hours. Blocks for a fetch where there is no good token, for at most 30 s; or to renew one, for at most 5 s and half of the
 * time that there is, so that a service that hangs does not fail whoever has a good token.
 */
int bearer_get(struct bearer *bearer, struct secret *token, const struct bound *bound,
	struct error *err);

/* The API refused this token: the next bearer_get fetches one, unless that has happened since. */
void bearer_refuse(struct bearer *bearer, const struct secret *token);

#endif
