/* SPDX-License-Identifier: Apache-2.0 */
/* frame_test.c - the ttrpc wire: header, envelope, status codes, fragmentation, messages */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proto/agent.pb-c.h"
#include "ttrpc/frame.h"
#include "ttrpc/frame_reader.h"
#include "ttrpc/message.h"
#include "ttrpc/wire.h"

static struct ttrpc_bytes text(const char *s)
{
	return (struct ttrpc_bytes){(const uint8_t *)s, strlen(s)};
}

static size_t from_hex(const char *hex, uint8_t *out)
{
	size_t n = 0;
	for (; *hex; hex++) {
		if (strchr(" |", *hex))
			continue;
		unsigned byte;
		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		out[n++] = (uint8_t)byte;
		hex++;
	}
	return n;
}

static void assert_bytes(struct ttrpc_bytes got, const char *want)
{
	assert_true(ttrpc_bytes_equal(got, want));
}

static void test_requests_have_the_bytes_that_peers_send(void **state)
{
	(void)state;
	static const struct {
		const char *hex, *service, *method, *payload;
		int64_t timeout_ns;
	} cases[] = {
		{"00 00 00 1a 00 00 00 01 01 00 | 0a 0b 67 72 70 63 2e 48 65 61 6c 74 68 12 05 43 68 65 63"
		 "6b 20 80 d8 8e e1 6f",
			"grpc.Health", "Check", "", 30000000000},
		{"00 00 00 2c 00 00 00 01 01 00 | 0a 15 68 79 70 65 72 76 69 73 6f 72 2e 48 79 70 65 72 76"
		 "69 73 6f 72 12 06 53 74 6f 70 56 4d 1a 05 0a 03 61 62 63 20 80 94 eb dc 03",
			"hypervisor.Hypervisor", "StopVM", "\n\003abc", 1000000000},
		{"00 00 00 11 00 00 00 01 01 00 | 0a 01 73 12 01 6d 20 ff ff ff ff ff ff ff ff ff 01",
			"s", "m", "", -1},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		uint8_t want[128];
		size_t len = from_hex(cases[i].hex, want);
		struct ttrpc_header header;
		struct ttrpc_request request;
		ttrpc_header_read(want, &header);
		assert_int_equal(header.length, len - TTRPC_HEADER_SIZE);
		assert_int_equal(header.stream, 1);
		assert_int_equal(header.type, TTRPC_REQUEST);
		assert_int_equal(ttrpc_request_read(want + TTRPC_HEADER_SIZE, header.length,
					 &request, NULL),
			0);
		assert_bytes(request.service, cases[i].service);
		assert_bytes(request.method, cases[i].method);
		assert_bytes(request.payload, cases[i].payload);
		assert_int_equal(request.timeout_ns, cases[i].timeout_ns);
		assert_int_equal(request.metadata.len, 0);
		cleanup(buf_free) struct buf out = BUF_INIT;
		assert_int_equal(ttrpc_request_write(&out, 1, 0, &request, NULL), 0);
		assert_int_equal(out.len, len);
		assert_memory_equal(out.data, want, len);
	}
}

static void test_success_is_read_in_every_form(void **state)
{
	(void)state;
	static const struct {
		const char *hex, *payload;
	} cases[] = {
		{"0a 00 12 02 08 01", "\010\001"}, /* Rust: an empty status */
		{"12 02 08 01", "\010\001"},       /* Go: no status */
		{"0a 02 08 00 12 02 08 01", "\010\001"}, {"", ""}, {"0a 00", ""},
		{"1a 03 61 62 63 12 02 08 01", "\010\001"}, /* with an unknown field */
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		uint8_t bytes[64];
		struct ttrpc_response response;
		size_t len = from_hex(cases[i].hex, bytes);
		assert_int_equal(ttrpc_response_read(bytes, len, &response, NULL), 0);
		assert_int_equal(response.code, 0);
		assert_bytes(response.payload, cases[i].payload);
	}
	cleanup(buf_free) struct buf out = BUF_INIT;
	uint8_t want[64];
	size_t len = from_hex("00 00 00 04 00 00 00 01 02 00 | 12 02 08 01", want);
	struct ttrpc_response serving = {.payload = text("\010\001")};
	assert_int_equal(ttrpc_response_write(&out, 1, &serving, NULL), 0);
	assert_int_equal(out.len, len);
	assert_memory_equal(out.data, want, len);
}

static void test_a_status_keeps_code_and_message(void **state)
{
	(void)state;
	uint8_t want[64];
	size_t len =
		from_hex("00 00 00 10 00 00 00 03 02 00 | 0a 0e 08 0c 12 0a 6d 65 74 68 6f 64 20 46"
			 "6f 6f",
			want);
	struct ttrpc_response response = {.code = TTRPC_UNIMPLEMENTED,
		.message = text("method Foo"),
		.payload = text("left out")};
	cleanup(buf_free) struct buf out = BUF_INIT;
	assert_int_equal(ttrpc_response_write(&out, 3, &response, NULL), 0);
	assert_int_equal(out.len, len);
	assert_memory_equal(out.data, want, len);
	assert_int_equal(ttrpc_response_read(want + TTRPC_HEADER_SIZE, len - TTRPC_HEADER_SIZE,
				 &response, NULL),
		0);
	assert_int_equal(response.code, 12);
	assert_bytes(response.message, "method Foo");
	assert_int_equal(response.payload.len, 0);
	/* A negative code survives the trip too. */
	buf_free(&out);
	response.code = -7;
	assert_int_equal(ttrpc_response_write(&out, 3, &response, NULL), 0);
	assert_int_equal(ttrpc_response_read(out.data + TTRPC_HEADER_SIZE,
				 out.len - TTRPC_HEADER_SIZE, &response, NULL),
		0);
	assert_int_equal(response.code, -7);
}

static void test_metadata_travels_as_it_is(void **state)
{
	(void)state;
	static const uint8_t data[] = "\n\001s"
				      "*\006\n\001a\022\001b"
				      "*\003\n\001c"
				      "\022\001m";
	struct ttrpc_request request;
	assert_int_equal(ttrpc_request_read(data, sizeof(data) - 1, &request, NULL), 0);
	assert_bytes(request.metadata, "*\006\n\001a\022\001b*\003\n\001c");
	cleanup(buf_free) struct buf out = BUF_INIT;
	assert_int_equal(ttrpc_request_write(&out, 5, 0, &request, NULL), 0);
	assert_memory_equal(out.data + TTRPC_HEADER_SIZE,
		"\n\001s\022\001m*\006\n\001a\022\001b*\003\n\001c", 19);
	static const uint8_t scattered[] = "*\003\n\001a\n\001s*\003\n\001c";
	assert_int_equal(ttrpc_request_read(scattered, sizeof(scattered) - 1, &request, NULL), 0);
	assert_int_equal(request.metadata.len, 0);
}

static void test_what_is_no_envelope_is_refused_with_its_place(void **state)
{
	(void)state;
	static const struct {
		const char *hex, *message;
	} cases[] = {
		{"0a", "byte 1: number is cut short"},
		{"1a 05 61", "byte 0: field reaches past the end of the message"},
		{"1a 01 61 22 ff ff ff ff ff ff ff ff ff 01",
			"byte 3: field reaches past the end of the message"},
		{"20 ff ff ff ff ff ff ff ff ff 02", "byte 1: number has more than 64 bits"},
		{"20 80", "byte 1: number is cut short"},
		{"00 00", "byte 0: field number is out of range"},
		{"80 80 80 80 80 01 00", "byte 0: field number is out of range"},
		{"0b 0c", "byte 0: field has a wire type that proto3 does not use"},
		{"31 00 00", "byte 1: fixed-width number is cut short"},
		{"35 00 00", "byte 1: fixed-width number is cut short"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		uint8_t bytes[64];
		struct ttrpc_request request;
		struct ttrpc_response response;
		cleanup_error err = ERROR_INIT;
		size_t len = from_hex(cases[i].hex, bytes);
		assert_int_equal(ttrpc_request_read(bytes, len, &request, &err), -1);
		assert_string_equal(error_message(&err), cases[i].message);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_int_equal(ttrpc_response_read(bytes, len, &response, &err), -1);
		assert_string_equal(error_message(&err), cases[i].message);
	}
	cleanup_error err = ERROR_INIT;
	struct ttrpc_response response;
	assert_int_equal(ttrpc_response_read((const uint8_t *)"\n\002\010\200", 4, &response, &err),
		-1);
	assert_string_equal(error_message(&err), "status: byte 1: number is cut short");
}

static void test_frames_up_to_4_mib_and_no_larger(void **state)
{
	(void)state;
	cleanup(free_ptr) uint8_t *big = calloc(1, TTRPC_DATA_MAX);
	/* Tag and a four-byte length. */
	struct ttrpc_request request = {.payload = {big, TTRPC_DATA_MAX - 5}};
	struct ttrpc_response response = {.payload = {big, TTRPC_DATA_MAX - 5}};
	cleanup(buf_free) struct buf out = BUF_INIT;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(ttrpc_request_write(&out, 1, 0, &request, &err), 0);
	assert_int_equal(out.len, TTRPC_HEADER_SIZE + TTRPC_DATA_MAX);
	buf_free(&out);
	assert_int_equal(ttrpc_response_write(&out, 1, &response, &err), 0);
	buf_free(&out);
	request.payload.len++;
	response.payload.len++;
	const char *message = "message length 4194305 exceed maximum message size of 4194304";
	assert_int_equal(ttrpc_request_write(&out, 1, 0, &request, &err), -1);
	assert_string_equal(error_message(&err), message);
	assert_int_equal(err.status, TTRPC_RESOURCE_EXHAUSTED);
	assert_int_equal(ttrpc_response_write(&out, 1, &response, &err), -1);
	assert_string_equal(error_message(&err), message);
	assert_int_equal(ttrpc_data_write(&out, 1, 0, big, TTRPC_DATA_MAX, &err), 0);
	buf_free(&out);
	assert_int_equal(ttrpc_data_write(&out, 1, 0, big, (size_t)TTRPC_DATA_MAX + 1, &err), -1);
	assert_string_equal(error_message(&err), message);
	assert_int_equal(out.len, 0);
}

static void test_codes_and_kinds(void **state)
{
	(void)state;
	static const struct {
		int32_t code;
		const char *name;
		enum error_kind kind, back;
	} cases[] = {
		{0, "OK", ERROR_NONE, ERROR_NONE},
		{1, "Canceled", ERROR_CANCELED, ERROR_CANCELED},
		{2, "Unknown", ERROR_INTERNAL, ERROR_INTERNAL},
		{3, "InvalidArgument", ERROR_INVALID, ERROR_INVALID},
		{4, "DeadlineExceeded", ERROR_TIMEOUT, ERROR_TIMEOUT},
		{5, "NotFound", ERROR_GONE, ERROR_GONE},
		{6, "AlreadyExists", ERROR_EXISTS, ERROR_EXISTS},
		{7, "PermissionDenied", ERROR_DENIED, ERROR_DENIED},
		{8, "ResourceExhausted", ERROR_QUOTA, ERROR_QUOTA},
		{12, "Unimplemented", ERROR_UNSUPPORTED, ERROR_UNSUPPORTED},
		{13, "Internal", ERROR_INTERNAL, ERROR_INTERNAL},
		{14, "Unavailable", ERROR_RETRY, ERROR_RETRY},
		{16, "Unauthenticated", ERROR_DENIED, ERROR_DENIED},
		{17, "Unknown", ERROR_INTERNAL, ERROR_INTERNAL},
		{-1, "Unknown", ERROR_INTERNAL, ERROR_INTERNAL},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		assert_string_equal(ttrpc_code_name(cases[i].code), cases[i].name);
		assert_int_equal(ttrpc_kind_of(cases[i].code), cases[i].kind);
		assert_int_equal(ttrpc_kind_of((int32_t)ttrpc_code_of(cases[i].kind)),
			cases[i].back);
	}
	assert_int_equal(ttrpc_code_of(ERROR_CAPACITY), TTRPC_RESOURCE_EXHAUSTED);
	assert_int_equal(ttrpc_code_of(ERROR_THROTTLED), TTRPC_RESOURCE_EXHAUSTED);
}

/* ---- frame_reader ---------------------------------------------------------------------------- */

struct feed {
	const uint8_t *bytes;
	size_t len, step;
};

static int next_frame(struct frame_reader *reader, struct feed *feed)
{
	int more;
	while ((more = frame_reader_next(reader)) == 0 && feed->len) {
		size_t room;
		uint8_t *space = frame_reader_space(reader, &room);
		size_t n = feed->step < feed->len ? feed->step : feed->len;
		n = n < room ? n : room;
		memcpy(space, feed->bytes, n);
		frame_reader_added(reader, n);
		feed->bytes += n;
		feed->len -= n;
	}
	return more;
}

static void test_frames_come_out_whole_however_they_arrive(void **state)
{
	(void)state;
	enum { SIZES = 7 };
	static const size_t sizes[SIZES] = {0, 1, 100, 16374, 16384, 70000, TTRPC_DATA_MAX};
	static const size_t steps[] = {1, 3, 10, 4096, 65536, SIZE_MAX};
	cleanup(buf_free) struct buf wire = BUF_INIT;
	cleanup(free_ptr) uint8_t *pattern = malloc(TTRPC_DATA_MAX);
	for (size_t i = 0; i < TTRPC_DATA_MAX; i++)
		pattern[i] = (uint8_t)(i * 31 >> 3);
	for (uint32_t i = 0; i < SIZES; i++)
		assert_int_equal(ttrpc_data_write(&wire, i, 0, pattern + i,
					 sizes[i] - (sizes[i] > 6 ? i : 0), NULL),
			0);
	for (size_t s = 0; s < array_size(steps); s++) {
		struct feed feed = {wire.data, wire.len, steps[s]};
		struct frame_reader *reader = calloc(1, sizeof(*reader));
		for (uint32_t i = 0; i < SIZES; i++) {
			assert_int_equal(next_frame(reader, &feed), 1);
			assert_int_equal(reader->header.stream, i);
			assert_false(reader->oversized);
			assert_int_equal(reader->data.len, sizes[i] - (sizes[i] > 6 ? i : 0));
			assert_true(!reader->data.len ||
				    !memcmp(reader->data.data, pattern + i, reader->data.len));
		}
		assert_int_equal(next_frame(reader, &feed), 0);
		assert_int_equal(feed.len, 0);
		frame_reader_free(reader);
		free(reader);
	}
}

static void test_an_oversized_frame_is_passed_over_and_the_next_is_read(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf wire = BUF_INIT;
	struct ttrpc_header header = {TTRPC_DATA_MAX + 1, 7, TTRPC_REQUEST, 0};
	uint8_t *space = buf_reserve(&wire, TTRPC_HEADER_SIZE + header.length);
	ttrpc_header_write(space, &header);
	memset(space + TTRPC_HEADER_SIZE, 0x5a, header.length);
	wire.len = TTRPC_HEADER_SIZE + header.length;
	assert_int_equal(ttrpc_data_write(&wire, 9, 0, "next", 4, NULL), 0);
	struct feed feed = {wire.data, wire.len, 5000};
	struct frame_reader *reader = calloc(1, sizeof(*reader));
	assert_int_equal(next_frame(reader, &feed), 1);
	assert_true(reader->oversized);
	assert_int_equal(reader->header.stream, 7);
	assert_int_equal(reader->data.len, 0);
	assert_int_equal(next_frame(reader, &feed), 1);
	assert_false(reader->oversized);
	assert_int_equal(reader->header.stream, 9);
	assert_memory_equal(reader->data.data, "next", 4);
	/* What a header claims takes no memory. */
	assert_true(reader->data.cap < 100000);
	frame_reader_free(reader);
	free(reader);
}

/* With the head of another frame in it. */
static void test_a_reader_that_was_freed_is_a_new_one(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf wire = BUF_INIT;
	assert_int_equal(ttrpc_data_write(&wire, 1, 0, "one", 3, NULL), 0);
	size_t whole = wire.len;
	assert_int_equal(ttrpc_data_write(&wire, 3, 0, "three", 5, NULL), 0);
	struct frame_reader reader = {0};
	for (int i = 0; i < 2; i++) {
		struct feed feed = {wire.data, whole + TTRPC_HEADER_SIZE, SIZE_MAX};
		assert_int_equal(next_frame(&reader, &feed), 1);
		assert_int_equal(reader.header.stream, 1);
		assert_memory_equal(reader.data.data, "one", 3);
		frame_reader_free(&reader);
	}
	frame_reader_free(&reader);
}

/* ---- messages -------------------------------------------------------------------------------- */

static void test_messages_round_trip_and_keep_unknown_fields(void **state)
{
	(void)state;
	static const uint8_t bytes[] = "\n\003cid\030\017\322\001\003new"; /* field 26 is unknown */
	cleanup_error err = ERROR_INIT;
	Agent__SignalProcessRequest *request = (Agent__SignalProcessRequest *)
		message_unpack(&agent__signal_process_request__descriptor, bytes, sizeof(bytes) - 1,
			&err);
	assert_non_null(request);
	assert_string_equal(request->container_id, "cid");
	assert_int_equal(request->signal, 15);
	cleanup(buf_free) struct buf out = BUF_INIT;
	assert_int_equal(message_pack(&request->base, &out, &err), 0);
	assert_int_equal(out.len, sizeof(bytes) - 1);
	assert_memory_equal(out.data, bytes, out.len);
	message_free(request);
	ProtobufCMessage *empty = message_unpack(&agent__empty__descriptor, NULL, 0, &err);
	assert_non_null(empty);
	message_free(empty);
}

static void test_messages_that_are_none_are_refused(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	assert_null(
		message_unpack(&agent__signal_process_request__descriptor, "\n\005cid", 5, &err));
	assert_string_equal(error_message(&err),
		"unmarshal agent.SignalProcessRequest: not such a message");
	assert_int_equal(err.kind, ERROR_INVALID);
	/* Two bytes on the wire, twenty times that in memory. */
	size_t len = (size_t)4 << 20;
	cleanup(free_ptr) uint8_t *many = malloc(len);
	for (size_t i = 0; i < len; i += 2) {
		many[i] = 0x12;
		many[i + 1] = 0;
	}
	assert_null(message_unpack(&agent__create_sandbox_request__descriptor, many, len, &err));
	assert_string_equal(error_message(&err),
		"unmarshal agent.CreateSandboxRequest: needs more than 64 MiB of memory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests_have_the_bytes_that_peers_send),
		cmocka_unit_test(test_success_is_read_in_every_form),
		cmocka_unit_test(test_a_status_keeps_code_and_message),
		cmocka_unit_test(test_metadata_travels_as_it_is),
		cmocka_unit_test(test_what_is_no_envelope_is_refused_with_its_place),
		cmocka_unit_test(test_frames_up_to_4_mib_and_no_larger),
		cmocka_unit_test(test_codes_and_kinds),
		cmocka_unit_test(test_frames_come_out_whole_however_they_arrive),
		cmocka_unit_test(test_an_oversized_frame_is_passed_over_and_the_next_is_read),
		cmocka_unit_test(test_a_reader_that_was_freed_is_a_new_one),
		cmocka_unit_test(test_messages_round_trip_and_keep_unknown_fields),
		cmocka_unit_test(test_messages_that_are_none_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
