/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc_test.c - client and server against each other, and the server against raw bytes
 *
 * The service "test.Echo" answers at once, fails, waits for its caller to go, or streams. Nothing
 * here sleeps to let something happen: handlers and tests meet at semaphores.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <cmocka.h>

#include "ttrpc/client.h"
#include "ttrpc/frame_reader.h"
#include "ttrpc/server.h"

#define SERVICE "test.Echo"

struct fixture {
	char dir[64], path[96];
	struct ttrpc_server *server;
	struct unix_socket_identity identity;
	sem_t entered, may_return, cancelled;
};

static struct bound soon(void)
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
	struct fixture *f = context;
	(void)err;
	(void)call;
	sem_post(&f->entered);
	while (sem_wait(&f->may_return) < 0)
		;
	return 0;
}

static int until_cancelled(void *context, struct ttrpc_call *call, struct error *err)
{
	struct fixture *f = context;
	sem_post(&f->entered);
	int slept = bound_sleep(&call->bound, 60 * NS_PER_S, "wait", err);
	if (err->kind == ERROR_CANCELED)
		sem_post(&f->cancelled);
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
	struct fixture *f = context;
	size_t len = (size_t)256 << 10;
	cleanup(free_ptr) uint8_t *bytes = calloc(1, len);
	for (size_t i = 0; i < call->payload.len; i++) {
		memcpy(bytes, &i, sizeof(i));
		if (ttrpc_call_send(call, bytes, len, err) < 0) {
			sem_post(&f->cancelled);
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

static int set_up_with(struct fixture *f, const struct ttrpc_server_options *options)
{
	*f = (struct fixture){.dir = "/tmp/ttrpc-test.XXXXXX"};
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/socket", f->dir);
	sem_init(&f->entered, 0, 0);
	sem_init(&f->may_return, 0, 0);
	sem_init(&f->cancelled, 0, 0);
	service.context = f;
	cleanup_error err = ERROR_INIT;
	int fd = unix_socket_listen(f->path, &f->identity, &err);
	assert_true(fd >= 0);
	f->server = ttrpc_server_start(fd, &service, 1, options, &err);
	assert_non_null(f->server);
	return 0;
}

static void set_up(struct fixture *f)
{
	set_up_with(f, NULL);
}

static void tear_down(struct fixture *f)
{
	if (f->server)
		ttrpc_server_stop(f->server);
	unix_socket_remove(f->path, &f->identity);
	assert_int_equal(rmdir(f->dir), 0);
	sem_destroy(&f->entered);
	sem_destroy(&f->may_return);
	sem_destroy(&f->cancelled);
}

#define fixture_scope cleanup(tear_down) struct fixture

static bool posted_within(sem_t *sem, long ms)
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

static void wait_for(sem_t *sem)
{
	assert_true(posted_within(sem, 20000));
}

static struct ttrpc_client *dial(struct fixture *f)
{
	cleanup_error err = ERROR_INIT;
	struct ttrpc_client *client = ttrpc_client_connect(f->path, NULL, &err);
	assert_non_null(client);
	return client;
}

#define client_scope cleanup(ttrpc_client_free_ptr) struct ttrpc_client

static int call(struct ttrpc_client *client, const char *method, const char *payload,
	struct buf *reply, struct error *err)
{
	struct bound bound = soon();
	return ttrpc_client_call(client, SERVICE, method, payload, strlen(payload), reply, &bound,
		err);
}

/* ---- raw frames ------------------------------------------------------------------------------ */

struct raw {
	int fd;
	struct frame_reader reader;
};

static void raw_connect(struct raw *raw, struct fixture *f)
{
	*raw = (struct raw){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->path);
	assert_int_equal(connect(raw->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	struct timeval limit = {.tv_sec = 20};
	setsockopt(raw->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

static void raw_close(struct raw *raw)
{
	frame_reader_free(&raw->reader);
	close(raw->fd);
}

static void raw_send(struct raw *raw, const void *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = send(raw->fd, (const char *)bytes + done, len - done, MSG_NOSIGNAL);
		assert_true(n > 0);
		done += (size_t)n;
	}
}

static void raw_request(struct raw *raw, uint32_t stream, uint8_t flags, const char *service_name,
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

static void raw_next(struct raw *raw)
{
	while (!frame_reader_next(&raw->reader)) {
		size_t room;
		uint8_t *space = frame_reader_space(&raw->reader, &room);
		ssize_t n = recv(raw->fd, space, room, 0);
		assert_true(n > 0);
		frame_reader_added(&raw->reader, (size_t)n);
	}
}

static void raw_expect(struct raw *raw, uint32_t stream, int32_t code, const char *text)
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

/* ---- tests: unary calls ---------------------------------------------------------------------- */

static void test_a_call_is_answered(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	client_scope *client = dial(&f);
	cleanup(buf_free) struct buf reply = BUF_INIT;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(call(client, "Echo", "hello", &reply, &err), 0);
	assert_string_equal(buf_text(&reply), "hello");
	assert_int_equal(call(client, "Echo", "", NULL, &err), 0);
	assert_true(ttrpc_client_alive(client));
}

static void test_statuses_arrive_verbatim(void **state)
{
	(void)state;
	static const struct {
		const char *service, *method, *payload;
		int status;
		enum error_kind kind;
		const char *message;
	} cases[] = {
		{SERVICE, "Fail", "7", TTRPC_NOT_FOUND, ERROR_GONE, "no process 7"},
		{SERVICE, "Fail", "77", TTRPC_FAILED_PRECONDITION, ERROR_INVALID, "no process 77"},
		{SERVICE, "Missing", "", TTRPC_UNIMPLEMENTED, ERROR_UNSUPPORTED, "method Missing"},
		{"test.None", "Echo", "", TTRPC_UNIMPLEMENTED, ERROR_UNSUPPORTED,
			"service test.None"},
		{SERVICE, "HugeReply", "", TTRPC_RESOURCE_EXHAUSTED, ERROR_QUOTA,
			"message length 4194409 exceed maximum message size of 4194304"},
	};
	fixture_scope f;
	set_up(&f);
	client_scope *client = dial(&f);
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		struct bound bound = soon();
		assert_int_equal(ttrpc_client_call(client, cases[i].service, cases[i].method,
					 cases[i].payload, strlen(cases[i].payload), NULL, &bound,
					 &err),
			-1);
		assert_string_equal(error_message(&err), cases[i].message);
		assert_int_equal(err.status, cases[i].status);
		assert_int_equal(err.kind, cases[i].kind);
	}
}

static void test_a_request_over_the_limit_fails_before_it_is_sent(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	client_scope *client = dial(&f);
	cleanup_error err = ERROR_INIT;
	cleanup(free_ptr) uint8_t *payload = calloc(1, TTRPC_DATA_MAX);
	assert_int_equal(ttrpc_client_call(client, "s", "m", payload, TTRPC_DATA_MAX, NULL, NULL,
				 &err),
		-1);
	assert_string_equal(error_message(&err),
		"message length 4194315 exceed maximum message size of 4194304");
	assert_int_equal(call(client, "Echo", "still there", NULL, &err), 0);
}

static void test_the_largest_messages_pass_both_ways(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	client_scope *client = dial(&f);
	cleanup(buf_free) struct buf reply = BUF_INIT;
	cleanup_error err = ERROR_INIT;
	size_t len = TTRPC_DATA_MAX - 64;
	cleanup(free_ptr) uint8_t *payload = malloc(len);
	for (size_t i = 0; i < len; i++)
		payload[i] = (uint8_t)(i * 7 >> 5);
	assert_int_equal(ttrpc_client_call(client, SERVICE, "Echo", payload, len, &reply, NULL,
				 &err),
		0);
	assert_int_equal(reply.len, len);
	assert_memory_equal(reply.data, payload, len);
}

static void *hold_call(void *client)
{
	call(client, "Hold", "", NULL, NULL);
	return NULL;
}

static void test_blocked_calls_hold_nobody_up(void **state)
{
	(void)state;
	enum { HELD = 50 };
	pthread_t threads[HELD];
	fixture_scope f;
	set_up(&f);
	client_scope *client = dial(&f);
	cleanup_error err = ERROR_INIT;
	for (size_t i = 0; i < HELD; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hold_call, client), 0);
	for (size_t i = 0; i < HELD; i++)
		wait_for(&f.entered);
	assert_int_equal(call(client, "Echo", "through", NULL, &err), 0);
	for (size_t i = 0; i < HELD; i++)
		sem_post(&f.may_return);
	for (size_t i = 0; i < HELD; i++)
		pthread_join(threads[i], NULL);
}

static void test_a_timeout_is_local_and_the_late_answer_is_dropped(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	client_scope *client = dial(&f);
	cleanup_error err = ERROR_INIT;
	struct bound bound = {.deadline_ns = deadline_in(20 * NS_PER_MS)};
	assert_int_equal(ttrpc_client_call(client, SERVICE, "Hold", "", 0, NULL, &bound, &err), -1);
	assert_string_equal(error_message(&err), SERVICE "/Hold: timed out");
	assert_int_equal(err.kind, ERROR_TIMEOUT);
	sem_post(&f.may_return);
	assert_int_equal(call(client, "Echo", "after", NULL, &err), 0);
	/* One that has passed before is not sent at all. */
	assert_int_equal(ttrpc_client_call(client, SERVICE, "Hold", "", 0, NULL, &bound, &err), -1);
	assert_string_equal(error_message(&err), SERVICE "/Hold: timed out");
	wait_for(&f.entered);
	assert_int_equal(sem_trywait(&f.entered), -1);
}

static void *cancel_when_entered(void *context)
{
	void **pair = context;
	struct fixture *f = pair[0];
	wait_for(&f->entered);
	cancel_fire(pair[1]);
	return NULL;
}

static void test_a_cancelled_call_returns_at_once(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	client_scope *client = dial(&f);
	cleanup(cancel_unref_ptr) struct cancel *cancel = cancel_new();
	cleanup_error err = ERROR_INIT;
	struct bound bound = {.deadline_ns = DEADLINE_NEVER, .cancel = cancel};
	void *pair[] = {&f, cancel};
	pthread_t thread;
	pthread_create(&thread, NULL, cancel_when_entered, pair);
	assert_int_equal(ttrpc_client_call(client, SERVICE, "Hold", "", 0, NULL, &bound, &err), -1);
	assert_string_equal(error_message(&err), SERVICE "/Hold: canceled");
	assert_int_equal(err.kind, ERROR_CANCELED);
	pthread_join(thread, NULL);
	sem_post(&f.may_return);
}

static void test_the_callers_time_reaches_the_handler(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	client_scope *client = dial(&f);
	cleanup(buf_free) struct buf reply = BUF_INIT;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(call(client, "TimeoutLeft", "", &reply, &err), 0);
	assert_int_equal(ttrpc_client_call(client, SERVICE, "TimeoutLeft", "", 0, &reply, NULL,
				 &err),
		0);
	assert_string_equal(buf_text(&reply), "somenone");
	struct raw raw;
	raw_connect(&raw, &f);
	raw_request(&raw, 1, 0, SERVICE, "TimeoutLeft", "", -5);
	raw_expect(&raw, 1, 0, "expired");
	raw_request(&raw, 3, 0, SERVICE, "TimeoutLeft", "", INT64_MIN);
	raw_expect(&raw, 3, 0, "expired");
	raw_request(&raw, 5, 0, SERVICE, "TimeoutLeft", "", INT64_MAX);
	raw_expect(&raw, 5, 0, "some");
	raw_close(&raw);
}

/* ---- tests: connections that close ----------------------------------------------------------- */

static void test_a_closing_connection_cancels_its_calls(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	struct raw raw;
	raw_connect(&raw, &f);
	raw_request(&raw, 1, 0, SERVICE, "UntilCancelled", "", 0);
	raw_request(&raw, 3, 0, SERVICE, "UntilCancelled", "", 0);
	wait_for(&f.entered);
	wait_for(&f.entered);
	raw_close(&raw);
	wait_for(&f.cancelled);
	wait_for(&f.cancelled);
}

static void test_a_request_runs_though_its_caller_has_gone(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	struct raw raw;
	raw_connect(&raw, &f);
	raw_request(&raw, 1, 0, SERVICE, "UntilCancelled", "", 0);
	raw_close(&raw);
	wait_for(&f.entered);
	wait_for(&f.cancelled);
}

static void *call_until_closed(void *context)
{
	cleanup_error err = ERROR_INIT;
	assert_int_equal(call(context, "UntilCancelled", "", NULL, &err), -1);
	assert_string_equal(error_message(&err), "ttrpc: closed");
	assert_int_equal(err.kind, ERROR_RETRY);
	return NULL;
}

static void test_callers_fail_when_the_server_goes(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cleanup_error err = ERROR_INIT;
	client_scope *client = ttrpc_client_new(pair[0], &err);
	assert_non_null(client);
	pthread_t thread;
	pthread_create(&thread, NULL, call_until_closed, client);
	char byte;
	assert_int_equal(recv(pair[1], &byte, 1, 0), 1); /* the request is on its way */
	close(pair[1]);
	pthread_join(thread, NULL);
	assert_false(ttrpc_client_alive(client));
	assert_int_equal(call(client, "Echo", "", NULL, &err), -1);
	assert_string_equal(error_message(&err), "ttrpc: closed");
}

static void test_callers_fail_when_the_client_is_freed(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	struct ttrpc_client *client = dial(&f);
	pthread_t thread;
	pthread_create(&thread, NULL, call_until_closed, client);
	wait_for(&f.entered);
	ttrpc_client_free(client);
	pthread_join(thread, NULL);
	wait_for(&f.cancelled);
}

static void *stop_server(void *context)
{
	struct fixture *f = context;
	ttrpc_server_stop(f->server);
	f->server = NULL;
	return NULL;
}

static void test_stopping_cancels_and_lets_replies_out(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	struct raw raw;
	raw_connect(&raw, &f);
	raw_request(&raw, 1, 0, SERVICE, "UntilCancelled", "", 0);
	raw_request(&raw, 3, 0, SERVICE, "Hold", "", 0);
	wait_for(&f.entered);
	wait_for(&f.entered);
	pthread_t thread;
	pthread_create(&thread, NULL, stop_server, &f);
	raw_expect(&raw, 1, TTRPC_CANCELED, "wait: canceled");
	sem_post(&f.may_return);
	raw_expect(&raw, 3, 0, "");
	char byte;
	assert_int_equal(recv(raw.fd, &byte, 1, 0), 0);
	pthread_join(thread, NULL);
	raw_close(&raw);
}

/* ---- tests: what a peer may send ------------------------------------------------------------- */

static void test_ids_need_not_increase_but_must_be_odd_and_free(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	struct raw raw;
	raw_connect(&raw, &f);
	raw_request(&raw, 9, 0, SERVICE, "Echo", "nine", 0);
	raw_expect(&raw, 9, 0, "nine");
	raw_request(&raw, 3, 0, SERVICE, "Echo", "three", 0);
	raw_expect(&raw, 3, 0, "three");
	raw_request(&raw, 9, 0, SERVICE, "Echo", "again", 0);
	raw_expect(&raw, 9, 0, "again");
	raw_request(&raw, 4, 0, SERVICE, "Echo", "", 0);
	raw_expect(&raw, 4, 3, "StreamID must be odd for client initiated streams");
	raw_request(&raw, 0, 0, SERVICE, "Echo", "", 0);
	raw_expect(&raw, 0, 3, "StreamID must be odd for client initiated streams");
	raw_request(&raw, 11, 0, SERVICE, "Hold", "", 0);
	wait_for(&f.entered);
	raw_request(&raw, 11, 0, SERVICE, "Echo", "", 0);
	raw_expect(&raw, 11, 3, "StreamID cannot be re-used while its call runs");
	sem_post(&f.may_return);
	raw_expect(&raw, 11, 0, "");
	raw_close(&raw);
}

static void test_bad_frames_are_answered_and_the_connection_stays(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	struct raw raw;
	raw_connect(&raw, &f);
	uint8_t bytes[TTRPC_HEADER_SIZE + 8] = {0};

	struct ttrpc_header header = {2, 1, TTRPC_REQUEST, 0};
	ttrpc_header_write(bytes, &header);
	memcpy(bytes + TTRPC_HEADER_SIZE, "\n\011", 2);
	raw_send(&raw, bytes, TTRPC_HEADER_SIZE + 2);
	raw_expect(&raw, 1, 3,
		"unmarshal request error: byte 0: field reaches past the end of the message");

	header = (struct ttrpc_header){TTRPC_DATA_MAX + 5, 3, TTRPC_REQUEST, 0};
	ttrpc_header_write(bytes, &header);
	raw_send(&raw, bytes, TTRPC_HEADER_SIZE);
	cleanup(free_ptr) uint8_t *filler = calloc(1, header.length);
	raw_send(&raw, filler, header.length);
	raw_expect(&raw, 3, 8, "message length 4194309 exceed maximum message size of 4194304");

	/* Types of a future and responses are passed over. */
	header = (struct ttrpc_header){3, 5, 77, 0xff};
	ttrpc_header_write(bytes, &header);
	raw_send(&raw, bytes, TTRPC_HEADER_SIZE + 3);
	header = (struct ttrpc_header){0, 5, TTRPC_RESPONSE, 0};
	ttrpc_header_write(bytes, &header);
	raw_send(&raw, bytes, TTRPC_HEADER_SIZE);

	/* Data for a stream that is none. */
	header = (struct ttrpc_header){0, 7, TTRPC_DATA, 0};
	ttrpc_header_write(bytes, &header);
	raw_send(&raw, bytes, TTRPC_HEADER_SIZE);
	raw_expect(&raw, 7, 3, "StreamID is no longer active");

	/* Zero bytes are an envelope without names. */
	header = (struct ttrpc_header){0, 9, TTRPC_REQUEST, 0};
	ttrpc_header_write(bytes, &header);
	raw_send(&raw, bytes, TTRPC_HEADER_SIZE);
	raw_expect(&raw, 9, 12, "service ");

	raw_request(&raw, 11, 0, SERVICE, "Echo", "fine", 0);
	raw_expect(&raw, 11, 0, "fine");
	raw_close(&raw);
}

static void test_a_request_may_arrive_byte_by_byte(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	struct raw raw;
	raw_connect(&raw, &f);
	static const uint8_t frame[] = "\0\0\0\030\0\0\0\001\001\0"
				       "\n\011test.Echo\022\004Echo\032\005bytes";
	for (size_t i = 0; i + 1 < sizeof(frame); i++)
		raw_send(&raw, frame + i, 1);
	raw_expect(&raw, 1, 0, "bytes");
	raw_close(&raw);
}

static void test_calls_and_connections_have_limits(void **state)
{
	(void)state;
	fixture_scope f;
	set_up_with(&f, &(struct ttrpc_server_options){.max_connections = 2, .max_calls = 2});
	struct raw first, second, third;
	raw_connect(&first, &f);
	raw_connect(&second, &f);
	raw_request(&first, 1, 0, SERVICE, "Hold", "", 0);
	raw_request(&second, 1, 0, SERVICE, "Hold", "", 0);
	wait_for(&f.entered);
	wait_for(&f.entered);
	raw_request(&first, 3, 0, SERVICE, "Echo", "", 0);
	raw_expect(&first, 3, 8, "too many calls at once: the limit is 2");
	raw_connect(&third, &f);
	char byte;
	assert_int_equal(recv(third.fd, &byte, 1, 0), 0);
	raw_close(&third);
	sem_post(&f.may_return);
	sem_post(&f.may_return);
	raw_expect(&first, 1, 0, "");
	raw_expect(&second, 1, 0, "");
	raw_close(&first);
	raw_close(&second);
}

/* Requests of 4 MiB while handlers hold: at 16 MiB the server stops reading, then goes on. */
static void *send_big_requests(void *context)
{
	struct raw *raw = context;
	cleanup(free_ptr) char *payload = malloc(TTRPC_DATA_MAX - 100);
	memset(payload, 'x', TTRPC_DATA_MAX - 101);
	payload[TTRPC_DATA_MAX - 101] = 0;
	for (uint32_t i = 0; i < 8; i++)
		raw_request(raw, 2 * i + 1, 0, SERVICE, "Hold", payload, 0);
	return NULL;
}

static void test_a_greedy_connection_is_not_read_from(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	struct raw raw;
	raw_connect(&raw, &f);
	pthread_t thread;
	pthread_create(&thread, NULL, send_big_requests, &raw);
	for (int i = 0; i < 5; i++)
		wait_for(&f.entered);
	/* The sixth waits in the socket. */
	client_scope *client = dial(&f);
	assert_int_equal(call(client, "Echo", "others are served", NULL, NULL), 0);
	assert_false(posted_within(&f.entered, 200));
	for (int i = 0; i < 8; i++)
		sem_post(&f.may_return);
	for (int i = 0; i < 8; i++)
		raw_next(&raw);
	pthread_join(thread, NULL);
	raw_close(&raw);
}

/* ---- tests: streams -------------------------------------------------------------------------- */

static void test_a_chat_goes_both_ways(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	client_scope *client = dial(&f);
	cleanup_error err = ERROR_INIT;
	struct bound bound = soon();
	cleanup(ttrpc_stream_free_ptr) struct ttrpc_stream *stream =
		ttrpc_stream_open(client, SERVICE, "Chat", NULL, 0, true, &bound, &err);
	assert_non_null(stream);
	for (int i = 0; i < 20; i++) {
		cleanup(buf_free) struct buf out = BUF_INIT, in = BUF_INIT;
		for (int j = 0; j < i; j++)
			buf_printf(&out, "message %d;", j);
		assert_int_equal(ttrpc_stream_send(stream, out.data, out.len, &err), 0);
		assert_int_equal(ttrpc_stream_receive(stream, &in, NULL, &err), 1);
		assert_string_equal(buf_text(&in), buf_text(&out));
	}
	cleanup(buf_free) struct buf rest = BUF_INIT;
	assert_int_equal(ttrpc_stream_close_send(stream, &err), 0);
	assert_int_equal(ttrpc_stream_receive(stream, &rest, NULL, &err), 0);
	assert_int_equal(ttrpc_stream_receive(stream, &rest, NULL, &err), 0);
	assert_int_equal(ttrpc_stream_send(stream, "x", 1, &err), -1);
	assert_string_equal(error_message(&err),
		SERVICE "/Chat: this side of the stream is closed");
}

static void test_a_sum_is_one_response_after_many_messages(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	client_scope *client = dial(&f);
	cleanup_error err = ERROR_INIT;
	struct bound bound = soon();
	cleanup(ttrpc_stream_free_ptr) struct ttrpc_stream *stream =
		ttrpc_stream_open(client, SERVICE, "Sum", NULL, 0, true, &bound, &err);
	assert_non_null(stream);
	size_t len = (size_t)1 << 20;
	cleanup(free_ptr) uint8_t *bytes = calloc(1, len);
	for (int i = 0; i < 40; i++)
		assert_int_equal(ttrpc_stream_send(stream, bytes, len, &err), 0);
	assert_int_equal(ttrpc_stream_close_send(stream, &err), 0);
	cleanup(buf_free) struct buf total = BUF_INIT;
	assert_int_equal(ttrpc_stream_receive(stream, &total, NULL, &err), 1);
	assert_string_equal(buf_text(&total), "41943040");
	assert_int_equal(ttrpc_stream_receive(stream, &total, NULL, &err), 0);
}

static void test_a_slow_reader_holds_up_the_sender_and_loses_nothing(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	client_scope *client = dial(&f);
	cleanup_error err = ERROR_INIT;
	struct bound bound = soon();
	cleanup(ttrpc_stream_free_ptr) struct ttrpc_stream *stream =
		ttrpc_stream_open(client, SERVICE, "Pour",
			"0123456789012345678901234567890123456789012345678901234567890123456789"
			"0123456789012345678901234567890123456789012345678901234567890123456789",
			140, false, &bound, &err);
	assert_non_null(stream);
	for (size_t i = 0; i < 140; i++) {
		cleanup(buf_free) struct buf message = BUF_INIT;
		size_t number;
		assert_int_equal(ttrpc_stream_receive(stream, &message, NULL, &err), 1);
		assert_int_equal(message.len, 262144);
		memcpy(&number, message.data, sizeof(number));
		assert_int_equal(number, i);
	}
	cleanup(buf_free) struct buf rest = BUF_INIT;
	assert_int_equal(ttrpc_stream_receive(stream, &rest, NULL, &err), 0);
}

static void test_a_stream_ends_with_its_connection(void **state)
{
	(void)state;
	fixture_scope f;
	set_up(&f);
	struct raw raw;
	raw_connect(&raw, &f);
	cleanup(free_ptr) char *count = malloc(1001);
	memset(count, 'x', 1000);
	count[1000] = 0;
	raw_request(&raw, 1, TTRPC_FLAG_REMOTE_CLOSED, SERVICE, "Pour", count, 0);
	raw_next(&raw);
	raw_close(&raw);
	wait_for(&f.cancelled);
}

/* ---- tests: the socket's file ---------------------------------------------------------------- */

static void test_a_socket_file_belongs_to_one_process(void **state)
{
	(void)state;
	char dir[] = "/tmp/ttrpc-test.XXXXXX", path[64], message[128];
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	cleanup_error err = ERROR_INIT;
	struct unix_socket_identity first, second;
	struct stat st;
	mode_t before = umask(0);
	int fd = unix_socket_listen(path, &first, &err);
	umask(before);
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	assert_int_equal(unix_socket_listen(path, NULL, &err), -1);
	snprintf(message, sizeof(message), "%s: another process is listening there", path);
	assert_string_equal(error_message(&err), message);
	assert_int_equal(err.kind, ERROR_EXISTS);

	/* Its process gone, the file is stale. */
	close(fd);
	fd = unix_socket_listen(path, &second, &err);
	assert_true(fd >= 0);
	unix_socket_remove(path, &first);
	assert_int_equal(stat(path, &st), 0);
	unix_socket_remove(path, &second);
	assert_int_equal(stat(path, &st), -1);
	unix_socket_remove(path, &second);
	close(fd);

	FILE *file = fopen(path, "w");
	fclose(file);
	assert_int_equal(unix_socket_listen(path, NULL, &err), -1);
	snprintf(message, sizeof(message), "%s exists and is not a socket", path);
	assert_string_equal(error_message(&err), message);
	unlink(path);
	rmdir(dir);

	assert_int_equal(unix_socket_listen("/nowhere/at/all", NULL, &err), -1);
	assert_string_equal(error_message(&err), "folder /nowhere/at: No such file or directory");
	assert_int_equal(unix_socket_listen("", NULL, &err), -1);
	assert_string_equal(error_message(&err), "socket path is empty");
	char longest[200] = "/";
	memset(longest + 1, 'a', 120);
	assert_int_equal(unix_socket_listen(longest, NULL, &err), -1);
	assert_non_null(strstr(error_message(&err), " is longer than 107 bytes"));
	assert_null(ttrpc_client_connect(longest, NULL, &err));
	assert_non_null(strstr(error_message(&err), " is longer than 107 bytes"));
	assert_null(ttrpc_client_connect("/nowhere/at/all", NULL, &err));
	assert_string_equal(error_message(&err),
		"connect to /nowhere/at/all: No such file or directory");
}

/* ---- stress ---------------------------------------------------------------------------------- */

struct stress {
	struct fixture *f;
	struct ttrpc_client *shared;
	unsigned seed;
};

static void stress_call(struct ttrpc_client *client, unsigned *seed)
{
	char payload[64];
	cleanup(buf_free) struct buf reply = BUF_INIT;
	cleanup_error err = ERROR_INIT;
	snprintf(payload, sizeof(payload), "%d", rand_r(seed));
	assert_int_equal(call(client, "Echo", payload, &reply, &err), 0);
	assert_string_equal(buf_text(&reply), payload);
}

static void *stress_thread(void *context)
{
	struct stress *s = context;
	for (int i = 0; i < 200; i++) {
		cleanup_error err = ERROR_INIT;
		switch (rand_r(&s->seed) % 5) {
		case 0:
		case 1:
			stress_call(s->shared, &s->seed);
			break;
		case 2: {
			client_scope *own = dial(s->f);
			stress_call(own, &s->seed);
			break;
		}
		case 3: { /* gives up at a random time; the answer comes late */
			struct bound bound = {
				.deadline_ns = deadline_in(rand_r(&s->seed) % 200000)};
			ttrpc_client_call(s->shared, SERVICE, "Echo", "x", 1, NULL, &bound, &err);
			assert_true(err.kind == ERROR_NONE || err.kind == ERROR_TIMEOUT);
			break;
		}
		case 4: {
			struct bound bound = soon();
			cleanup(ttrpc_stream_free_ptr) struct ttrpc_stream *stream =
				ttrpc_stream_open(s->shared, SERVICE, "Chat", NULL, 0, true, &bound,
					&err);
			cleanup(buf_free) struct buf in = BUF_INIT;
			assert_non_null(stream);
			assert_int_equal(ttrpc_stream_send(stream, "ping", 4, &err), 0);
			assert_int_equal(ttrpc_stream_receive(stream, &in, NULL, &err), 1);
			if (rand_r(&s->seed) % 2)
				ttrpc_stream_close_send(stream, &err);
			else /* the server waits for more until the connection goes */
				ttrpc_stream_send(stream, "", 0, &err);
			break;
		}
		}
	}
	return NULL;
}

static void test_many_threads_on_one_connection(void **state)
{
	(void)state;
	enum { THREADS = 8 };
	fixture_scope f;
	set_up(&f);
	client_scope *client = dial(&f);
	pthread_t threads[THREADS];
	struct stress contexts[THREADS];
	for (unsigned i = 0; i < THREADS; i++) {
		contexts[i] = (struct stress){&f, client, i + 1};
		assert_int_equal(pthread_create(&threads[i], NULL, stress_thread, &contexts[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_call_is_answered),
		cmocka_unit_test(test_statuses_arrive_verbatim),
		cmocka_unit_test(test_a_request_over_the_limit_fails_before_it_is_sent),
		cmocka_unit_test(test_the_largest_messages_pass_both_ways),
		cmocka_unit_test(test_blocked_calls_hold_nobody_up),
		cmocka_unit_test(test_a_timeout_is_local_and_the_late_answer_is_dropped),
		cmocka_unit_test(test_a_cancelled_call_returns_at_once),
		cmocka_unit_test(test_the_callers_time_reaches_the_handler),
		cmocka_unit_test(test_a_closing_connection_cancels_its_calls),
		cmocka_unit_test(test_a_request_runs_though_its_caller_has_gone),
		cmocka_unit_test(test_callers_fail_when_the_server_goes),
		cmocka_unit_test(test_callers_fail_when_the_client_is_freed),
		cmocka_unit_test(test_stopping_cancels_and_lets_replies_out),
		cmocka_unit_test(test_ids_need_not_increase_but_must_be_odd_and_free),
		cmocka_unit_test(test_bad_frames_are_answered_and_the_connection_stays),
		cmocka_unit_test(test_a_request_may_arrive_byte_by_byte),
		cmocka_unit_test(test_calls_and_connections_have_limits),
		cmocka_unit_test(test_a_greedy_connection_is_not_read_from),
		cmocka_unit_test(test_a_chat_goes_both_ways),
		cmocka_unit_test(test_a_sum_is_one_response_after_many_messages),
		cmocka_unit_test(test_a_slow_reader_holds_up_the_sender_and_loses_nothing),
		cmocka_unit_test(test_a_stream_ends_with_its_connection),
		cmocka_unit_test(test_a_socket_file_belongs_to_one_process),
		cmocka_unit_test(test_many_threads_on_one_connection),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
