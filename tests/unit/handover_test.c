/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover_test.c - a relay that is told to another process goes on there with the very next byte
 *
 * Two loops stand for two processes. What the first tells is packed and read as it would be on the socket; descriptors
 * are duplicated, as the kernel does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bound.h"
#include "base/cleanup.h"
#include "ttrpc/message.h"
#include "vsock-proxy/handover.h"
#include "vsock-proxy/relay.h"

static void back_lost(struct relay *relay, const struct error *why)
{
	(void)relay;
	(void)why;
}

static const struct relay_ops ops = {.back_lost = back_lost};
static const struct rule_set rules; /* none */

struct process {
	struct loop loop;
	struct relay relay;
};

static struct process *process_new(void)
{
	struct process *p = calloc(1, sizeof(*p));
	assert_non_null(p);
	assert_int_equal(loop_init(&p->loop, true, NULL), 0);
	relay_init(&p->relay, &p->loop, &ops, &rules, NULL);
	p->relay.keep_copies = true;
	return p;
}

static void process_end(struct process *p)
{
	relay_close(&p->relay);
	loop_free(&p->loop);
	free(p);
}

static void run(struct process *p)
{
	for (int i = 0; i < 4; i++) {
		loop_settle(&p->loop);
		event_base_loop(p->loop.base, EVLOOP_NONBLOCK);
	}
	loop_settle(&p->loop);
}

/* ---- from one to the other ---------------------------------------------------------------------- */

struct reading_sink {
	struct told_sink sink;
	struct handover_reader reader;
	int progress;
};

static int read_item(struct told_sink *sink, const Handover__Item *item, const int *fds,
	size_t count, struct error *err)
{
	struct reading_sink *s = (struct reading_sink *)sink;
	cleanup(buf_free) struct buf packed = BUF_INIT;
	int copies[HANDOVER_FDS] = {-1, -1};
	for (size_t i = 0; i < count; i++)
		copies[i] = dup(fds[i]);
	assert_int_equal(message_pack(&item->base, &packed, err), 0);
	s->progress = handover_read(&s->reader, packed.data, packed.len, copies, count, err);
	return s->progress < 0 ? -1 : 0;
}

static void tell_begin(struct reading_sink *s)
{
	int fds[2];
	Handover__SocketFile file = HANDOVER__SOCKET_FILE__INIT;
	Handover__Begin begin = HANDOVER__BEGIN__INIT;
	begin.format = HANDOVER_FORMAT;
	begin.sandboxes = 1;
	begin.control = &file;
	Handover__Item item = HANDOVER__ITEM__INIT;
	item.item_case = HANDOVER__ITEM__ITEM_BEGIN;
	item.begin = &begin;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(s->sink.put(&s->sink, &item, fds, 2, NULL), 0);
	assert_int_equal(s->progress, HANDOVER_BEGUN);
	close(fds[0]);
	close(fds[1]);
}

/* As tunnel_tell, for a relay that hangs on nothing. */
static int tell_relay(const struct relay *relay, struct told_sink *sink, struct error *err)
{
	static uint8_t digest[32], session[16];
	Handover__SocketFile file = HANDOVER__SOCKET_FILE__INIT;
	Handover__Link link = HANDOVER__LINK__INIT;
	Handover__Port back;
	Handover__Sandbox sandbox = HANDOVER__SANDBOX__INIT;
	link.session = (ProtobufCBinaryData){sizeof(session), session};
	sandbox.sandbox = sandbox.socket_path = sandbox.address = (char *)"x";
	sandbox.socket = &file;
	sandbox.link = &link;
	sandbox.digest = (ProtobufCBinaryData){sizeof(digest), digest};
	sandbox.next_id = relay->next_id;
	sandbox.call_count = relay->call_count;
	relay_count(relay, &sandbox.fronts, &sandbox.calls);
	if (port_describe(&relay->back, false, &back, err) < 0)
		return -1;
	sandbox.back = &back;
	Handover__Item item = HANDOVER__ITEM__INIT;
	item.item_case = HANDOVER__ITEM__ITEM_SANDBOX;
	item.sandbox = &sandbox;
	int listener = dup(STDERR_FILENO);
	int result = sink->put(sink, &item, &listener, 1, err);
	close(listener);
	return result < 0 || port_tell(&relay->back, &back, sink, err) < 0 ||
			       relay_tell(relay, sink, err) < 0
		       ? -1
		       : 0;
}

/* Another process in the place of this one, which ends. */
static struct process *hand_over(struct process *p)
{
	struct process *successor = process_new();
	struct reading_sink s = {.sink = {read_item}};
	cleanup_error err = ERROR_INIT;
	handover_reader_init(&s.reader);
	tell_begin(&s);
	if (tell_relay(&p->relay, &s.sink, &err) < 0)
		fail_msg("%s", error_message(&err));
	assert_int_equal(s.progress, HANDOVER_SANDBOX);
	if (relay_restore(&successor->relay, &s.reader.told, &err) < 0)
		fail_msg("%s", error_message(&err));
	told_sandbox_free(&s.reader.told);
	handover_reader_free(&s.reader);
	process_end(p);
	return successor;
}

/* ---- what the shim does ------------------------------------------------------------------------- */

/* A connection of the shim; returns the shim's end. */
static int connect_shim(struct process *p)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
		0);
	assert_non_null(relay_add_front(&p->relay, conn_new_fd(&p->loop, pair[0])));
	return pair[1];
}

static void put_request(struct buf *out, uint32_t stream, const char *method, size_t size)
{
	static const char service[] = "grpc.AgentService";
	cleanup(free_ptr) uint8_t *payload = malloc(size + 1);
	assert_non_null(payload);
	for (size_t i = 0; i < size; i++)
		payload[i] = (uint8_t)(i * 7 + stream);
	const struct ttrpc_request request = {
		.service = {(const uint8_t *)service, sizeof(service) - 1},
		.method = {(const uint8_t *)method, strlen(method)},
		.payload = {payload, size},
	};
	assert_int_equal(ttrpc_request_write(out, stream, 0, &request, NULL), 0);
}

static void shim_writes(int shim, const uint8_t *bytes, size_t len)
{
	if (len)
		assert_int_equal(write(shim, bytes, len), len);
}

/* All that waits in the log of the back. */
static void read_log(const struct relay *relay, struct buf *out)
{
	size_t len = (size_t)bytelog_held(&relay->back.out);
	uint8_t *room = buf_reserve(out, len);
	assert_true(bytelog_peek(&relay->back.out, relay->back.out.start, room, len));
	out->len += len;
}

static void test_a_request_goes_on_wherever_it_was_cut(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf sent = BUF_INIT, expected = BUF_INIT;
	put_request(&sent, 1, "Echo", 90);
	put_request(&sent, 3, "WaitProcess", 0);
	put_request(&sent, 5, "Echo", 7);
	for (size_t cut = 0; cut <= sent.len; cut++) {
		struct process *p = process_new();
		int shim = connect_shim(p);
		shim_writes(shim, sent.data, cut);
		run(p);
		if (cut) /* 0: how it is without */
			p = hand_over(p);
		run(p);
		shim_writes(shim, sent.data + cut, sent.len - cut);
		run(p);
		cleanup(buf_free) struct buf log = BUF_INIT;
		read_log(&p->relay, &log);
		if (!cut)
			buf_append(&expected, log.data, log.len);
		assert_int_equal(log.len, expected.len);
		assert_memory_equal(log.data, expected.data, log.len);
		assert_int_equal(p->relay.calls.count, 3);
		assert_int_equal(p->relay.call_count, 3);
		size_t at = 0;
		for (struct call *call; (call = calls_next(&p->relay.calls, &at));)
			assert_ptr_equal(call->front, p->relay.fronts);
		process_end(p);
		close(shim);
	}
}

static void test_a_large_request_that_has_half_come(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf sent = BUF_INIT;
	put_request(&sent, 1, "Echo", 400000);
	struct process *p = process_new();
	int shim = connect_shim(p);
	for (size_t at = 0; at < sent.len; at += 40000) {
		size_t len = sent.len - at < 40000 ? sent.len - at : 40000;
		shim_writes(shim, sent.data + at, len);
		run(p);
		p = hand_over(p);
		run(p);
	}
	cleanup(buf_free) struct buf log = BUF_INIT;
	read_log(&p->relay, &log);
	assert_int_equal(log.len, sent.len);
	assert_memory_equal(log.data + TTRPC_HEADER_SIZE, sent.data + TTRPC_HEADER_SIZE,
		sent.len - TTRPC_HEADER_SIZE);
	process_end(p);
	close(shim);
}

static void test_an_oversized_request_is_passed_over_by_both(void **state)
{
	(void)state;
	static uint8_t zeros[65536];
	struct process *p = process_new();
	int shim = connect_shim(p);
	uint8_t head[TTRPC_HEADER_SIZE];
	const uint32_t length = TTRPC_DATA_MAX + 70000;
	ttrpc_header_write(head,
		&(struct ttrpc_header){.length = length, .stream = 7, .type = TTRPC_REQUEST});
	shim_writes(shim, head, sizeof(head));
	for (uint32_t left = length; left;) {
		uint32_t part = left < sizeof(zeros) ? left : (uint32_t)sizeof(zeros);
		shim_writes(shim, zeros, part);
		left -= part;
		run(p);
		if (left % 5 == 0)
			p = hand_over(p);
	}
	run(p);
	uint8_t answer[256];
	ssize_t got = read(shim, answer, sizeof(answer));
	struct ttrpc_header header;
	struct ttrpc_response response;
	assert_true(got > (ssize_t)TTRPC_HEADER_SIZE);
	ttrpc_header_read(answer, &header);
	assert_int_equal(header.stream, 7);
	assert_int_equal(ttrpc_response_read(answer + TTRPC_HEADER_SIZE, header.length, &response,
				 NULL),
		0);
	assert_int_equal(response.code, TTRPC_RESOURCE_EXHAUSTED);
	process_end(p);
	close(shim);
}

static void test_answers_that_the_shim_does_not_read_yet(void **state)
{
	(void)state;
	enum { FRAMES = 200, SIZE = 9001 };
	struct process *p = process_new();
	int shim = connect_shim(p);
	cleanup(buf_free) struct buf expected = BUF_INIT, got = BUF_INIT;
	static uint8_t body[SIZE];
	for (uint32_t i = 0; i < FRAMES; i++) {
		cleanup(buf_free) struct buf frame = BUF_INIT;
		memset(body, (int)i, sizeof(body));
		assert_int_equal(ttrpc_data_write(&frame, i, 0, body, sizeof(body), NULL), 0);
		assert_int_equal(port_send(&p->relay.fronts->port, frame.data, frame.len), 0);
		buf_append(&expected, frame.data, frame.len);
	}
	while (got.len < expected.len) {
		run(p);
		p = hand_over(p);
		run(p);
		uint8_t *room = buf_reserve(&got, 70001);
		ssize_t n = read(shim, room, 70001);
		assert_true(n > 0);
		got.len += (size_t)n;
	}
	assert_int_equal(got.len, expected.len);
	assert_memory_equal(got.data, expected.data, got.len);
	process_end(p);
	close(shim);
}

/* ---- the way to the VM ---------------------------------------------------------------------------- */

static int connect_back(struct process *p, uint64_t peer_received)
{
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
		0);
	port_attach(&p->relay.back, conn_new_fd(&p->loop, pair[0]), true);
	assert_int_equal(port_begin_session(&p->relay.back, peer_received, NULL), 0);
	return pair[1];
}

static void test_a_session_goes_on_where_the_vm_stopped_reading(void **state)
{
	(void)state;
	struct process *p = process_new();
	int shim = connect_shim(p);
	int vm = connect_back(p, 0);
	struct buf requests[3] = {BUF_INIT, BUF_INIT, BUF_INIT};
	uint64_t total = 0;
	for (uint32_t i = 0; i < 3; i++) {
		put_request(&requests[i], 2 * i + 1, "Echo", 100 + i);
		shim_writes(shim, requests[i].data, requests[i].len);
		total += requests[i].len;
		run(p);
	}
	uint8_t bytes[2048];
	assert_int_equal(read(vm, bytes, sizeof(bytes)), total);
	/* It acknowledges the first, and answers it. */
	cleanup(buf_free) struct buf up = BUF_INIT;
	uint8_t ack[TTRPC_HEADER_SIZE + 8] = {0};
	ttrpc_header_write(ack, &(struct ttrpc_header){.length = 8, .type = PORT_FRAME_ACK});
	ack[sizeof(ack) - 1] = (uint8_t)requests[0].len;
	buf_append(&up, ack, sizeof(ack));
	assert_int_equal(ttrpc_response_write(&up, 101, &(struct ttrpc_response){0}, NULL), 0);
	shim_writes(vm, up.data, up.len);
	run(p);
	close(vm);
	p = hand_over(p);
	assert_int_equal(p->relay.back.out.start, requests[0].len);
	assert_int_equal(p->relay.back.received, up.len - sizeof(ack));
	assert_int_equal(p->relay.calls.count, 2);
	/* The second arrived as well; the third is sent again, and nothing else. */
	vm = connect_back(p, requests[0].len + requests[1].len);
	run(p);
	assert_int_equal(read(vm, bytes, sizeof(bytes)), requests[2].len);
	assert_memory_equal(bytes + TTRPC_HEADER_SIZE, requests[2].data + TTRPC_HEADER_SIZE,
		requests[2].len - TTRPC_HEADER_SIZE);
	for (int i = 0; i < 3; i++)
		buf_free(&requests[i]);
	process_end(p);
	close(vm);
	close(shim);
}

static void test_calls_keep_what_is_needed_to_make_them_again(void **state)
{
	(void)state;
	struct process *p = process_new();
	int shim = connect_shim(p);
	cleanup(buf_free) struct buf sent = BUF_INIT, log = BUF_INIT;
	put_request(&sent, 9, "WaitProcess", 30);
	shim_writes(shim, sent.data, sent.len);
	run(p);
	/* All of it is out. */
	bytelog_rewind(&p->relay.back.out, p->relay.back.out.end);
	p = hand_over(p);
	size_t replayed, failed;
	relay_restart(&p->relay, "gone", &replayed, &failed);
	assert_int_equal(replayed, 1);
	assert_int_equal(failed, 0);
	read_log(&p->relay, &log);
	assert_int_equal(log.len, sent.len);
	assert_memory_equal(log.data + TTRPC_HEADER_SIZE, sent.data + TTRPC_HEADER_SIZE,
		sent.len - TTRPC_HEADER_SIZE);
	process_end(p);
	close(shim);
}

static void test_ids_go_on_increasing(void **state)
{
	(void)state;
	struct process *p = process_new();
	int shim = connect_shim(p);
	for (uint32_t i = 0; i < 50; i++) {
		cleanup(buf_free) struct buf sent = BUF_INIT;
		put_request(&sent, 2 * i + 1, "Echo", 3);
		shim_writes(shim, sent.data, sent.len);
		run(p);
		p = hand_over(p);
	}
	assert_int_equal(p->relay.calls.count, 50);
	for (uint32_t i = 0; i < 50; i++) {
		const struct call *call = calls_find(&p->relay.calls, 101 + 2 * i);
		assert_non_null(call);
		assert_int_equal(call->front_id, 2 * i + 1);
	}
	process_end(p);
	close(shim);
}

/* ---- the reader ------------------------------------------------------------------------------------- */

static void test_descriptors_that_do_not_belong_are_closed(void **state)
{
	(void)state;
	struct handover_reader reader;
	handover_reader_init(&reader);
	int fds[2] = {dup(STDERR_FILENO), dup(STDERR_FILENO)};
	int first = fds[0], second = fds[1];
	cleanup_error err = ERROR_INIT;
	static const uint8_t end[] = {0x32, 0}; /* Item{end: {}} */
	assert_int_equal(handover_read(&reader, end, sizeof(end), fds, 2, &err), -1);
	assert_int_equal(err.kind, ERROR_INVALID);
	assert_int_equal(close(first), -1);
	assert_int_equal(close(second), -1);
	handover_reader_free(&reader);
}

static void test_a_connection_that_holds_too_much_is_not_told(void **state)
{
	(void)state;
	struct process *p = process_new();
	Handover__Port head;
	cleanup_error err = ERROR_INIT;
	static uint8_t frame[TTRPC_HEADER_SIZE + 1024 * 1024];
	ttrpc_header_write(frame,
		&(struct ttrpc_header){.length = 1024 * 1024, .type = TTRPC_DATA});
	while (bytelog_held(&p->relay.back.out) <= HANDOVER_LOG_MAX)
		assert_int_equal(port_send(&p->relay.back, frame, sizeof(frame)), 0);
	assert_int_equal(port_describe(&p->relay.back, false, &head, &err), -1);
	assert_int_equal(err.kind, ERROR_QUOTA);
	process_end(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_request_goes_on_wherever_it_was_cut),
		cmocka_unit_test(test_a_large_request_that_has_half_come),
		cmocka_unit_test(test_an_oversized_request_is_passed_over_by_both),
		cmocka_unit_test(test_answers_that_the_shim_does_not_read_yet),
		cmocka_unit_test(test_a_session_goes_on_where_the_vm_stopped_reading),
		cmocka_unit_test(test_calls_keep_what_is_needed_to_make_them_again),
		cmocka_unit_test(test_ids_go_on_increasing),
		cmocka_unit_test(test_descriptors_that_do_not_belong_are_closed),
		cmocka_unit_test(test_a_connection_that_holds_too_much_is_not_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
