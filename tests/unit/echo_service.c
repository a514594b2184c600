/* SPDX-License-Identifier: Apache-2.0 */
#include "echo_service.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

struct bound soon(void)
{
	return (struct bound){.deadline_ns = deadline_in(20 * NS_PER_S)};
}

/* ---- handlers -------------------------------------------------------------------------------- */

static int echo(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	(void)err;
	buf_append(&call->reply, call->payload.data, call->payload.len);
	return 0;
}

static int refuse(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	error_set(err, ERROR_GONE, "no process %.*s", (int)call->payload.len,
		(const char *)call->payload.data);
	if (call->payload.len > 1)
		err->status = TTRPC_FAILED_PRECONDITION;
	return -1;
}

static int hold(void *context, struct ttrpc_call *call, struct error *err)
{
	struct echo *e = context;
	(void)err;
	(void)call;
	sem_post(&e->entered);
	while (sem_wait(&e->may_return) < 0)
		;
	return 0;
}

static int until_cancelled(void *context, struct ttrpc_call *call, struct error *err)
{
	struct echo *e = context;
	sem_post(&e->entered);
	int slept = bound_sleep(&call->bound, 60 * NS_PER_S, "wait", err);
	if (err->kind == ERROR_CANCELED)
		sem_post(&e->cancelled);
	return slept;
}

static int timeout_left(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	(void)err;
	uint64_t left = bound_left_ns(&call->bound);
	buf_printf(&call->reply, "%s", left == DEADLINE_NEVER ? "none" : left ? "some" : "expired");
	return 0;
}

static int huge_reply(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	(void)err;
	size_t len = (size_t)TTRPC_DATA_MAX + 100;
	uint8_t *at = buf_reserve(&call->reply, len);
	memset(at, 0, len);
	call->reply.len = len;
	return 0;
}

/* Sends back what it receives. */
static int chat(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	for (;;) {
		cleanup(buf_free) struct buf message = BUF_INIT;
		int got = ttrpc_call_receive(call, &message, err);
		if (got <= 0)
			return got;
		if (ttrpc_call_send(call, message.data, message.len, err) < 0)
			return -1;
	}
}

/* Sends as many messages as the payload is long, each of 256 KiB. */
static int pour(void *context, struct ttrpc_call *call, struct error *err)
{
	struct echo *e = context;
	size_t len = (size_t)256 << 10;
	cleanup(free_ptr) uint8_t *bytes = calloc(1, len);
	for (size_t i = 0; i < call->payload.len; i++) {
		memcpy(bytes, &i, sizeof(i));
		if (ttrpc_call_send(call, bytes, len, err) < 0) {
			sem_post(&e->cancelled);
			return -1;
		}
	}
	return 0;
}

/* Adds up the lengths of what it receives. */
static int sum(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	size_t total = 0;
	for (;;) {
		cleanup(buf_free) struct buf message = BUF_INIT;
		int got = ttrpc_call_receive(call, &message, err);
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		total += message.len;
	}
	buf_printf(&call->reply, "%zu", total);
	return 0;
}

static const struct ttrpc_method methods[] = {
	{"Echo", echo},
	{"Fail", refuse},
	{"Hold", hold},
	{"UntilCancelled", until_cancelled},
	{"TimeoutLeft", timeout_left},
	{"HugeReply", huge_reply},
	{"Chat", chat, .server_streams = true},
	{"Pour", pour, .server_streams = true},
	{"Sum", sum},
};

static struct ttrpc_service service = {SERVICE, methods, array_size(methods), NULL};

/* ---- the server ------------------------------------------------------------------------------ */

void echo_set_up(void **state, const struct ttrpc_server_options *options)
{
	struct echo *e = calloc(1, sizeof(*e));
	*e = (struct echo){.dir = "/tmp/ttrpc-test.XXXXXX", .raw.fd = -1};
	assert_non_null(mkdtemp(e->dir));
	snprintf(e->path, sizeof(e->path), "%s/socket", e->dir);
	sem_init(&e->entered, 0, 0);
	sem_init(&e->may_return, 0, 0);
	sem_init(&e->cancelled, 0, 0);
	service.context = e;
	cleanup_error err = ERROR_INIT;
	int fd = unix_socket_listen(e->path, &e->identity, &err);
	assert_true(fd >= 0);
	e->server = ttrpc_server_start(fd, &service, 1, options, &err);
	assert_non_null(e->server);
	*state = e;
}

int echo_set_up_client(void **state)
{
	echo_set_up(state, NULL);
	struct echo *e = *state;
	e->client = dial(e);
	return 0;
}

int echo_set_up_raw(void **state)
{
	echo_set_up(state, NULL);
	struct echo *e = *state;
	raw_connect(&e->raw, e);
	return 0;
}

int echo_tear_down(void **state)
{
	struct echo *e = *state;
	if (e->client)
		ttrpc_client_free(e->client);
	raw_close(&e->raw);
	if (e->server)
		ttrpc_server_stop(e->server);
	unix_socket_remove(e->path, &e->identity);
	assert_int_equal(rmdir(e->dir), 0);
	sem_destroy(&e->entered);
	sem_destroy(&e->may_return);
	sem_destroy(&e->cancelled);
	free(e);
	return 0;
}

bool posted_within(sem_t *sem, long ms)
{
	struct timespec limit;
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_nsec += ms % 1000 * 1000000;
	limit.tv_sec += ms / 1000 + limit.tv_nsec / 1000000000;
	limit.tv_nsec %= 1000000000;
	int failed;
	while ((failed = sem_timedwait(sem, &limit)) < 0 && errno == EINTR)
		;
	return failed == 0;
}

void wait_for(sem_t *sem)
{
	assert_true(posted_within(sem, 20000));
}

/* ---- clients --------------------------------------------------------------------------------- */

struct ttrpc_client *dial(struct echo *e)
{
	cleanup_error err = ERROR_INIT;
	struct ttrpc_client *client = ttrpc_client_connect(e->path, NULL, &err);
	assert_non_null(client);
	return client;
}

int call(struct ttrpc_client *client, const char *method, const char *payload, struct buf *reply,
	struct error *err)
{
	struct bound bound = soon();
	return ttrpc_client_call(client, SERVICE, method, payload, strlen(payload), reply, &bound,
		err);
}

/* ---- raw frames ------------------------------------------------------------------------------ */

void raw_connect(struct raw *raw, struct echo *e)
{
	*raw = (struct raw){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", e->path);
	assert_int_equal(connect(raw->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	struct timeval limit = {.tv_sec = 20};
	setsockopt(raw->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

void raw_close(struct raw *raw)
{
	frame_reader_free(&raw->reader);
	if (raw->fd >= 0)
		close(raw->fd);
	raw->fd = -1;
}

void raw_send(struct raw *raw, const void *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = send(raw->fd, (const char *)bytes + done, len - done, MSG_NOSIGNAL);
		assert_true(n > 0);
		done += (size_t)n;
	}
}

void raw_request(struct raw *raw, uint32_t stream, uint8_t flags, const char *service_name,
	const char *method, const char *payload, int64_t timeout_ns)
{
	struct ttrpc_request request = {
		.service = {(const uint8_t *)service_name, strlen(service_name)},
		.method = {(const uint8_t *)method, strlen(method)},
		.payload = {(const uint8_t *)payload, strlen(payload)},
		.timeout_ns = timeout_ns,
	};
	cleanup(buf_free) struct buf frame = BUF_INIT;
	assert_int_equal(ttrpc_request_write(&frame, stream, flags, &request, NULL), 0);
	raw_send(raw, frame.data, frame.len);
}

void raw_next(struct raw *raw)
{
	while (!frame_reader_next(&raw->reader)) {
		size_t room;
		uint8_t *space = frame_reader_space(&raw->reader, &room);
		ssize_t n = recv(raw->fd, space, room, 0);
		assert_true(n > 0);
		frame_reader_added(&raw->reader, (size_t)n);
	}
}

void raw_expect(struct raw *raw, uint32_t stream, int32_t code, const char *text)
{
	struct ttrpc_response response;
	raw_next(raw);
	assert_int_equal(raw->reader.header.stream, stream);
	assert_int_equal(raw->reader.header.type, TTRPC_RESPONSE);
	assert_int_equal(ttrpc_response_read(raw->reader.data.data, raw->reader.data.len, &response,
				 NULL),
		0);
	struct ttrpc_bytes got = response.code ? response.message : response.payload;
	cleanup(free_ptr) char *copy = strndup(got.len ? (const char *)got.data : "", got.len);
	assert_string_equal(copy, text);
	assert_int_equal(response.code, code);
}
