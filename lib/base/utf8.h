/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h - text that must be UTF-8 because of who reads it: protobuf strings, JSON */
#ifndef PEERPOD_BASE_UTF8_H
#define PEERPOD_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/*
 * How many bytes the character at the beginning has, and its code point, which may be one that no text may have (a half
 * of a surrogate pair, or beyond U+10FFFF); 0: there is none.
 */
size_t utf8_decode(const char *text, size_t len, uint32_t *point);

/* How many bytes the well-formed character at the beginning has: 1 to 4; 0: there is none. */
size_t utf8_character(const char *text, size_t len);

/* Puts '?' in the place of each byte that belongs to no well-formed character. */
void utf8_repair(char *text);

#endif
