/* SPDX-License-Identifier: Apache-2.0 */
/* cloudinit_test.c - the user data document: exact text out, strict reading in, same bytes both ways */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "cloudinit/cloudinit.h"

static struct cloudinit_file file(const char *path, const char *content)
{
	return (struct cloudinit_file){.path = (char *)path,
		.content = (char *)content,
		.len = content ? strlen(content) : 0};
}

static void test_document_is_what_upstream_writes(void **state)
{
	(void)state;
	struct cloudinit_file files[] = {
		file("/run/peerpod/apf.json", "{\n    \"pod-namespace\": \"shop\"\n}\n"),
		file("/run/peerpod/initdata", "H4sIAAAA=="),
		file("/run/peerpod/scratch-space.marker", NULL),
		file("/run/peerpod/empty", ""),
	};
	cleanup(buf_free) struct buf out = BUF_INIT;
	assert_int_equal(cloudinit_write(files, array_size(files), &out, NULL), 0);
	assert_string_equal(buf_text(&out), "#cloud-config\n"
					    "\n"
					    "write_files:\n"
					    "  - path: /run/peerpod/apf.json\n"
					    "    content: |\n"
					    "      {\n"
					    "          \"pod-namespace\": \"shop\"\n"
					    "      }\n"
					    "  - path: /run/peerpod/initdata\n"
					    "    content: |\n"
					    "      H4sIAAAA==\n"
					    "  - path: /run/peerpod/scratch-space.marker\n"
					    "  - path: /run/peerpod/empty\n");
}

static void assert_round_trip(const char *content, size_t len)
{
	struct cloudinit_file in[] = {
		{.path = (char *)"/a", .content = (char *)content, .len = len},
		file("/b", "after\n"),
	};
	cleanup(buf_free) struct buf text = BUF_INIT;
	cleanup_error err = ERROR_INIT;
	cleanup(cloudinit_free) struct cloudinit out = {0};
	assert_int_equal(cloudinit_write(in, 2, &text, &err), 0);
	if (cloudinit_read(buf_text(&text), text.len, &out, &err) < 0)
		fail_msg("%s in:\n%s", error_message(&err), buf_text(&text));
	assert_int_equal(out.count, 2);
	assert_string_equal(out.files[0].path, "/a");
	assert_string_equal(out.files[1].path, "/b");
	assert_string_equal(out.files[1].content, "after\n");
	bool gains = len && content[len - 1] != '\n';
	const char *came = out.files[0].content ? out.files[0].content : "";
	if (out.files[0].len != len + gains || memcmp(came, content, len) != 0)
		fail_msg("\"%.*s\" came back as \"%s\"", (int)len, content, came);
	if (gains)
		assert_int_equal(came[len], '\n');
}

static void test_content_keeps_its_bytes_but_gains_a_missing_final_newline(void **state)
{
	(void)state;
	static const char *const contents[] = {"a", "a\n", "a\n\n", "a\n\n\n", "\n", "\n\n",
		"\na\n", " a\n", "  \n", " ", "\t", "\ta\n", "\n a\n", "\n\n\t\n", "a\n \n",
		"a\n  \n\n", "a\n b\n  c", "---\n", "a\n...\n", "#no comment\n", "- x\nkey: [",
		"\"'%@`!&*|>", "a: b\n", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n", " \n\n",
		"  \n a\n", "a\n\n  \n"};
	for (size_t i = 0; i < array_size(contents); i++)
		assert_round_trip(contents[i], strlen(contents[i]));
	/* Every text of up to five characters over an alphabet of what is special in YAML. */
	static const char alphabet[] = {'a', ' ', '\n', '\t', '#'};
	const size_t n = sizeof alphabet;
	for (size_t len = 0, words = 1; len <= 5; len++, words *= n) {
		for (size_t word = 0; word < words; word++) {
			char content[6];
			size_t rest = word;
			for (size_t i = 0; i < len; i++, rest /= n)
				content[i] = alphabet[rest % n];
			content[len] = 0;
			assert_round_trip(content, len);
		}
	}
	/* Longer ones, from a generator with a fixed seed. */
	static const char *const pieces[] = {" ", "  ", "\n", "\n\n", "\t", "x", "- ", ": ", "---",
		"\xc2\xa0", "{", "}", "|", ">", "# ", "\"", "'", "\\", "%YAML", "..."};
	uint64_t seed = 0x9e3779b97f4a7c15;
	for (int round = 0; round < 5000; round++) {
		cleanup(buf_free) struct buf b = BUF_INIT;
		buf_append_text(&b, "");
		for (int i = 0; i < 30; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			buf_append_text(&b, pieces[(seed >> 33) % array_size(pieces)]);
		}
		assert_round_trip(buf_text(&b), b.len);
	}
}

static void test_what_a_block_cannot_carry_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *path, *content;
		const char *message;
	} cases[] = {
		{"/a", "x\r\n", "user data: /a: the character U+000D at byte 1 cannot be carried"},
		{"/a", "\x01", "user data: /a: the character U+0001 at byte 0 cannot be carried"},
		{"/a", "\x7f", "user data: /a: the character U+007F at byte 0 cannot be carried"},
		{"/a", "a\xc2\x85",
			"user data: /a: the character U+0085 at byte 1 cannot be carried"},
		{"/a", "\xe2\x80\xa8",
			"user data: /a: the character U+2028 at byte 0 cannot be carried"},
		{"/a", "\xef\xbb\xbf",
			"user data: /a: the character U+FEFF at byte 0 cannot be carried"},
		{"/a", "\xed\xa0\x80",
			"user data: /a: the character U+D800 at byte 0 cannot be carried"},
		{"/a", "\xf4\x90\x80\x80",
			"user data: /a: the character U+110000 at byte 0 cannot be carried"},
		{"/a", "ab\xff", "user data: /a: byte 2 (0xff) is not UTF-8 text"},
		{"/a", "\xc0\x80", "user data: /a: byte 0 (0xc0) is not UTF-8 text"},
		{"/a", "\xe2\x82", "user data: /a: byte 0 (0xe2) is not UTF-8 text"},
		{"a", "",
			"user data: the path \"a\" must be absolute and hold only letters, digits, '/', '.', '_' and '-'"},
		{"/a b", "",
			"user data: the path \"/a b\" must be absolute and hold only letters, digits, '/', '.', '_' and '-'"},
		{NULL, "",
			"user data: the path \"\" must be absolute and hold only letters, digits, '/', '.', '_' and '-'"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		cleanup(buf_free) struct buf out = BUF_INIT;
		struct cloudinit_file f = file(cases[i].path, cases[i].content);
		assert_int_equal(cloudinit_write(&f, 1, &out, &err), -1);
		assert_string_equal(error_message(&err), cases[i].message);
	}
}

static void test_reader_takes_what_the_field_sends(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t count;
		const char *path, *content; /* of the last file */
	} cases[] = {
		{"", 0, NULL, NULL},
		{"#cloud-config\n", 0, NULL, NULL},
		{"---\n", 0, NULL, NULL},
		{"write_files:\n", 0, NULL, NULL},
		{"write_files: []\n", 0, NULL, NULL},
		{"write_files:\n- path: /a\n", 1, "/a", ""},
		{"write_files:\n- path: /a\n  content:\n", 1, "/a", ""},
		{"write_files:\n- path: /a\n  content: null\n", 1, "/a", ""},
		{"write_files:\n- path: /a\n  content: \"null\"\n", 1, "/a", "null"},
		{"write_files:\n- path: /a\n  content: 017\n", 1, "/a", "017"},
		{"write_files:\n- path: /a\n  content: yes\n", 1, "/a", "yes"},
		{"write_files:\n- content: |-\n    a\n    b\n  path: /a\n", 1, "/a", "a\nb"},
		{"write_files:\n- path: /a\n  content: >\n    a\n    b\n", 1, "/a", "a b\n"},
		{"write_files: [{path: /a, content: \"x\\ty\"}, {path: /b}]", 2, "/b", ""},
		{"{\"write_files\":[{\"path\":\"/a\",\"content\":\"x\"}]}", 1, "/a", "x"},
		{"write_files:\r\n- path: /a\r\n  content: |\r\n    x\r\n", 1, "/a", "x\n"},
		{"#cloud-config\n---\nwrite_files:\n- path: /a\n...\n", 1, "/a", ""},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		cleanup(cloudinit_free) struct cloudinit out = {0};
		if (cloudinit_read(cases[i].text, strlen(cases[i].text), &out, &err) < 0)
			fail_msg("%s: %s", cases[i].text, error_message(&err));
		assert_int_equal(out.count, cases[i].count);
		if (!out.count)
			continue;
		const struct cloudinit_file *last = &out.files[out.count - 1];
		assert_string_equal(last->path, cases[i].path);
		assert_string_equal(last->content ? last->content : "", cases[i].content);
	}
}

static void test_reader_refuses_the_rest_and_says_where(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"runcmd: [a]\n",
			"user data: line 1, column 1: unknown key \"runcmd\"; only \"write_files\" is allowed here"},
		{"write_files: []\nwrite_files: []\n",
			"user data: line 2, column 1: the key \"write_files\" is there twice"},
		{"write_files:\n- path: /a\n  permissions: '0600'\n",
			"user data: line 3, column 3: unknown key \"permissions\"; an entry has \"path\" and \"content\" only"},
		{"write_files:\n- path: /a\n  path: /b\n",
			"user data: line 3, column 3: the key \"path\" is there twice"},
		{"write_files:\n- content: x\n",
			"user data: line 2, column 3: this entry of \"write_files\" has no \"path\""},
		{"write_files:\n- path:\n",
			"user data: line 2, column 3: this entry of \"write_files\" has no \"path\""},
		{"write_files:\n- /a\n",
			"user data: line 2, column 3: an entry of \"write_files\" must be a mapping with \"path\""},
		{"write_files:\n- path: [/a]\n",
			"user data: line 2, column 9: the value of \"path\" must be text"},
		{"write_files:\n- path: /a\n  content: {}\n",
			"user data: line 3, column 12: the value of \"content\" must be text"},
		{"write_files: {}\n",
			"user data: line 1, column 14: \"write_files\" must be a list"},
		{"- a\n",
			"user data: line 1, column 1: a cloud-config must be a mapping with \"write_files\""},
		{"hello\n",
			"user data: line 1, column 1: a cloud-config must be a mapping with \"write_files\""},
		{"[a]: b\n", "user data: line 1, column 1: a key must be a word"},
		{"write_files: []\n---\nwrite_files: []\n",
			"user data: line 2, column 1: more than one document"},
		{"write_files: &a []\n", "user data: line 1, column 14: anchors are not allowed"},
		{"write_files:\n- path: *a\n",
			"user data: line 2, column 9: aliases are not allowed"},
		{"write_files:\n- path: /a\n  content: !!binary aGk=\n",
			"user data: line 3, column 12: tags are not allowed"},
		{"write_files:\n- path: \"/a\\0b\"\n",
			"user data: line 2, column 9: the path holds a NUL character"},
		{"write_files:\n- path: /a\n  content: |\n   x\n  y\n",
			"user data: line 6, column 1: could not find expected ':'"},
		{"write_files:\n- path: \"/a\n",
			"user data: line 3, column 1: found unexpected end of stream"},
		{"write_files:\n\t- path: /a\n",
			"user data: line 2, column 1: found character that cannot start any token"},
		{"write_files:\n- path: /a\xff\n",
			"user data: byte 23: invalid leading UTF-8 octet"},
		{"\x1f\x8b\x08", "user data: byte 0: control characters are not allowed"},
		{"Content-Type: multipart/mixed\nMIME-Version: 1.0\n",
			"user data: line 1, column 1: unknown key \"Content-Type\"; only \"write_files\" is allowed here"},
		{"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg: 1\n",
			"user data: line 1, column 1: unknown key \"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffff...\"; "
			"only \"write_files\" is allowed here"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		cleanup(cloudinit_free) struct cloudinit out = {0};
		assert_int_equal(cloudinit_read(cases[i].text, strlen(cases[i].text), &out, &err),
			-1);
		assert_string_equal(error_message(&err), cases[i].message);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_null(out.files);
	}
}

static void test_limits(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	cleanup(cloudinit_free) struct cloudinit out = {0};
	cleanup(buf_free) struct buf text = BUF_INIT;
	buf_append_text(&text, "write_files:\n");
	for (int i = 0; i < CLOUDINIT_FILES_MAX; i++)
		buf_append_text(&text, "- path: /a\n");
	assert_int_equal(cloudinit_read(buf_text(&text), text.len, &out, &err), 0);
	assert_int_equal(out.count, CLOUDINIT_FILES_MAX);
	cloudinit_free(&out);
	buf_append_text(&text, "- path: /a\n");
	assert_int_equal(cloudinit_read(buf_text(&text), text.len, &out, &err), -1);
	assert_string_equal(error_message(&err),
		"user data: line 66, column 3: more than 64 files");
	char *big = malloc(CLOUDINIT_DOCUMENT_MAX + 1);
	memset(big, 'x', CLOUDINIT_DOCUMENT_MAX + 1);
	assert_int_equal(cloudinit_read(big, CLOUDINIT_DOCUMENT_MAX + 1, &out, &err), -1);
	assert_string_equal(error_message(&err),
		"user data: 1048577 bytes are more than the limit of 1048576");
	struct cloudinit_file f = {.path = (char *)"/a",
		.content = big,
		.len = CLOUDINIT_DOCUMENT_MAX};
	cleanup(buf_free) struct buf written = BUF_INIT;
	assert_int_equal(cloudinit_write(&f, 1, &written, &err), -1);
	assert_string_equal(error_message(&err),
		"user data: 1048639 bytes are more than the limit of 1048576");
	free(big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_document_is_what_upstream_writes),
		cmocka_unit_test(test_content_keeps_its_bytes_but_gains_a_missing_final_newline),
		cmocka_unit_test(test_what_a_block_cannot_carry_is_refused),
		cmocka_unit_test(test_reader_takes_what_the_field_sends),
		cmocka_unit_test(test_reader_refuses_the_rest_and_says_where),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests_name("cloudinit", tests, NULL, NULL);
}
