/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notice.h - "something changed": threads wait for it within a bound
 *
 * A notice counts posts. A waiter remembers the count, looks at the world, and waits until the count
 * has moved on: nothing that was posted after the look is missed.
 */
#ifndef PEERPOD_ADAPTOR_NOTICE_H
#define PEERPOD_ADAPTOR_NOTICE_H

#include <stdint.h>
#include "base/bound.h"

struct notice;

struct notice *notice_new(struct error *err);
void notice_free(struct notice *notice); /* nobody may wait any more */
uint64_t notice_count(struct notice *notice);
void notice_post(struct notice *notice);

/* 0 as soon as the count is not `seen`; -1 as bound_check, "what" is what is waited for. */
int notice_wait(struct notice *notice, uint64_t seen, const struct bound *bound, const char *what,
	struct error *err);

#endif
