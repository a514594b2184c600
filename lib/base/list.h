/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.h - NULL-terminated lists of strings, and what options write as text: "a,b" and "k=v,k2=v2"
 */
#ifndef PEERPOD_BASE_LIST_H
#define PEERPOD_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include "base/cleanup.h"
#include "base/error.h"

/*
 * The words of a comma list, each new, without blanks around them and without empty ones; "": an
 * empty list. NULL: no memory. Freed with list_free.
 */
char **list_split(const char *text);
void list_free(char **list);
size_t list_count(char *const *list);
bool list_holds(char *const *list, const char *text);

DEFINE_CLEANUP(char *, list_free)
#define cleanup_list cleanup(list_free_ptr) char **

/*
 * Goes through "k=v,k2=v2": 1 with key and value (new strings, without blanks around them), 0 at the end, -1 for an
 * item without '='. what: the option, for the message. *text is moved on.
 */
int pairs_next(const char *what, const char **text, char **key, char **value, struct error *err);

/*
 * Goes through a text with a function like pairs_next that knows what it reads: 0 where it likes all of it, and finds
 * at most max. kind: "tags", for the message.
 */
int pairs_check(const char *what, const char *text,
	int (*next)(const char **text, char **key, char **value, struct error *err), size_t max,
	const char *kind, struct error *err);

#endif
