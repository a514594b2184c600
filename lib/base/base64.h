/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base64.h - base64 (RFC 4648, standard alphabet, padded) and lower-case hexadecimal
 */
#ifndef PEERPOD_BASE_BASE64_H
#define PEERPOD_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

/* Appends the text form. */
void base64_encode(const void *bytes, size_t len, struct buf *out);

/*
 * Appends the decoded bytes. White space is skipped; anything else outside the alphabet, missing or
 * misplaced padding, and more than max decoded bytes are ERROR_INVALID, with the place named.
 */
int base64_decode(const char *text, size_t len, size_t max, struct buf *out, struct error *err);

/* Appends two digits a byte. */
void hex_encode(const void *bytes, size_t len, struct buf *out);

#endif
