/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failure.h - what the API's errors mean
 *
 * There are two shapes: that of an HTTP answer (a reason, mostly in camelCase) and that of an operation that has ended
 * (a code in capitals). Both are looked up in the same tables.
 */
#ifndef PEERPOD_GCP_FAILURE_H
#define PEERPOD_GCP_FAILURE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"

/* Of an HTTP answer that is no success: "reason: message (HTTP 403)". The result is -1. */
int failure_read(int status, const void *body, size_t len, struct error *err);

/* Of an operation that is DONE: 0, or -1 as "CODE: message (HTTP 503, details, operation NAME)". */
int failure_of_operation(const json_t *operation, struct error *err);

/* Did an instance find its subnetwork without a free address? */
bool failure_is_full_subnetwork(const struct error *err);

enum error_kind failure_kind_of_reason(const char *reason, int status);
enum error_kind failure_kind_of_code(const char *code, int status);

#endif
