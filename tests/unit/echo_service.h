/* SPDX-License-Identifier: Apache-2.0 */
/*
 * echo_service.h - a server with the service "test.Echo", for the tests of ttrpc
 *
 * It answers at once, fails, waits for its caller to go, or streams. Nothing sleeps to let something happen: handlers and
 * tests meet at semaphores. A test takes its struct echo from *state:
 *
 *	const struct CMUnitTest tests[] = {
 *		with_client(test_a_call_is_answered),
 *		with_raw(test_a_request_may_arrive_byte_by_byte),
 *	};
 */
#ifndef PEERPOD_TESTS_ECHO_SERVICE_H
#define PEERPOD_TESTS_ECHO_SERVICE_H

#include <semaphore.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "ttrpc/client.h"
#include "ttrpc/frame_reader.h"
#include "ttrpc/server.h"

#define SERVICE "test.Echo"

/* A connection whose bytes the test writes and reads itself; fd -1: none. */
struct raw {
	int fd;
	struct frame_reader reader;
};

struct echo {
	char dir[64], path[96];
	struct ttrpc_server *server; /* NULL: stopped by the test */
	struct unix_socket_identity identity;
	struct ttrpc_client *client; /* NULL: none */
	struct raw raw;
	sem_t entered, may_return, cancelled;
};

#define with_client(test) cmocka_unit_test_setup_teardown(test, echo_set_up_client, echo_tear_down)
#define with_raw(test) cmocka_unit_test_setup_teardown(test, echo_set_up_raw, echo_tear_down)

/* options: NULL: the server's own. Neither client nor raw connection. */
void echo_set_up(void **state, const struct ttrpc_server_options *options);
int echo_set_up_client(void **state);
int echo_set_up_raw(void **state);
int echo_tear_down(void **state);

/* 20 seconds: more than anything here takes. */
struct bound soon(void);
bool posted_within(sem_t *sem, long ms);
void wait_for(sem_t *sem);

struct ttrpc_client *dial(struct echo *e);
int call(struct ttrpc_client *client, const char *method, const char *payload, struct buf *reply,
	struct error *err);

void raw_connect(struct raw *raw, struct echo *e);
void raw_close(struct raw *raw);
void raw_send(struct raw *raw, const void *bytes, size_t len);
void raw_request(struct raw *raw, uint32_t stream, uint8_t flags, const char *service_name,
	const char *method, const char *payload, int64_t timeout_ns);
/* The next frame is in raw->reader. */
void raw_next(struct raw *raw);
/* The next frame is this response; text: its payload, or the message of its error. */
void raw_expect(struct raw *raw, uint32_t stream, int32_t code, const char *text);

#endif
