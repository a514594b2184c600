/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h - text that must be UTF-8 because of who reads it: protobuf strings, JSON */
#ifndef PEERPOD_BASE_UTF8_H
#define PEERPOD_BASE_UTF8_H

#include <stddef.h>

/* How many bytes the well-formed character at the beginning has: 1 to 4; 0: there is none. */
size_t utf8_character(const char *text, size_t len);

/* Puts '?' in the place of each byte that belongs to no well-formed character. */
void utf8_repair(char *text);

#endif
