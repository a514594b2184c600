/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc_peer_test.c - the server against raw bytes and closing connections, the client against a closing server
 */
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "echo_service.h"

/* ---- connections that close ----------------------------------------------------------------- */

static void test_a_closing_connection_cancels_its_calls(void **state)
{
	struct echo *e = *state;
	raw_request(&e->raw, 1, 0, SERVICE, "UntilCancelled", "", 0);
	raw_request(&e->raw, 3, 0, SERVICE, "UntilCancelled", "", 0);
	wait_for(&e->entered);
	wait_for(&e->entered);
	raw_close(&e->raw);
	wait_for(&e->cancelled);
	wait_for(&e->cancelled);
}

static void test_a_request_runs_though_its_caller_has_gone(void **state)
{
	struct echo *e = *state;
	raw_request(&e->raw, 1, 0, SERVICE, "UntilCancelled", "", 0);
	raw_close(&e->raw);
	wait_for(&e->entered);
	wait_for(&e->cancelled);
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
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cleanup_error err = ERROR_INIT;
	cleanup(ttrpc_client_free_ptr) struct ttrpc_client *client =
		ttrpc_client_new(pair[0], &err);
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
	struct echo *e = *state;
	pthread_t thread;
	pthread_create(&thread, NULL, call_until_closed, e->client);
	wait_for(&e->entered);
	ttrpc_client_free(e->client);
	e->client = NULL;
	pthread_join(thread, NULL);
	wait_for(&e->cancelled);
}

static void *stop_server(void *context)
{
	struct echo *e = context;
	ttrpc_server_stop(e->server);
	e->server = NULL;
	return NULL;
}

static void test_stopping_cancels_and_lets_replies_out(void **state)
{
	struct echo *e = *state;
	raw_request(&e->raw, 1, 0, SERVICE, "UntilCancelled", "", 0);
	raw_request(&e->raw, 3, 0, SERVICE, "Hold", "", 0);
	wait_for(&e->entered);
	wait_for(&e->entered);
	pthread_t thread;
	pthread_create(&thread, NULL, stop_server, e);
	raw_expect(&e->raw, 1, TTRPC_CANCELED, "wait: canceled");
	sem_post(&e->may_return);
	raw_expect(&e->raw, 3, 0, "");
	char byte;
	assert_int_equal(recv(e->raw.fd, &byte, 1, 0), 0);
	pthread_join(thread, NULL);
}

static void test_a_stream_ends_with_its_connection(void **state)
{
	struct echo *e = *state;
	cleanup(free_ptr) char *count = malloc(1001);
	memset(count, 'x', 1000);
	count[1000] = 0;
	raw_request(&e->raw, 1, TTRPC_FLAG_REMOTE_CLOSED, SERVICE, "Pour", count, 0);
	raw_next(&e->raw);
	raw_close(&e->raw);
	wait_for(&e->cancelled);
}

/* ---- what a peer may send ------------------------------------------------------------------- */

static void test_ids_need_not_increase_but_must_be_odd_and_free(void **state)
{
	struct echo *e = *state;
	raw_request(&e->raw, 9, 0, SERVICE, "Echo", "nine", 0);
	raw_expect(&e->raw, 9, 0, "nine");
	raw_request(&e->raw, 3, 0, SERVICE, "Echo", "three", 0);
	raw_expect(&e->raw, 3, 0, "three");
	raw_request(&e->raw, 9, 0, SERVICE, "Echo", "again", 0);
	raw_expect(&e->raw, 9, 0, "again");
	raw_request(&e->raw, 4, 0, SERVICE, "Echo", "", 0);
	raw_expect(&e->raw, 4, 3, "StreamID must be odd for client initiated streams");
	raw_request(&e->raw, 0, 0, SERVICE, "Echo", "", 0);
	raw_expect(&e->raw, 0, 3, "StreamID must be odd for client initiated streams");
	raw_request(&e->raw, 11, 0, SERVICE, "Hold", "", 0);
	wait_for(&e->entered);
	raw_request(&e->raw, 11, 0, SERVICE, "Echo", "", 0);
	raw_expect(&e->raw, 11, 3, "StreamID cannot be re-used while its call runs");
	sem_post(&e->may_return);
	raw_expect(&e->raw, 11, 0, "");
}

static void test_bad_frames_are_answered_and_the_connection_stays(void **state)
{
	struct echo *e = *state;
	uint8_t bytes[TTRPC_HEADER_SIZE + 8] = {0};

	struct ttrpc_header header = {2, 1, TTRPC_REQUEST, 0};
	ttrpc_header_write(bytes, &header);
	memcpy(bytes + TTRPC_HEADER_SIZE, "\n\011", 2);
	raw_send(&e->raw, bytes, TTRPC_HEADER_SIZE + 2);
	raw_expect(&e->raw, 1, 3,
		"unmarshal request error: byte 0: field reaches past the end of the message");

	header = (struct ttrpc_header){TTRPC_DATA_MAX + 5, 3, TTRPC_REQUEST, 0};
	ttrpc_header_write(bytes, &header);
	raw_send(&e->raw, bytes, TTRPC_HEADER_SIZE);
	cleanup(free_ptr) uint8_t *filler = calloc(1, header.length);
	raw_send(&e->raw, filler, header.length);
	raw_expect(&e->raw, 3, 8, "message length 4194309 exceed maximum message size of 4194304");

	/* Types of a future and responses are passed over. */
	header = (struct ttrpc_header){3, 5, 77, 0xff};
	ttrpc_header_write(bytes, &header);
	raw_send(&e->raw, bytes, TTRPC_HEADER_SIZE + 3);
	header = (struct ttrpc_header){0, 5, TTRPC_RESPONSE, 0};
	ttrpc_header_write(bytes, &header);
	raw_send(&e->raw, bytes, TTRPC_HEADER_SIZE);

	/* Data for a stream that is none. */
	header = (struct ttrpc_header){0, 7, TTRPC_DATA, 0};
	ttrpc_header_write(bytes, &header);
	raw_send(&e->raw, bytes, TTRPC_HEADER_SIZE);
	raw_expect(&e->raw, 7, 3, "StreamID is no longer active");

	/* Zero bytes are an envelope without names. */
	header = (struct ttrpc_header){0, 9, TTRPC_REQUEST, 0};
	ttrpc_header_write(bytes, &header);
	raw_send(&e->raw, bytes, TTRPC_HEADER_SIZE);
	raw_expect(&e->raw, 9, 12, "service ");

	raw_request(&e->raw, 11, 0, SERVICE, "Echo", "fine", 0);
	raw_expect(&e->raw, 11, 0, "fine");
}

static void test_a_request_may_arrive_byte_by_byte(void **state)
{
	struct echo *e = *state;
	static const uint8_t frame[] = "\0\0\0\030\0\0\0\001\001\0"
				       "\n\011test.Echo\022\004Echo\032\005bytes";
	for (size_t i = 0; i + 1 < sizeof(frame); i++)
		raw_send(&e->raw, frame + i, 1);
	raw_expect(&e->raw, 1, 0, "bytes");
}

static int set_up_limits(void **state)
{
	echo_set_up(state, &(struct ttrpc_server_options){.max_connections = 2, .max_calls = 2});
	return 0;
}

static void test_calls_and_connections_have_limits(void **state)
{
	struct echo *e = *state;
	struct raw first, second, third;
	raw_connect(&first, e);
	raw_connect(&second, e);
	raw_request(&first, 1, 0, SERVICE, "Hold", "", 0);
	raw_request(&second, 1, 0, SERVICE, "Hold", "", 0);
	wait_for(&e->entered);
	wait_for(&e->entered);
	raw_request(&first, 3, 0, SERVICE, "Echo", "", 0);
	raw_expect(&first, 3, 8, "too many calls at once: the limit is 2");
	raw_connect(&third, e);
	char byte;
	assert_int_equal(recv(third.fd, &byte, 1, 0), 0);
	raw_close(&third);
	sem_post(&e->may_return);
	sem_post(&e->may_return);
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
	struct echo *e = *state;
	pthread_t thread;
	pthread_create(&thread, NULL, send_big_requests, &e->raw);
	for (int i = 0; i < 5; i++)
		wait_for(&e->entered);
	/* The sixth waits in the socket. */
	e->client = dial(e);
	assert_int_equal(call(e->client, "Echo", "others are served", NULL, NULL), 0);
	assert_false(posted_within(&e->entered, 200));
	for (int i = 0; i < 8; i++)
		sem_post(&e->may_return);
	for (int i = 0; i < 8; i++)
		raw_next(&e->raw);
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_raw(test_a_closing_connection_cancels_its_calls),
		with_raw(test_a_request_runs_though_its_caller_has_gone),
		cmocka_unit_test(test_callers_fail_when_the_server_goes),
		with_client(test_callers_fail_when_the_client_is_freed),
		with_raw(test_stopping_cancels_and_lets_replies_out),
		with_raw(test_a_stream_ends_with_its_connection),
		with_raw(test_ids_need_not_increase_but_must_be_odd_and_free),
		with_raw(test_bad_frames_are_answered_and_the_connection_stays),
		with_raw(test_a_request_may_arrive_byte_by_byte),
		cmocka_unit_test_setup_teardown(test_calls_and_connections_have_limits,
			set_up_limits, echo_tear_down),
		with_raw(test_a_greedy_connection_is_not_read_from),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
