/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failure.h - what an error of EC2 or STS means for a caller
 */
#ifndef PEERPOD_AWS_FAILURE_H
#define PEERPOD_AWS_FAILURE_H

#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"

/* "" for a code: what the HTTP status alone says. */
enum error_kind failure_kind(const char *code, int status);

/* Credentials that a newer set, or a corrected clock, may mend. */
bool failure_is_stale_credentials(const char *code);
bool failure_is_clock(const char *code);

/* Is this the code of the failure? Its message starts with it. */
bool failure_has_code(const struct error *err, const char *code);

/*
 * Fills err from the body of an answer that is no success:
 * "InsufficientInstanceCapacity: text (HTTP 500, request 0123)". Gives the code where there is room. -1.
 */
int failure_read(int status, const void *body, size_t len, char *code, size_t code_size,
	struct error *err);

#define FAILURE_CODE_SIZE 96

#endif
