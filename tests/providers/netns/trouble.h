/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trouble.h - failures that a test orders
 *
 * NETNS_FAIL is a list of CALL:KIND[:COUNT], separated by commas: the named call of the driver fails with
 * an error of that kind, COUNT times (without a count: every time).
 *
 *   create:capacity:2,delete:retry:1
 */
#ifndef PEERPOD_NETNS_TROUBLE_H
#define PEERPOD_NETNS_TROUBLE_H

#include <stdatomic.h>
#include <stddef.h>
#include "base/error.h"

#define TROUBLES_MAX 16

struct trouble {
	char call[16];
	enum error_kind kind;
	atomic_long left; /* negative: for ever */
};

struct troubles {
	struct trouble list[TROUBLES_MAX];
	size_t count;
};

int troubles_parse(const char *text, struct troubles *troubles, struct error *err);

/* -1 with the ordered error where one is due for this call, else 0. */
int trouble_due(struct troubles *troubles, const char *call, struct error *err);

#endif
