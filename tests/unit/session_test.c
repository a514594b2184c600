/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_test.c - every frame is delivered exactly once and in order, wherever the connection breaks
 *
 * Two ports send numbered frames to each other over a wire in memory that is cut after a given byte, and
 * after random ones from then on; after each cut a new wire resumes the session.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/unit/memory_conn.h"
#include "vsock-proxy/port.h"

struct side {
	struct port port;
	uint32_t sent, received; /* frames */
	bool down, drained;
	unsigned int oversized;
	uint32_t broken_at; /* number of the first frame that was not the next one, or not whole */
};

static size_t size_of(uint32_t number, size_t scale)
{
	return number % 7 * scale + number % 3;
}

static size_t scale = 5;

static void got_frame(struct port *port, uint8_t *frame, size_t len)
{
	struct side *side = port->owner;
	struct ttrpc_header header;
	ttrpc_header_read(frame, &header);
	uint32_t expected = side->received;
	bool good = header.stream == expected && header.length == size_of(expected, scale) &&
		    len == TTRPC_HEADER_SIZE + header.length;
	for (size_t i = TTRPC_HEADER_SIZE; good && i < len; i++)
		good = frame[i] == (uint8_t)(expected + i);
	if (!good && !side->broken_at)
		side->broken_at = expected + 1;
	side->received++;
}

static void got_oversized(struct port *port, const struct ttrpc_header *header)
{
	(void)header;
	((struct side *)port->owner)->oversized++;
}

static void got_lost(struct port *port, const struct error *why)
{
	(void)why;
	((struct side *)port->owner)->down = true;
}

static void got_drained(struct port *port)
{
	((struct side *)port->owner)->drained = true;
}

static const struct port_ops ops = {got_frame, got_oversized, got_lost, got_drained};

static void send_next(struct side *side)
{
	uint32_t number = side->sent++;
	size_t len = size_of(number, scale);
	uint8_t *frame = malloc(TTRPC_HEADER_SIZE + len);
	assert_non_null(frame);
	ttrpc_header_write(frame, &(struct ttrpc_header){.length = (uint32_t)len,
					  .stream = number,
					  .type = TTRPC_DATA});
	for (size_t i = TTRPC_HEADER_SIZE; i < TTRPC_HEADER_SIZE + len; i++)
		frame[i] = (uint8_t)(number + i);
	assert_int_equal(port_send(&side->port, frame, TTRPC_HEADER_SIZE + len), 0);
	free(frame);
}

/* A new connection for both, with what Attach would tell them. */
static void join(struct wire *wire, struct side *a, struct side *b)
{
	struct side *sides[] = {a, b};
	for (int i = 0; i < 2; i++)
		port_attach(&sides[i]->port, &wire->ends[i].conn, true);
	uint64_t received[] = {a->port.received, b->port.received};
	cleanup_error err = ERROR_INIT;
	for (int i = 0; i < 2; i++) {
		sides[i]->down = false;
		if (port_begin_session(&sides[i]->port, received[1 - i], &err) < 0)
			fail_msg("%s", error_message(&err));
	}
}

/* The wire is done with: both ends learn of it. */
static void part(struct side *a, struct side *b)
{
	struct side *sides[] = {a, b};
	cleanup_error why = ERROR_INIT;
	error_set(&why, ERROR_RETRY, "cut");
	for (int i = 0; i < 2; i++)
		port_break(&sides[i]->port, &why);
}

struct play {
	uint32_t frames;
	size_t piece, first_cut;
	bool stutter, early_acks;
	unsigned int seed;
};

static unsigned int cuts;

/* 0 .. sides - 1. xorshift: rand_r's low bits repeat too soon for dice. */
static size_t roll(uint64_t *dice, size_t sides)
{
	*dice ^= *dice << 13;
	*dice ^= *dice >> 7;
	*dice ^= *dice << 17;
	return (size_t)(*dice % sides);
}

static void play(const struct play *p)
{
	struct loop loop;
	assert_int_equal(loop_init(&loop, false, NULL), 0);
	struct side a = {0}, b = {0};
	port_init(&a.port, &loop, &ops, &a);
	port_init(&b.port, &loop, &ops, &b);
	uint64_t dice = p->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	size_t cut = p->first_cut;
	for (unsigned int round = 0; a.received < p->frames || b.received < p->frames; round++) {
		assert_true(round < 10000);
		struct wire wire;
		wire_init(&wire, p->piece, cut, p->stutter);
		wire.capacity = p->seed ? 8 * scale : 0;
		join(&wire, &a, &b);
		do {
			if (a.sent < p->frames)
				send_next(&a);
			if (b.sent < p->frames)
				send_next(&b);
			if (p->early_acks && roll(&dice, 4) == 0) {
				a.port.ack_timer.fire(&a.port);
				b.port.ack_timer.fire(&b.port);
			}
		} while ((wire_pump(&wire, &loop) || a.sent < p->frames || b.sent < p->frames) &&
			 !wire.broken);
		cuts += wire.broken;
		/* Some of what is in the receiver's socket is read before the end is noticed. */
		if (roll(&dice, 2) == 0)
			wire.broken = false;
		wire_pump(&wire, &loop);
		part(&a, &b);
		loop_settle(&loop);
		wire_free(&wire);
		cut = p->seed ? roll(&dice, 40 * scale) : SIZE_MAX;
	}
	assert_int_equal(a.broken_at, 0);
	assert_int_equal(b.broken_at, 0);
	assert_int_equal(a.received, p->frames);
	assert_int_equal(b.received, p->frames);
	port_close(&a.port);
	port_close(&b.port);
	loop_free(&loop);
}

static void test_a_cut_at_every_byte_loses_and_repeats_nothing(void **state)
{
	(void)state;
	scale = 5;
	cuts = 0;
	for (size_t cut = 0; cut < 1200; cut++) {
		for (int variant = 0; variant < 4; variant++)
			play(&(struct play){.frames = 20,
				.piece = variant & 1 ? 3 : 0,
				.first_cut = cut,
				.early_acks = variant & 2});
	}
	assert_true(cuts > 4000); /* the cuts did happen */
}

static void test_many_random_cuts(void **state)
{
	(void)state;
	scale = 300;
	for (unsigned int seed = 1; seed <= 150; seed++)
		play(&(struct play){.frames = 60,
			.piece = seed % 3 ? 1 + (size_t)seed * 7 : 0,
			.first_cut = (size_t)seed * 13,
			.stutter = seed % 2,
			.early_acks = seed % 5 > 1,
			.seed = seed});
}

static void test_large_frames_and_acknowledgements_in_time(void **state)
{
	(void)state;
	scale = 100000;
	for (unsigned int seed = 1; seed <= 6; seed++)
		play(&(struct play){.frames = 30,
			.piece = 70000,
			.first_cut = (size_t)500000 * seed,
			.stutter = seed % 2,
			.seed = seed});
	scale = 5;
}

/* ---- one side at a time --------------------------------------------------------------------- */

static void test_an_idle_session_holds_no_memory(void **state)
{
	(void)state;
	struct loop loop;
	assert_int_equal(loop_init(&loop, false, NULL), 0);
	struct side a = {0}, b = {0};
	struct wire wire;
	port_init(&a.port, &loop, &ops, &a);
	port_init(&b.port, &loop, &ops, &b);
	wire_init(&wire, 0, SIZE_MAX, false);
	join(&wire, &a, &b);
	for (int i = 0; i < 50; i++)
		send_next(&a);
	while (wire_pump(&wire, &loop))
		;
	assert_int_equal(b.received, 50);
	assert_true(bytelog_held(&a.port.out) > 0);
	b.port.ack_timer.fire(&b.port);
	while (wire_pump(&wire, &loop))
		;
	assert_int_equal(bytelog_held(&a.port.out), 0);
	assert_null(a.port.out.head);
	assert_null(a.port.control.data);
	assert_null(b.port.hold);
	port_close(&a.port);
	port_close(&b.port);
	loop_free(&loop);
	wire_free(&wire);
}

static void test_resuming_what_cannot_be_is_refused(void **state)
{
	(void)state;
	struct loop loop;
	assert_int_equal(loop_init(&loop, false, NULL), 0);
	struct side a = {0};
	port_init(&a.port, &loop, &ops, &a);
	cleanup_error err = ERROR_INIT;
	send_next(&a);
	assert_int_equal(port_begin_session(&a.port, 1, &err), -1);
	assert_string_equal(error_message(&err),
		"resume session: the peer has received 1 bytes, between 0 and 0 are possible");
	port_close(&a.port);
	loop_free(&loop);
}

static void test_an_acknowledgement_of_what_was_never_sent_breaks_the_connection(void **state)
{
	(void)state;
	struct loop loop;
	assert_int_equal(loop_init(&loop, false, NULL), 0);
	struct side a = {0};
	struct wire wire;
	port_init(&a.port, &loop, &ops, &a);
	wire_init(&wire, 0, SIZE_MAX, false);
	port_attach(&a.port, &wire.ends[0].conn, true);
	assert_int_equal(port_begin_session(&a.port, 0, NULL), 0);
	uint8_t ack[TTRPC_HEADER_SIZE + 8] = {0, 0, 0, 8, 0, 0, 0, 0, PORT_FRAME_ACK, 0, [17] = 1};
	conn_write(&wire.ends[1].conn, ack, sizeof(ack));
	wire_pump(&wire, &loop);
	assert_true(a.down);
	port_close(&a.port);
	loop_free(&loop);
	wire_free(&wire);
}

static void test_full_and_drained(void **state)
{
	(void)state;
	scale = 100000;
	struct loop loop;
	assert_int_equal(loop_init(&loop, false, NULL), 0);
	struct side a = {0}, b = {0};
	port_init(&a.port, &loop, &ops, &a);
	port_init(&b.port, &loop, &ops, &b);
	while (!a.port.full)
		send_next(&a);
	assert_true(bytelog_held(&a.port.out) > PORT_HIGH);
	assert_true(bytelog_held(&a.port.out) < PORT_HIGH + TTRPC_DATA_MAX);
	struct wire wire;
	wire_init(&wire, 0, SIZE_MAX, false);
	join(&wire, &a, &b);
	while (wire_pump(&wire, &loop))
		;
	b.port.ack_timer.fire(&b.port);
	while (wire_pump(&wire, &loop))
		;
	assert_true(a.drained);
	assert_false(a.port.full);
	assert_int_equal(b.received, a.sent);
	port_close(&a.port);
	port_close(&b.port);
	loop_free(&loop);
	wire_free(&wire);
	scale = 5;
}

static void test_pausing_keeps_frames_and_loses_none(void **state)
{
	(void)state;
	struct loop loop;
	assert_int_equal(loop_init(&loop, false, NULL), 0);
	struct side a = {0}, b = {0};
	struct wire wire;
	port_init(&a.port, &loop, &ops, &a);
	port_init(&b.port, &loop, &ops, &b);
	wire_init(&wire, 0, SIZE_MAX, false);
	join(&wire, &a, &b);
	for (int i = 0; i < 10; i++)
		send_next(&a);
	port_pause(&b.port);
	wire_pump(&wire, &loop);
	assert_int_equal(b.received, 0);
	port_resume(&b.port);
	while (wire_pump(&wire, &loop))
		;
	assert_int_equal(b.received, 10);
	assert_int_equal(b.broken_at, 0);
	port_close(&a.port);
	port_close(&b.port);
	loop_free(&loop);
	wire_free(&wire);
}

static void test_an_oversized_frame_is_thrown_away(void **state)
{
	(void)state;
	struct loop loop;
	assert_int_equal(loop_init(&loop, false, NULL), 0);
	struct side a = {0};
	struct wire wire;
	port_init(&a.port, &loop, &ops, &a);
	wire_init(&wire, 0, SIZE_MAX, false);
	port_attach(&a.port, &wire.ends[0].conn, false);
	uint8_t header[TTRPC_HEADER_SIZE];
	static uint8_t data[TTRPC_DATA_MAX + 1];
	ttrpc_header_write(header,
		&(struct ttrpc_header){.length = sizeof(data), .stream = 1, .type = TTRPC_REQUEST});
	conn_write(&wire.ends[1].conn, header, sizeof(header));
	conn_write(&wire.ends[1].conn, data, sizeof(data));
	ttrpc_header_write(header, &(struct ttrpc_header){.type = TTRPC_DATA});
	conn_write(&wire.ends[1].conn, header, sizeof(header));
	while (wire_pump(&wire, &loop))
		;
	assert_int_equal(a.oversized, 1);
	assert_int_equal(a.received, 1);
	assert_int_equal(a.broken_at, 0);
	port_close(&a.port);
	loop_free(&loop);
	wire_free(&wire);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_cut_at_every_byte_loses_and_repeats_nothing),
		cmocka_unit_test(test_many_random_cuts),
		cmocka_unit_test(test_large_frames_and_acknowledgements_in_time),
		cmocka_unit_test(test_an_idle_session_holds_no_memory),
		cmocka_unit_test(test_resuming_what_cannot_be_is_refused),
		cmocka_unit_test(
			test_an_acknowledgement_of_what_was_never_sent_breaks_the_connection),
		cmocka_unit_test(test_full_and_drained),
		cmocka_unit_test(test_pausing_keeps_frames_and_loses_none),
		cmocka_unit_test(test_an_oversized_frame_is_thrown_away),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
