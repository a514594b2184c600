/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failure.h - what an error of Azure means for a caller
 */
#ifndef PEERPOD_AZURE_FAILURE_H
#define PEERPOD_AZURE_FAILURE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"

/* "" for a code or message: what the HTTP status (0: none) alone says. */
enum error_kind failure_kind(const char *code, const char *message, int status);

/* An ARM 401 that a newer token may mend. */
bool failure_is_stale_token(int status);

/* Does the message of this failure start with the code, or name it after the outer one? */
bool failure_has_code(const struct error *err, const char *code);

/*
 * Fills err from an answer that is no success: "AllocationFailed: text (HTTP 409, request 0123); what to do". The most
 * telling code decides: errors are nested in details, in innererror, and as JSON text in messages. request: the
 * x-ms-request-id, "". -1.
 */
int failure_read(int status, const void *body, size_t len, const char *request, struct error *err);

/* The same for the "error" object of an operation that failed, or of a status of an instance view. */
int failure_of_object(const json_t *error, int status, const char *request, struct error *err);

/* What to do about a code of Entra ID ("AADSTS700016"), by its number; NULL: nothing is known. */
const char *aadsts_advice(long number);

#endif
