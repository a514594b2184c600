/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - one connection of the client
 *
 * A thread polls the socket, hands frames to the inboxes of the calls they belong to, and writes
 * what callers could not write at once. Ids are given and frames sent under one lock, because a Go
 * server wants to see ids increase. What comes for a stream that nobody waits for (any more) is
 * dropped. The connection lives until ttrpc_client_free and until the last call has returned.
 */
#include "ttrpc/client_private.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/thread.h"
#include "ttrpc/frame_reader.h"
#include "ttrpc/outbox.h"

#define BUCKETS 64u
/* Idle call slots, each with its eventfd, that are kept for the next call. */
#define SPARE_MAX 16u

struct ttrpc_client {
	atomic_int references;
	int fd, wake_fd;
	pthread_t thread;
	struct outbox outbox;
	pthread_mutex_t lock; /* guards what follows */
	struct pending *calls[BUCKETS], *spare;
	size_t spare_count;
	uint32_t next_stream;
	bool closed;
	atomic_bool stopping;
	atomic_bool stalled; /* an inbox is full */
};

static struct pending **bucket_of(struct ttrpc_client *client, uint32_t stream)
{
	return &client->calls[(stream >> 1) % BUCKETS];
}

static void wake(void *context)
{
	struct ttrpc_client *client = context;
	eventfd_write(client->wake_fd, 1);
}

int client_closed(struct error *err)
{
	return error_set(err, ERROR_RETRY, "ttrpc: closed");
}

/* ---- the reader thread ----------------------------------------------------------------------- */

static void deliver(struct ttrpc_client *client, struct frame_reader *reader)
{
	const struct ttrpc_header *header = &reader->header;
	if (header->type != TTRPC_RESPONSE && header->type != TTRPC_DATA)
		return;
	pthread_mutex_lock(&client->lock);
	struct pending *call = *bucket_of(client, header->stream);
	while (call && call->stream != header->stream)
		call = call->next;
	if (call) {
		size_t unread = inbox_put(&call->inbox, header, reader->oversized, &reader->data);
		if (unread >= INBOX_FULL)
			atomic_store(&client->stalled, true);
	} else {
		log_debug("ttrpc: late answer on stream %u dropped", header->stream);
	}
	pthread_mutex_unlock(&client->lock);
}

/* false: the connection is at its end. */
static bool read_some(struct ttrpc_client *client, struct frame_reader *reader)
{
	size_t len;
	uint8_t *space = frame_reader_space(reader, &len);
	if (!space)
		return false;
	ssize_t n = recv(client->fd, space, len, MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK;
	if (n == 0)
		return false;
	frame_reader_added(reader, (size_t)n);
	int more;
	while ((more = frame_reader_next(reader)) > 0)
		deliver(client, reader);
	return more == 0;
}

static void fail_everything(struct ttrpc_client *client)
{
	outbox_close(&client->outbox);
	pthread_mutex_lock(&client->lock);
	client->closed = true;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct pending *call = client->calls[i]; call; call = call->next)
			inbox_close(&call->inbox);
	pthread_mutex_unlock(&client->lock);
}

static void *read_frames(void *context)
{
	struct ttrpc_client *client = context;
	struct frame_reader *reader = calloc(1, sizeof(*reader));
	bool open = reader != NULL;
	while (open && !atomic_load(&client->stopping)) {
		short events = atomic_load(&client->stalled) ? 0 : POLLIN;
		if (atomic_load(&client->outbox.waits))
			events |= POLLOUT;
		struct pollfd fds[2] = {
			{.fd = client->fd, .events = events},
			{.fd = client->wake_fd, .events = POLLIN},
		};
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents) {
			eventfd_t ignored;
			eventfd_read(client->wake_fd, &ignored);
		}
		if (fds[0].revents & POLLOUT)
			open = outbox_flush(&client->outbox) >= 0;
		/*
		 * A hang-up is reported even while the reading is held up: then the rest is read.
		 */
		if (open && (fds[0].revents & (POLLIN | POLLHUP | POLLERR)))
			open = read_some(client, reader);
	}
	fail_everything(client);
	if (reader)
		frame_reader_free(reader);
	free(reader);
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void free_pending(struct pending *call)
{
	inbox_free(&call->inbox);
	free(call);
}

struct ttrpc_client *client_ref(struct ttrpc_client *client)
{
	atomic_fetch_add(&client->references, 1);
	return client;
}

void client_unref(struct ttrpc_client *client)
{
	if (atomic_fetch_sub(&client->references, 1) != 1)
		return;
	while (client->spare) {
		struct pending *call = client->spare;
		client->spare = call->next;
		free_pending(call);
	}
	outbox_free(&client->outbox);
	close(client->wake_fd);
	close(client->fd);
	pthread_mutex_destroy(&client->lock);
	free(client);
}

struct ttrpc_client *ttrpc_client_new(int fd, struct error *err)
{
	struct ttrpc_client *client = calloc(1, sizeof(*client));
	int wake_fd = client ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	if (wake_fd < 0) {
		error_set_errno(err, client ? errno : ENOMEM, "ttrpc client");
		free(client);
		close(fd);
		return NULL;
	}
	client->fd = fd;
	client->wake_fd = wake_fd;
	client->next_stream = 1;
	atomic_init(&client->references, 1);
	pthread_mutex_init(&client->lock, NULL);
	if (outbox_init(&client->outbox, fd, wake, client, err) < 0) {
		close(wake_fd);
		close(fd);
		free(client);
		return NULL;
	}
	int failed = thread_start(&client->thread, 0, read_frames, client);
	if (failed) {
		error_set_errno(err, failed, "ttrpc client: start a thread");
		client_unref(client);
		return NULL;
	}
	return client;
}

static int connect_bounded(int fd, const struct sockaddr_un *address, const struct bound *bound,
	struct error *err)
{
	/* A Unix socket with a full backlog answers EAGAIN at once and has no event for later. */
	while (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
		int errnum = errno;
		if (errnum != EAGAIN && errnum != EINTR)
			return error_set_errno(err, errnum, "connect to %s", address->sun_path);
		if (bound_sleep(bound, 5 * NS_PER_MS, "connect", err) < 0)
			return error_prefix(err, "%s", address->sun_path);
	}
	return 0;
}

struct ttrpc_client *ttrpc_client_connect(const char *path, const struct bound *bound,
	struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	if (len >= sizeof(address.sun_path)) {
		error_set(err, ERROR_INVALID, "socket path %s is longer than %zu bytes", path,
			sizeof(address.sun_path) - 1);
		return NULL;
	}
	memcpy(address.sun_path, path, len + 1);
	cleanup(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		error_set_errno(err, errno, "socket");
		return NULL;
	}
	struct bound none = BOUND_NONE;
	if (connect_bounded(fd, &address, bound ? bound : &none, err) < 0)
		return NULL;
	return ttrpc_client_new(take_fd(&fd), err);
}

void ttrpc_client_free(struct ttrpc_client *client)
{
	atomic_store(&client->stopping, true);
	wake(client);
	pthread_join(client->thread, NULL);
	/* Calls that have not returned keep the memory, not the connection. */
	shutdown(client->fd, SHUT_RDWR);
	client_unref(client);
}

bool ttrpc_client_alive(struct ttrpc_client *client)
{
	pthread_mutex_lock(&client->lock);
	bool alive = !client->closed;
	pthread_mutex_unlock(&client->lock);
	return alive;
}

/* ---- calls ----------------------------------------------------------------------------------- */

struct pending *client_pending_new(struct ttrpc_client *client, struct error *err)
{
	pthread_mutex_lock(&client->lock);
	struct pending *call = client->spare;
	if (call) {
		client->spare = call->next;
		client->spare_count--;
	}
	pthread_mutex_unlock(&client->lock);
	if (call)
		return call;
	call = calloc(1, sizeof(*call));
	if (!call) {
		error_set_errno(err, ENOMEM, "ttrpc call");
		return NULL;
	}
	if (inbox_init(&call->inbox, err) < 0) {
		free(call);
		return NULL;
	}
	return call;
}

static int start_locked(struct ttrpc_client *client, struct pending *call, struct buf *frame)
{
	if (client->closed || atomic_load(&client->stopping))
		return -1;
	/* Ids cannot wrap round: the connection is used up after 2^31 calls. */
	if (client->next_stream > UINT32_MAX - 2)
		return -1;
	struct ttrpc_header header;
	ttrpc_header_read(frame->data, &header);
	header.stream = call->stream = client->next_stream;
	ttrpc_header_write(frame->data, &header);
	client->next_stream += 2;
	struct pending **bucket = bucket_of(client, call->stream);
	call->next = *bucket;
	*bucket = call;
	/* When it fails, the reader thread sees the broken socket and fails every call. */
	if (outbox_send(&client->outbox, frame->data, frame->len) < 0)
		inbox_close(&call->inbox);
	return 0;
}

int client_start(struct ttrpc_client *client, struct pending *call, struct buf *frame,
	const struct bound *bound, const char *what, struct error *err)
{
	if (outbox_wait(&client->outbox, bound, what, err) < 0)
		return -1;
	pthread_mutex_lock(&client->lock);
	int result = start_locked(client, call, frame);
	pthread_mutex_unlock(&client->lock);
	return result < 0 ? client_closed(err) : 0;
}

int client_send(struct ttrpc_client *client, const struct buf *frame, const struct bound *bound,
	const char *what, struct error *err)
{
	if (outbox_wait(&client->outbox, bound, what, err) < 0)
		return -1;
	return outbox_send(&client->outbox, frame->data, frame->len) < 0 ? client_closed(err) : 0;
}

void client_finish(struct ttrpc_client *client, struct pending *call)
{
	pthread_mutex_lock(&client->lock);
	struct pending **at = bucket_of(client, call->stream);
	while (*at && *at != call)
		at = &(*at)->next;
	if (*at)
		*at = call->next;
	bool keep = client->spare_count < SPARE_MAX;
	if (keep) {
		inbox_reset(&call->inbox);
		call->stream = 0;
		call->next = client->spare;
		client->spare = call;
		client->spare_count++;
	}
	pthread_mutex_unlock(&client->lock);
	if (!keep)
		free_pending(call);
	client_unstall(client);
}

void client_unstall(struct ttrpc_client *client)
{
	if (atomic_exchange(&client->stalled, false))
		wake(client);
}
