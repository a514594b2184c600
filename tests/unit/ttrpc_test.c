/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc_test.c - client and server against each other: calls, streams, many of both at once
 */
#include <pthread.h>
#include <string.h>

#include "echo_service.h"

/* ---- calls ---------------------------------------------------------------------------------- */

static void test_a_call_is_answered(void **state)
{
	struct echo *e = *state;
	cleanup(buf_free) struct buf reply = BUF_INIT;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(call(e->client, "Echo", "hello", &reply, &err), 0);
	assert_string_equal(buf_text(&reply), "hello");
	assert_int_equal(call(e->client, "Echo", "", NULL, &err), 0);
	assert_true(ttrpc_client_alive(e->client));
}

static void test_statuses_arrive_verbatim(void **state)
{
	struct echo *e = *state;
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
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		struct bound bound = soon();
		assert_int_equal(ttrpc_client_call(e->client, cases[i].service, cases[i].method,
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
	struct echo *e = *state;
	cleanup_error err = ERROR_INIT;
	cleanup(free_ptr) uint8_t *payload = calloc(1, TTRPC_DATA_MAX);
	assert_int_equal(ttrpc_client_call(e->client, "s", "m", payload, TTRPC_DATA_MAX, NULL, NULL,
				 &err),
		-1);
	assert_string_equal(error_message(&err),
		"message length 4194315 exceed maximum message size of 4194304");
	assert_int_equal(call(e->client, "Echo", "still there", NULL, &err), 0);
}

static void test_the_largest_messages_pass_both_ways(void **state)
{
	struct echo *e = *state;
	cleanup(buf_free) struct buf reply = BUF_INIT;
	cleanup_error err = ERROR_INIT;
	size_t len = TTRPC_DATA_MAX - 64;
	cleanup(free_ptr) uint8_t *payload = malloc(len);
	for (size_t i = 0; i < len; i++)
		payload[i] = (uint8_t)(i * 7 >> 5);
	assert_int_equal(ttrpc_client_call(e->client, SERVICE, "Echo", payload, len, &reply, NULL,
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
	enum { HELD = 50 };
	pthread_t threads[HELD];
	struct echo *e = *state;
	cleanup_error err = ERROR_INIT;
	for (size_t i = 0; i < HELD; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hold_call, e->client), 0);
	for (size_t i = 0; i < HELD; i++)
		wait_for(&e->entered);
	assert_int_equal(call(e->client, "Echo", "through", NULL, &err), 0);
	for (size_t i = 0; i < HELD; i++)
		sem_post(&e->may_return);
	for (size_t i = 0; i < HELD; i++)
		pthread_join(threads[i], NULL);
}

static void test_a_timeout_is_local_and_the_late_answer_is_dropped(void **state)
{
	struct echo *e = *state;
	cleanup_error err = ERROR_INIT;
	struct bound bound = {.deadline_ns = deadline_in(20 * NS_PER_MS)};
	assert_int_equal(ttrpc_client_call(e->client, SERVICE, "Hold", "", 0, NULL, &bound, &err),
		-1);
	assert_string_equal(error_message(&err), SERVICE "/Hold: timed out");
	assert_int_equal(err.kind, ERROR_TIMEOUT);
	sem_post(&e->may_return);
	assert_int_equal(call(e->client, "Echo", "after", NULL, &err), 0);
	/* One that has passed before is not sent at all. */
	assert_int_equal(ttrpc_client_call(e->client, SERVICE, "Hold", "", 0, NULL, &bound, &err),
		-1);
	assert_string_equal(error_message(&err), SERVICE "/Hold: timed out");
	wait_for(&e->entered);
	assert_int_equal(sem_trywait(&e->entered), -1);
}

static void *cancel_when_entered(void *context)
{
	void **pair = context;
	struct echo *e = pair[0];
	wait_for(&e->entered);
	cancel_fire(pair[1]);
	return NULL;
}

static void test_a_cancelled_call_returns_at_once(void **state)
{
	struct echo *e = *state;
	cleanup(cancel_unref_ptr) struct cancel *cancel = cancel_new();
	cleanup_error err = ERROR_INIT;
	struct bound bound = {.deadline_ns = DEADLINE_NEVER, .cancel = cancel};
	void *pair[] = {e, cancel};
	pthread_t thread;
	pthread_create(&thread, NULL, cancel_when_entered, pair);
	assert_int_equal(ttrpc_client_call(e->client, SERVICE, "Hold", "", 0, NULL, &bound, &err),
		-1);
	assert_string_equal(error_message(&err), SERVICE "/Hold: canceled");
	assert_int_equal(err.kind, ERROR_CANCELED);
	pthread_join(thread, NULL);
	sem_post(&e->may_return);
}

static void test_the_callers_time_reaches_the_handler(void **state)
{
	struct echo *e = *state;
	cleanup(buf_free) struct buf reply = BUF_INIT;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(call(e->client, "TimeoutLeft", "", &reply, &err), 0);
	assert_int_equal(ttrpc_client_call(e->client, SERVICE, "TimeoutLeft", "", 0, &reply, NULL,
				 &err),
		0);
	assert_string_equal(buf_text(&reply), "somenone");
	raw_connect(&e->raw, e);
	raw_request(&e->raw, 1, 0, SERVICE, "TimeoutLeft", "", -5);
	raw_expect(&e->raw, 1, 0, "expired");
	raw_request(&e->raw, 3, 0, SERVICE, "TimeoutLeft", "", INT64_MIN);
	raw_expect(&e->raw, 3, 0, "expired");
	raw_request(&e->raw, 5, 0, SERVICE, "TimeoutLeft", "", INT64_MAX);
	raw_expect(&e->raw, 5, 0, "some");
}

/* ---- streams -------------------------------------------------------------------------------- */

static void test_a_chat_goes_both_ways(void **state)
{
	struct echo *e = *state;
	cleanup_error err = ERROR_INIT;
	struct bound bound = soon();
	cleanup(ttrpc_stream_free_ptr) struct ttrpc_stream *stream =
		ttrpc_stream_open(e->client, SERVICE, "Chat", NULL, 0, true, &bound, &err);
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
	struct echo *e = *state;
	cleanup_error err = ERROR_INIT;
	struct bound bound = soon();
	cleanup(ttrpc_stream_free_ptr) struct ttrpc_stream *stream =
		ttrpc_stream_open(e->client, SERVICE, "Sum", NULL, 0, true, &bound, &err);
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
	struct echo *e = *state;
	cleanup_error err = ERROR_INIT;
	struct bound bound = soon();
	cleanup(ttrpc_stream_free_ptr) struct ttrpc_stream *stream =
		ttrpc_stream_open(e->client, SERVICE, "Pour",
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

/* ---- many at once --------------------------------------------------------------------------- */

struct stress {
	struct echo *e;
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
			cleanup(ttrpc_client_free_ptr) struct ttrpc_client *own = dial(s->e);
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
	enum { THREADS = 8 };
	struct echo *e = *state;
	pthread_t threads[THREADS];
	struct stress contexts[THREADS];
	for (unsigned i = 0; i < THREADS; i++) {
		contexts[i] = (struct stress){e, e->client, i + 1};
		assert_int_equal(pthread_create(&threads[i], NULL, stress_thread, &contexts[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_client(test_a_call_is_answered),
		with_client(test_statuses_arrive_verbatim),
		with_client(test_a_request_over_the_limit_fails_before_it_is_sent),
		with_client(test_the_largest_messages_pass_both_ways),
		with_client(test_blocked_calls_hold_nobody_up),
		with_client(test_a_timeout_is_local_and_the_late_answer_is_dropped),
		with_client(test_a_cancelled_call_returns_at_once),
		with_client(test_the_callers_time_reaches_the_handler),
		with_client(test_a_chat_goes_both_ways),
		with_client(test_a_sum_is_one_response_after_many_messages),
		with_client(test_a_slow_reader_holds_up_the_sender_and_loses_nothing),
		with_client(test_many_threads_on_one_connection),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
