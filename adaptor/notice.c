/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notice.c - see notice.h
 *
 * Each waiter brings an eventfd, because a wait must also end when a cancel fires and only poll(2) can
 * wait for both. Waiters are few (callers of GetInfo and StopVM, the housekeeper), so a list will do.
 */
#include "adaptor/notice.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"

/* Without a descriptor to be woken by: how often to look. */
#define LOOK_NS (100 * NS_PER_MS)

struct waiter {
	struct waiter *next;
	int fd;
};

struct notice {
	pthread_mutex_t lock;
	uint64_t count;
	struct waiter *waiters;
};

struct notice *notice_new(struct error *err)
{
	struct notice *notice = calloc(1, sizeof(*notice));
	if (!notice) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&notice->lock, NULL);
	return notice;
}

void notice_free(struct notice *notice)
{
	if (!notice)
		return;
	pthread_mutex_destroy(&notice->lock);
	free(notice);
}

uint64_t notice_count(struct notice *notice)
{
	pthread_mutex_lock(&notice->lock);
	uint64_t count = notice->count;
	pthread_mutex_unlock(&notice->lock);
	return count;
}

void notice_post(struct notice *notice)
{
	pthread_mutex_lock(&notice->lock);
	notice->count++;
	for (struct waiter *waiter = notice->waiters; waiter; waiter = waiter->next)
		eventfd_write(waiter->fd, 1);
	pthread_mutex_unlock(&notice->lock);
}

static void remove_waiter(struct notice *notice, const struct waiter *waiter)
{
	pthread_mutex_lock(&notice->lock);
	struct waiter **at = &notice->waiters;
	while (*at != waiter)
		at = &(*at)->next;
	*at = waiter->next;
	pthread_mutex_unlock(&notice->lock);
}

/* Descriptors have run out. Whoever waits in a loop must not take that for a change, nor give up what it waits for. */
static int wait_by_looking(struct notice *notice, uint64_t seen, const struct bound *bound,
	const char *what, struct error *err)
{
	while (notice_count(notice) == seen) {
		if (bound_sleep(bound, LOOK_NS, what, err) < 0)
			return -1;
	}
	return 0;
}

int notice_wait(struct notice *notice, uint64_t seen, const struct bound *bound, const char *what,
	struct error *err)
{
	cleanup(close_fd) int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return wait_by_looking(notice, seen, bound, what, err);
	struct waiter waiter = {.fd = fd};
	pthread_mutex_lock(&notice->lock);
	bool changed = notice->count != seen;
	if (!changed) {
		waiter.next = notice->waiters;
		/* Taken out again below. */
		/* cppcheck-suppress autoVariables */
		notice->waiters = &waiter;
	}
	pthread_mutex_unlock(&notice->lock);
	if (changed)
		return 0;
	int result = bound_poll(bound, fd, POLLIN, what, err);
	remove_waiter(notice, &waiter);
	return result < 0 ? -1 : 0;
}
