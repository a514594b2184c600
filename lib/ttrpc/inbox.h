/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inbox.h - the frames of one stream, from the thread that reads the connection to the one that
 * waits
 */
#ifndef PEERPOD_TTRPC_INBOX_H
#define PEERPOD_TTRPC_INBOX_H

#include <pthread.h>
#include "base/bound.h"
#include "ttrpc/frame.h"

/* A stream with this much unread holds up the reading of its connection. */
#define INBOX_FULL ((size_t)8 << 20)

struct inbox_frame {
	struct inbox_frame *next;
	struct ttrpc_header header;
	bool oversized;  /* the peer sent more than the limit: there is no data */
	struct buf data; /* owned */
};

struct inbox {
	pthread_mutex_t lock;
	struct inbox_frame *head, **tail;
	size_t bytes; /* of all frames' data */
	int fd;       /* eventfd, readable while there is something to get or it is closed */
	bool closed;
};

int inbox_init(struct inbox *box, struct error *err);
void inbox_free(struct inbox *box);

/* Ready for the next stream: empty and open. Nobody else may use it meanwhile. */
void inbox_reset(struct inbox *box);

/* Takes the frame's data over. Returns the bytes that are unread now. */
size_t inbox_put(struct inbox *box, const struct ttrpc_header *header, bool oversized,
	struct buf *data);

/* Nothing more will come. */
void inbox_close(struct inbox *box);

/*
 * 1: *frame is the next one (inbox_frame_free), 0: closed and all of it read, -1 as bound_check.
 */
int inbox_get(struct inbox *box, const struct bound *bound, const char *what,
	struct inbox_frame **frame, struct error *err);

void inbox_frame_free(struct inbox_frame *frame);
DEFINE_CLEANUP(struct inbox_frame, inbox_frame_free)

#endif
