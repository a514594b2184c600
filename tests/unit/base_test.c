/* SPDX-License-Identifier: Apache-2.0 */
/* base_test.c - errors, buffers, files, base64, bounds, JSON readers */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/base64.h"
#include "base/bound.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"

static void test_error_gains_context_and_keeps_its_kind(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(error_set(&err, ERROR_CAPACITY, "pool %s is full", "default"), -1);
	error_prefix(&err, "create instance");
	error_prefix(&err, "start pod %s/%s", "default", "web");
	error_append(&err, "; free some");
	assert_string_equal(error_message(&err),
		"start pod default/web: create instance: pool default is full; free some");
	assert_int_equal(err.kind, ERROR_CAPACITY);
	error_set(&err, ERROR_GONE, "was: %s", err.message); /* its own message as an argument */
	assert_memory_equal(error_message(&err), "was: start pod", 14);
	error_set(NULL, ERROR_GONE, "nobody listens");
}

static void test_base64_round_trip_and_refusals(void **state)
{
	(void)state;
	for (size_t len = 0; len < 40; len++) {
		uint8_t bytes[40] = {0};
		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)(i * 37 + len);
		cleanup(buf_free) struct buf text = BUF_INIT, back = BUF_INIT;
		base64_encode(bytes, len, &text);
		assert_int_equal(base64_decode(buf_text(&text), text.len, 40, &back, NULL), 0);
		assert_int_equal(back.len, len);
		assert_true(!len || !memcmp(back.data, bytes, len));
	}
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"QQ", "base64: the text is cut short"},
		{"QQ=", "base64: the text is cut short"},
		{"Q===", "base64: misplaced padding at byte 1"},
		{"QQ==QQ==", "base64: data after the padding at byte 4"},
		{"Q\x01==", "base64: byte 0x01 at 1 is not of the alphabet"},
		{"QUFBQUFBQUFBQUFB", "base64: more than 10 bytes decoded"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup(buf_free) struct buf out = BUF_INIT;
		cleanup_error err = ERROR_INIT;
		assert_int_equal(base64_decode(cases[i].text, strlen(cases[i].text), 10, &out,
					 &err),
			-1);
		assert_string_equal(error_message(&err), cases[i].message);
	}
}

static void test_file_is_replaced_whole_and_read_within_its_limit(void **state)
{
	(void)state;
	char folder[] = "/tmp/base_test.XXXXXX";
	assert_non_null(mkdtemp(folder));
	cleanup(free_ptr) char *path = NULL;
	assert_true(asprintf(&path, "%s/a", folder) > 0);
	assert_int_equal(file_write(path, 0600, "one", 3, NULL), 0);
	assert_int_equal(file_write(path, 0600, "three", 5, NULL), 0);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	cleanup(buf_free) struct buf b = BUF_INIT;
	assert_int_equal(file_read(path, 5, &b, NULL), 0);
	assert_string_equal(buf_text(&b), "three");
	cleanup_error err = ERROR_INIT;
	assert_int_equal(file_read(path, 4, &b, &err), -1);
	assert_int_equal(err.kind, ERROR_INVALID);
	assert_int_equal(file_remove(path, NULL), 0);
	assert_int_equal(file_remove(path, NULL), 0);
	assert_int_equal(file_read(path, 4, &b, &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
	rmdir(folder);
}

static void test_a_folder_is_removed_with_its_files_but_not_with_folders(void **state)
{
	(void)state;
	char folder[] = "/tmp/base_test.XXXXXX";
	assert_non_null(mkdtemp(folder));
	cleanup(free_ptr) char *file = NULL, *inner = NULL, *message = NULL;
	assert_true(asprintf(&file, "%s/a", folder) > 0);
	assert_true(asprintf(&inner, "%s/b", folder) > 0);
	assert_true(asprintf(&message, "remove %s/b: Is a directory", folder) > 0);
	assert_int_equal(file_write(file, 0600, "one", 3, NULL), 0);
	assert_int_equal(dir_make(inner, 0700, NULL), 0);
	cleanup_error err = ERROR_INIT;
	assert_int_equal(dir_remove(folder, &err), -1);
	assert_string_equal(error_message(&err), message);
	assert_int_equal(dir_remove(inner, NULL), 0);
	assert_int_equal(file_write(file, 0600, "one", 3, NULL), 0);
	assert_int_equal(dir_remove(folder, NULL), 0);
	assert_int_equal(access(folder, F_OK), -1);
	assert_int_equal(dir_remove(folder, NULL), 0);
}

static void test_a_file_that_was_replaced_is_another(void **state)
{
	(void)state;
	char folder[] = "/tmp/base_test.XXXXXX", first[FILE_IDENTITY_SIZE],
	     same[FILE_IDENTITY_SIZE], other[FILE_IDENTITY_SIZE];
	assert_non_null(mkdtemp(folder));
	cleanup(free_ptr) char *path = NULL;
	assert_true(asprintf(&path, "%s/a", folder) > 0);
	assert_int_equal(file_write(path, 0700, "one", 3, NULL), 0);
	assert_int_equal(file_identity(path, first, NULL), 0);
	assert_int_equal(chmod(path, 0755), 0);
	assert_int_equal(file_identity(path, same, NULL), 0);
	assert_string_equal(first, same);
	assert_int_equal(file_write(path, 0700, "one", 3, NULL), 0);
	assert_int_equal(file_identity(path, other, NULL), 0);
	assert_string_not_equal(first, other);
	file_remove(path, NULL);
	cleanup_error err = ERROR_INIT;
	assert_int_equal(file_identity(path, other, &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
	rmdir(folder);
}

static void test_bound_ends_at_its_deadline_and_on_cancel(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	struct bound soon = bound_within(&BOUND_NONE, 5 * NS_PER_MS);
	assert_int_equal(bound_sleep(&soon, NS_PER_S, "wait for it", &err), -1);
	assert_int_equal(err.kind, ERROR_TIMEOUT);
	assert_string_equal(error_message(&err), "wait for it: timed out");
	cleanup(cancel_unref_ptr) struct cancel *c = cancel_new();
	cancel_fire(c);
	struct bound canceled = {.deadline_ns = DEADLINE_NEVER, .cancel = c};
	assert_int_equal(bound_sleep(&canceled, NS_PER_S, "wait for it", &err), -1);
	assert_int_equal(err.kind, ERROR_CANCELED);
	assert_int_equal(deadline_in(UINT64_MAX), DEADLINE_NEVER);
	assert_int_equal(bound_left_ms(&BOUND_NONE), -1);
}

static void test_json_readers_say_what_is_wrong_where(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	const char *text = "{\"mtu\":\"1500\",\"n\":5,\"nul\":\"a\\u0000b\",\"none\":null}";
	cleanup_json *o = json_parse("apf.json", text, strlen(text), 1000, false, &err);
	assert_null(o); /* jansson refuses embedded NULs by itself */
	text = "{\"mtu\":\"1500\",\"n\":5,\"none\":null}";
	json_t *object = json_parse("apf.json", text, strlen(text), 1000, false, &err);
	assert_non_null(object);
	int64_t n = 3;
	assert_int_equal(json_read_int(object, "apf.json", "mtu", JSON_OPTIONAL, 0, 9, &n, &err),
		-1);
	assert_string_equal(error_message(&err), "apf.json: \"mtu\" must be an integer");
	assert_int_equal(json_read_int(object, "apf.json", "n", JSON_OPTIONAL, 0, 4, &n, &err), -1);
	assert_string_equal(error_message(&err), "apf.json: \"n\" is 5, not between 0 and 4");
	assert_int_equal(json_read_int(object, "apf.json", "none", JSON_OPTIONAL, 0, 4, &n, &err),
		0);
	assert_int_equal(n, 3);
	assert_int_equal(json_read_int(object, "apf.json", "x", JSON_REQUIRED, 0, 4, &n, &err), -1);
	assert_string_equal(error_message(&err), "apf.json: \"x\" is missing");
	json_decref(object);
	assert_null(json_parse("apf.json", "{} x", 4, 1000, false, &err));
	assert_null(json_parse("apf.json", "{}", 2, 1, false, &err));
	assert_string_equal(error_message(&err), "apf.json: 2 bytes are more than the limit of 1");
}

static void test_a_child_is_cancelled_with_its_parent_but_not_the_other_way(void **state)
{
	(void)state;
	cleanup(cancel_unref_ptr) struct cancel *parent = cancel_new();
	cleanup(cancel_unref_ptr) struct cancel *first = cancel_child(parent);
	cleanup(cancel_unref_ptr) struct cancel *second = cancel_child(parent);
	cleanup_error err = ERROR_INIT;
	cancel_fire(first);
	assert_true(cancel_fired(first));
	assert_false(cancel_fired(parent));
	assert_false(cancel_fired(second));
	struct bound bound = {.deadline_ns = deadline_in(60 * NS_PER_S), .cancel = second};
	cancel_fire(parent);
	assert_int_equal(bound_sleep(&bound, 30 * NS_PER_S, "sleep", &err), -1);
	assert_int_equal(err.kind, ERROR_CANCELED);
	struct pollfd fd = {.fd = cancel_fd(second), .events = POLLIN};
	assert_int_equal(poll(&fd, 1, 0), 1);
}

static void test_text_is_made_utf8(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
		{"", ""}, {"plain", "plain"},
		{"\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xb3\xef\xbf\xbf",
			"\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xb3\xef\xbf\xbf"},
		{"cut \xc3", "cut ?"}, {"cut \xe2\x82", "cut ??"}, {"\xf0\x9f\x90 x", "??? x"},
		{"\x80\xff", "??"}, {"\xc0\xaf\xe0\x80\xaf", "?????"}, /* longer than need be */
		{"\xed\xa0\x80", "???"},                               /* a surrogate */
		{"\xf4\x90\x80\x80", "????"},                          /* above U+10FFFF */
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		cleanup(free_ptr) char *text = strdup(rows[i][0]);
		utf8_repair(text);
		assert_string_equal(text, rows[i][1]);
	}
}

/* A reader that does not read. Returns what was kept of standard error. */
static int stick(int pipe_ends[2])
{
	int kept = dup(STDERR_FILENO);
	assert_int_equal(pipe2(pipe_ends, O_NONBLOCK), 0);
	assert_true(fcntl(pipe_ends[1], F_SETPIPE_SZ, 8192) >= 8192);
	/* Only the reading end: a write waits where it must not. */
	assert_int_equal(fcntl(pipe_ends[1], F_SETFL, 0), 0);
	dup2(pipe_ends[1], STDERR_FILENO);
	return kept;
}

static void test_a_log_that_nobody_reads_holds_nothing_up(void **state)
{
	(void)state;
	int ends[2];
	char text[65536];
	int kept = stick(ends);
	log_init("test", LOG_INFO, LOG_TEXT);
	log_never_wait();
	alarm(20); /* ends the test where it waits */
	for (int i = 0; i < 1000; i++)
		log_info("line %d", i);
	ssize_t before = read(ends[0], text, sizeof(text));
	log_info("room again");
	alarm(0);
	dup2(kept, STDERR_FILENO);
	assert_true(before > 0 && text[before - 1] == '\n');
	ssize_t n = read(ends[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n > 0 ? n : 0] = 0;
	assert_non_null(strstr(text, "lines are missing here"));
	assert_non_null(strstr(text, "room again\n"));
	for (size_t i = 0; i < 2; i++)
		close(ends[i]);
	close(kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_child_is_cancelled_with_its_parent_but_not_the_other_way),
		cmocka_unit_test(test_error_gains_context_and_keeps_its_kind),
		cmocka_unit_test(test_base64_round_trip_and_refusals),
		cmocka_unit_test(test_file_is_replaced_whole_and_read_within_its_limit),
		cmocka_unit_test(test_a_folder_is_removed_with_its_files_but_not_with_folders),
		cmocka_unit_test(test_a_file_that_was_replaced_is_another),
		cmocka_unit_test(test_bound_ends_at_its_deadline_and_on_cancel),
		cmocka_unit_test(test_json_readers_say_what_is_wrong_where),
		cmocka_unit_test(test_text_is_made_utf8),
		cmocka_unit_test(test_a_log_that_nobody_reads_holds_nothing_up),
	};
	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
