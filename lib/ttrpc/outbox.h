/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox.h - frames on their way to a socket that many threads send on
 *
 * Whoever sends writes what the socket takes at once; the rest waits and is written by the thread
 * that owns the socket's events. So no sender ever blocks in a write, and a sender that gives up
 * never leaves half a frame. Before making more, senders wait for room.
 */
#ifndef PEERPOD_TTRPC_OUTBOX_H
#define PEERPOD_TTRPC_OUTBOX_H

#include <pthread.h>
#include <stdatomic.h>
#include "base/bound.h"
#include "base/buf.h"

/* From here on there is no room, until less than half of it waits. */
#define OUTBOX_FULL ((size_t)8 << 20)

struct outbox {
	pthread_mutex_t lock;
	struct buf pending;
	size_t sent;       /* of pending */
	int fd;            /* not owned; -1 once closed */
	int room_fd;       /* eventfd, readable while there is room or when closed; owned */
	atomic_bool full;  /* no room */
	atomic_bool waits; /* pending holds unsent bytes */
	void (*want_write)(void *context); /* some bytes wait; called with the lock held */
	void *context;
};

int outbox_init(struct outbox *box, int fd, void (*want_write)(void *), void *context,
	struct error *err);
void outbox_free(struct outbox *box);

/* Never blocks. -1: closed, broken, or no memory. */
int outbox_send(struct outbox *box, const void *frame, size_t len);

/* Waits until there is room: 0. Once closed: 0 as well, the send then fails. -1 as bound_check. */
int outbox_wait(struct outbox *box, const struct bound *bound, const char *what, struct error *err);

/* By the thread that owns the events. 1: nothing waits, 0: the socket is full, -1: it is broken. */
int outbox_flush(struct outbox *box);

/* Drops what waits; sends fail and waits end from now on. The descriptor is not used any more. */
void outbox_close(struct outbox *box);

#endif
