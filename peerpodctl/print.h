/* SPDX-License-Identifier: Apache-2.0 */
/*
 * print.h - JSON and labelled lines on standard output
 */
#ifndef PEERPODCTL_PRINT_H
#define PEERPODCTL_PRINT_H

#include "base/json.h"

/* Takes value over. compact: one line. */
int print_json(json_t *value, bool compact, struct error *err);

/* A string, or null where there is none or it is empty. */
json_t *json_text(const char *text);
/* The strings of a NULL-terminated list, which may be NULL. */
json_t *json_texts(char *const *list);
/* "2026-11-28T02:41:45Z", or null for 0. */
json_t *json_time(int64_t when);

/* "label:   text" with what steers a terminal taken out; nothing where text is empty. */
void print_line(const char *label, const char *text);

#endif
