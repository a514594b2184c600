/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc-echo.c - our ttrpc library against a foreign peer (tests/interop/ttrpc)
 *
 *   ttrpc-echo serve SOCKET   serves test.Echo until its standard input ends
 *   ttrpc-echo check SOCKET   calls the peer's test.Echo in every way; prints what was right
 *
 * Messages are google.protobuf.StringValue: one string in field 1.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "ttrpc/client.h"
#include "ttrpc/server.h"
#include "ttrpc/wire.h"

#define SERVICE "test.Echo"
#define PARALLEL_CALLS 100

static struct ttrpc_bytes text_of(const void *data, size_t len)
{
	struct wire_reader reader = {data, len, 0};
	struct wire_field field;
	struct ttrpc_bytes text = {0};
	while (wire_next(&reader, &field, NULL) > 0)
		if (field.number == 1 && field.type == WIRE_BYTES)
			text = (struct ttrpc_bytes){field.data, field.len};
	return text;
}

static void put_text(struct buf *out, const void *text, size_t len)
{
	if (len)
		wire_put_bytes(out, 1, text, len);
}

/* ---- the server ------------------------------------------------------------------------------ */

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
	struct ttrpc_bytes text = text_of(call->payload.data, call->payload.len);
	return error_set(err, ERROR_GONE, "%.*s not found", (int)text.len, (const char *)text.data);
}

/* Until the caller's time is up or its connection closes. */
static int hold(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	return bound_sleep(&call->bound, 600 * NS_PER_S, "hold", err);
}

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

/* "3": three messages, "0" to "2". */
static int pour(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	struct ttrpc_bytes text = text_of(call->payload.data, call->payload.len);
	cleanup(free_ptr) char *count = strndup(text.len ? (const char *)text.data : "", text.len);
	for (long i = 0; count && i < strtol(count, NULL, 10); i++) {
		char number[24];
		cleanup(buf_free) struct buf message = BUF_INIT;
		put_text(&message, number, (size_t)snprintf(number, sizeof(number), "%ld", i));
		if (ttrpc_call_send(call, message.data, message.len, err) < 0)
			return -1;
	}
	return 0;
}

/* All texts in a row. */
static int join(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	cleanup(buf_free) struct buf all = BUF_INIT;
	for (;;) {
		cleanup(buf_free) struct buf message = BUF_INIT;
		int got = ttrpc_call_receive(call, &message, err);
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		struct ttrpc_bytes text = text_of(message.data, message.len);
		buf_append(&all, text.data, text.len);
	}
	put_text(&call->reply, all.data, all.len);
	return 0;
}

static const struct ttrpc_method methods[] = {
	{"Echo", echo},
	{"Refuse", refuse},
	{"Hold", hold},
	{"Chat", chat, .server_streams = true},
	{"Pour", pour, .server_streams = true},
	{"Join", join},
};
static const struct ttrpc_service service = {SERVICE, methods, array_size(methods), NULL};

static int serve(const char *path, struct error *err)
{
	struct unix_socket_identity identity;
	int fd = unix_socket_listen(path, &identity, err);
	struct ttrpc_server *server =
		fd < 0 ? NULL : ttrpc_server_start(fd, &service, 1, NULL, err);
	if (!server)
		return -1;
	char byte;
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	ttrpc_server_stop(server);
	unix_socket_remove(path, &identity);
	return 0;
}

/* ---- the client ------------------------------------------------------------------------------ */

static struct bound seconds(uint64_t s)
{
	return (struct bound){.deadline_ns = deadline_in(s * NS_PER_S)};
}

/* Calls with a text and expects this text back. */
static int expect(struct ttrpc_client *client, const char *method, const char *text, size_t len,
	struct error *err)
{
	cleanup(buf_free) struct buf request = BUF_INIT, reply = BUF_INIT;
	struct bound bound = seconds(30);
	put_text(&request, text, len);
	if (ttrpc_client_call(client, SERVICE, method, request.data, request.len, &reply, &bound,
		    err) < 0)
		return -1;
	struct ttrpc_bytes got = text_of(reply.data, reply.len);
	if (got.len != len || (len && memcmp(got.data, text, len)))
		return error_set(err, ERROR_INTERNAL, "%s: another text came back", method);
	return 0;
}

static int check_echo(struct ttrpc_client *client, struct error *err)
{
	return expect(client, "Echo", "hello", 5, err) < 0 ? -1
							   : expect(client, "Echo", "", 0, err);
}

static int check_largest(struct ttrpc_client *client, struct error *err)
{
	size_t len = TTRPC_DATA_MAX - 100;
	cleanup(free_ptr) char *text = malloc(len);
	if (!text)
		return error_set(err, ERROR_CAPACITY, "no memory");
	memset(text, 'x', len);
	return expect(client, "Echo", text, len, err);
}

static int check_statuses(struct ttrpc_client *client, struct error *err)
{
	static const struct {
		const char *service, *method;
		int status;
		const char *message;
	} cases[] = {
		{SERVICE, "Refuse", TTRPC_NOT_FOUND, "this not found"},
		{SERVICE, "None", TTRPC_UNIMPLEMENTED, "method None"},
		{"test.None", "Echo", TTRPC_UNIMPLEMENTED, "service test.None"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error status = ERROR_INIT;
		cleanup(buf_free) struct buf request = BUF_INIT;
		struct bound bound = seconds(30);
		put_text(&request, "this", 4);
		ttrpc_client_call(client, cases[i].service, cases[i].method, request.data,
			request.len, NULL, &bound, &status);
		if (status.status != cases[i].status ||
			strcmp(error_message(&status), cases[i].message))
			return error_set(err, ERROR_INTERNAL, "%s: got %d %s", cases[i].method,
				status.status, error_message(&status));
	}
	return 0;
}

static int check_timeout(struct ttrpc_client *client, struct error *err)
{
	cleanup_error status = ERROR_INIT;
	struct bound bound = {.deadline_ns = deadline_in(50 * NS_PER_MS)};
	ttrpc_client_call(client, SERVICE, "Hold", NULL, 0, NULL, &bound, &status);
	if (status.kind != ERROR_TIMEOUT)
		return error_set(err, ERROR_INTERNAL, "timeout: got %s", error_message(&status));
	return check_echo(client, err);
}

static void *call_in_thread(void *client)
{
	for (int i = 0; i < 20; i++) {
		char text[32];
		int len =
			snprintf(text, sizeof(text), "%d of %lx", i, (unsigned long)pthread_self());
		if (expect(client, "Echo", text, (size_t)len, NULL) < 0)
			return client;
	}
	return NULL;
}

static int check_parallel(struct ttrpc_client *client, struct error *err)
{
	pthread_t threads[PARALLEL_CALLS];
	size_t started = 0, failed = 0;
	while (started < PARALLEL_CALLS &&
		pthread_create(&threads[started], NULL, call_in_thread, client) == 0)
		started++;
	for (size_t i = 0; i < started; i++) {
		void *result;
		pthread_join(threads[i], &result);
		failed += result != NULL;
	}
	if (failed || started < PARALLEL_CALLS)
		return error_set(err, ERROR_INTERNAL, "%zu of %zu threads failed", failed, started);
	return 0;
}

static int expect_message(struct ttrpc_stream *stream, const char *text, struct error *err)
{
	cleanup(buf_free) struct buf message = BUF_INIT;
	int got = ttrpc_stream_receive(stream, &message, NULL, err);
	if (got < 0)
		return -1;
	if (got == 0)
		return error_set(err, ERROR_INTERNAL, "the stream ended before \"%s\"", text);
	if (!ttrpc_bytes_equal(text_of(message.data, message.len), text))
		return error_set(err, ERROR_INTERNAL, "something else came instead of \"%s\"",
			text);
	return 0;
}

static int expect_end(struct ttrpc_stream *stream, struct error *err)
{
	cleanup(buf_free) struct buf message = BUF_INIT;
	int got = ttrpc_stream_receive(stream, &message, NULL, err);
	return got > 0 ? error_set(err, ERROR_INTERNAL, "a message came after the last") : got;
}

static int send_text(struct ttrpc_stream *stream, const char *text, struct error *err)
{
	cleanup(buf_free) struct buf message = BUF_INIT;
	put_text(&message, text, strlen(text));
	return ttrpc_stream_send(stream, message.data, message.len, err);
}

static int check_chat(struct ttrpc_client *client, struct error *err)
{
	struct bound bound = seconds(30);
	cleanup(ttrpc_stream_free_ptr) struct ttrpc_stream *stream =
		ttrpc_stream_open(client, SERVICE, "Chat", NULL, 0, true, &bound, err);
	for (int i = 0; stream && i < 100; i++) {
		char text[16];
		snprintf(text, sizeof(text), i ? "%d" : "", i);
		if (send_text(stream, text, err) < 0 || expect_message(stream, text, err) < 0)
			return -1;
	}
	return !stream || ttrpc_stream_close_send(stream, err) < 0 ? -1 : expect_end(stream, err);
}

static int check_pour(struct ttrpc_client *client, struct error *err)
{
	struct bound bound = seconds(30);
	cleanup(buf_free) struct buf request = BUF_INIT;
	put_text(&request, "1000", 4);
	cleanup(ttrpc_stream_free_ptr) struct ttrpc_stream *stream = ttrpc_stream_open(client,
		SERVICE, "Pour", request.data, request.len, false, &bound, err);
	for (int i = 0; stream && i < 1000; i++) {
		char text[16];
		snprintf(text, sizeof(text), "%d", i);
		if (expect_message(stream, text, err) < 0)
			return -1;
	}
	return stream ? expect_end(stream, err) : -1;
}

static int check_join(struct ttrpc_client *client, struct error *err)
{
	struct bound bound = seconds(30);
	cleanup(ttrpc_stream_free_ptr) struct ttrpc_stream *stream =
		ttrpc_stream_open(client, SERVICE, "Join", NULL, 0, true, &bound, err);
	if (!stream || send_text(stream, "one ", err) < 0 || send_text(stream, "two", err) < 0 ||
		ttrpc_stream_close_send(stream, err) < 0)
		return -1;
	return expect_message(stream, "one two", err) < 0 ? -1 : expect_end(stream, err);
}

static const struct {
	const char *name;
	int (*check)(struct ttrpc_client *client, struct error *err);
} checks[] = {
	{"echo", check_echo},
	{"largest", check_largest},
	{"statuses", check_statuses},
	{"timeout", check_timeout},
	{"parallel", check_parallel},
	{"chat", check_chat},
	{"pour", check_pour},
	{"join", check_join},
};

static int check(const char *path, struct error *err)
{
	cleanup(ttrpc_client_free_ptr) struct ttrpc_client *client =
		ttrpc_client_connect(path, NULL, err);
	if (!client)
		return -1;
	for (size_t i = 0; i < array_size(checks); i++) {
		if (checks[i].check(client, err) < 0)
			return error_prefix(err, "%s", checks[i].name);
		printf("%s\n", checks[i].name);
	}
	return 0;
}

int main(int argc, char **argv)
{
	cleanup_error err = ERROR_INIT;
	bool serving = argc == 3 && !strcmp(argv[1], "serve");
	if (!serving && !(argc == 3 && !strcmp(argv[1], "check"))) {
		fprintf(stderr, "usage: ttrpc-echo serve|check SOCKET\n");
		return 2;
	}
	log_init("ttrpc-echo", LOG_INFO, LOG_TEXT);
	if ((serving ? serve(argv[2], &err) : check(argv[2], &err)) < 0) {
		fprintf(stderr, "ttrpc-echo: %s\n", error_message(&err));
		return 1;
	}
	return 0;
}
