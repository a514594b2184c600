/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bound.c - see bound.h. A cancel is an eventfd, so that poll(2) wakes on it; one with a parent is an
 * epoll descriptor over its own eventfd and what wakes the parent's waiters.
 */
#include "base/bound.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

struct cancel {
	atomic_int references;
	atomic_bool fired;
	int event_fd;          /* what cancel_fire writes to */
	int fd;                /* what waiters poll: event_fd, or the epoll over both */
	struct cancel *parent; /* a reference, or NULL */
};

uint64_t clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t deadline_in(uint64_t ns)
{
	uint64_t deadline;
	return __builtin_add_overflow(clock_ns(), ns, &deadline) ? DEADLINE_NEVER : deadline;
}

struct bound bound_within(const struct bound *outer, uint64_t ns)
{
	uint64_t deadline = deadline_in(ns);
	return (struct bound){
		.deadline_ns = outer->deadline_ns < deadline ? outer->deadline_ns : deadline,
		.cancel = outer->cancel,
	};
}

uint64_t bound_left_ns(const struct bound *bound)
{
	if (bound->deadline_ns == DEADLINE_NEVER)
		return DEADLINE_NEVER;
	uint64_t now = clock_ns();
	return bound->deadline_ns > now ? bound->deadline_ns - now : 0;
}

int bound_left_ms(const struct bound *bound)
{
	uint64_t left = bound_left_ns(bound);
	if (left == DEADLINE_NEVER)
		return -1;
	left = left / NS_PER_MS + (left % NS_PER_MS != 0);
	return left > INT32_MAX ? INT32_MAX : (int)left;
}

int bound_check(const struct bound *bound, const char *what, struct error *err)
{
	if (bound->cancel && cancel_fired(bound->cancel))
		return error_set(err, ERROR_CANCELED, "%s: canceled", what);
	if (bound_left_ns(bound) == 0)
		return error_set(err, ERROR_TIMEOUT, "%s: timed out", what);
	return 0;
}

int bound_poll(const struct bound *bound, int fd, short events, const char *what, struct error *err)
{
	for (;;) {
		if (bound_check(bound, what, err) < 0)
			return -1;
		struct pollfd fds[2] = {
			{.fd = fd, .events = events},
			{.fd = bound->cancel ? bound->cancel->fd : -1, .events = POLLIN},
		};
		int n = poll(fds, 2, bound_left_ms(bound));
		if (n < 0 && errno != EINTR)
			return error_set_errno(err, errno, "%s: poll", what);
		if (n > 0 && fds[0].revents)
			return fds[0].revents;
	}
}

int bound_sleep(const struct bound *bound, uint64_t ns, const char *what, struct error *err)
{
	uint64_t wake = deadline_in(ns);
	for (;;) {
		if (bound_check(bound, what, err) < 0)
			return -1;
		struct bound nap = {.deadline_ns = wake};
		if (bound_left_ns(&nap) == 0)
			return 0;
		if (bound->deadline_ns < wake)
			nap.deadline_ns = bound->deadline_ns;
		struct pollfd fd = {.fd = bound->cancel ? bound->cancel->fd : -1, .events = POLLIN};
		poll(&fd, 1, bound_left_ms(&nap));
	}
}

struct cancel *cancel_new(void)
{
	struct cancel *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->event_fd = c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->fd < 0) {
		free(c);
		return NULL;
	}
	atomic_init(&c->references, 1);
	return c;
}

struct cancel *cancel_child(struct cancel *parent)
{
	struct cancel *c = cancel_new();
	if (!c || !parent)
		return c;
	struct epoll_event event = {.events = EPOLLIN};
	c->fd = epoll_create1(EPOLL_CLOEXEC);
	if (c->fd < 0 || epoll_ctl(c->fd, EPOLL_CTL_ADD, c->event_fd, &event) < 0 ||
		epoll_ctl(c->fd, EPOLL_CTL_ADD, parent->fd, &event) < 0) {
		cancel_unref(c);
		return NULL;
	}
	c->parent = cancel_ref(parent);
	return c;
}

struct cancel *cancel_ref(struct cancel *c)
{
	atomic_fetch_add(&c->references, 1);
	return c;
}

void cancel_unref(struct cancel *c)
{
	if (atomic_fetch_sub(&c->references, 1) != 1)
		return;
	if (c->fd >= 0 && c->fd != c->event_fd)
		close(c->fd);
	close(c->event_fd);
	if (c->parent)
		cancel_unref(c->parent);
	free(c);
}

void cancel_fire(struct cancel *c)
{
	if (!atomic_exchange(&c->fired, true))
		eventfd_write(c->event_fd, 1);
}

bool cancel_fired(const struct cancel *c)
{
	return atomic_load(&c->fired) || (c->parent && cancel_fired(c->parent));
}

int cancel_fd(const struct cancel *c)
{
	return c->fd;
}
