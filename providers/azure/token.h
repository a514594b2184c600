/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token.h - what Entra ID and the instance metadata service answer when asked for a token
 */
#ifndef PEERPOD_AZURE_TOKEN_H
#define PEERPOD_AZURE_TOKEN_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/secret.h"

#define TOKEN_ANSWER_MAX ((size_t)64 << 10)

/*
 * A success. *lives_ns: from expires_in, a number or the same as text; else from expires_on (Unix time or an old host's
 * date) and now, the Unix time at which it was asked for; 0: unknown. ERROR_INVALID where there is no usable token.
 */
int token_read(const char *from, const void *text, size_t len, int64_t now, struct secret *token,
	uint64_t *lives_ns, struct error *err);

/* A refusal of Entra ID, with its AADSTS code and what to do about it. -1. */
int token_refusal_read(int status, const void *text, size_t len, struct error *err);

/* A refusal of the metadata service. 404, 410, 429 and 5xx pass (ERROR_RETRY); 400 is final. -1. */
int imds_refusal_read(int status, const void *text, size_t len, struct error *err);

#endif
