/* SPDX-License-Identifier: Apache-2.0 */
/* initdata_test.c - the codec, the digests, the limits, and what is refused with which words */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/base64.h"
#include "initdata/initdata.h"

static const char example[] = "algorithm = \"sha384\"\n"
			      "version = \"0.1.0\"\n"
			      "comment = 5\n"
			      "[data]\n"
			      "\"aa.toml\" = '''\n[token_configs]\n'''\n"
			      "\"policy.rego\" = \"package agent_policy\"\n"
			      "[other]\n"
			      "x = [1, 2]\n";

static void test_dummy_is_bit_exact(void **state)
{
	(void)state;
	assert_int_equal(strlen(initdata_dummy), 66);
	cleanup(initdata_free) struct initdata dummy = {0};
	assert_int_equal(initdata_parse(initdata_dummy, 66, &dummy, NULL), 0);
	cleanup(buf_free) struct buf hex = BUF_INIT;
	initdata_digest_hex(&dummy, &hex);
	assert_string_equal(buf_text(&hex),
		"adb48cc14fea9403d3d51f3b5f5068fd4d80445a14e94f1b3d5dbabaad66478d");
	assert_int_equal(dummy.count, 1);
	assert_string_equal(initdata_find(&dummy, "aa.toml")->value, "");
	assert_null(initdata_find(&dummy, "cdh.toml"));
}

static void test_text_survives_encoding_byte_by_byte(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf text = BUF_INIT, again = BUF_INIT;
	assert_int_equal(initdata_encode(example, strlen(example), &text, NULL), 0);
	assert_int_equal(initdata_encode(example, strlen(example), &again, NULL), 0);
	assert_string_equal(buf_text(&text), buf_text(&again)); /* no time stamp in it */
	buf_append_text(&text, "\n");
	cleanup(initdata_free) struct initdata out = {0};
	assert_int_equal(initdata_decode(buf_text(&text), text.len, &out, NULL), 0);
	assert_int_equal(out.toml_len, strlen(example));
	assert_string_equal(out.toml, example);
	assert_string_equal(out.algorithm, "sha384");
	assert_string_equal(out.version, "0.1.0");
	assert_int_equal(out.count, 2);
	assert_string_equal(initdata_find(&out, "aa.toml")->value, "[token_configs]\n");
	assert_int_equal(initdata_find(&out, "policy.rego")->len, strlen("package agent_policy"));
	assert_int_equal(out.digest_len, 48);
}

/* Digests of known texts, as sha256sum(1) and its sisters print them. */
static void test_digest_is_over_the_whole_text(void **state)
{
	(void)state;
	static const struct {
		const char *toml, *hex;
	} cases[] = {
		{"algorithm = \"sha256\"\nversion = \"0.1.0\"\n[data]\n",
			"251fa8cb4284adc7a40a26b2c4ba5cc8c967da2a81598d042f7d9ada810921c1"},
		{"algorithm = \"sha384\"\nversion = \"0.1.0\"\n[data]\n",
			"27be2b4efccf8a952d6a80f62e75306829f29289bf60b26f725ada6f5a106985750f0cbc28218a7a5223bdc544ed43e2"},
		{"algorithm = \"sha512\"\nversion = \"0.1.0\"\n[data]\n",
			"a2973e5a76270de749481fb21dca8da6a5f24911beb60de5eba36c07f5a18e69a18c321e077b38ee17720d1d032548893a07fe9f3e0569ef8673357a399ffb35"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup(initdata_free) struct initdata out = {0};
		cleanup(buf_free) struct buf hex = BUF_INIT;
		assert_int_equal(initdata_parse(cases[i].toml, strlen(cases[i].toml), &out, NULL),
			0);
		initdata_digest_hex(&out, &hex);
		assert_string_equal(buf_text(&hex), cases[i].hex);
	}
}

#define HEAD "algorithm = \"sha256\"\nversion = \"0.1.0\"\n"

static void test_bad_documents_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *toml, *message;
	} cases[] = {
		{"", "initdata: \"algorithm\" is missing"},
		{"version = \"0.1.0\"\n[data]\n", "initdata: \"algorithm\" is missing"},
		{"algorithm = \"sha256\"\n[data]\n", "initdata: \"version\" is missing"},
		{HEAD, "initdata: the table [data] is missing"},
		{HEAD "data = 5\n", "initdata: the table [data] is missing"},
		{"algorithm = 256\nversion = \"0.1.0\"\n[data]\n",
			"initdata: \"algorithm\" must be a string"},
		{"algorithm = \"sha256\\u0000\"\nversion = \"0.1.0\"\n[data]\n",
			"initdata: \"algorithm\" must be a string"},
		{"algorithm = \"md5\"\nversion = \"0.1.0\"\n[data]\n",
			"initdata: the algorithm \"md5\" is unknown; use sha256, sha384 or sha512"},
		{"algorithm = \"SHA256\"\nversion = \"0.1.0\"\n[data]\n",
			"initdata: the algorithm \"SHA256\" is unknown; use sha256, sha384 or sha512"},
		{"algorithm = \"sha256\"\nversion = \"0.2.0\"\n[data]\n",
			"initdata: the version \"0.2.0\" is unknown; use 0.1.0"},
		{HEAD "[data]\n\"aa.toml\" = 5\n", "initdata: [data] \"aa.toml\" must be a string"},
		{HEAD "[data.\"aa.toml\"]\nx = 5\n",
			"initdata: [data] \"aa.toml\" must be a string"},
		{HEAD "[data]\n\"a\\u0000b\" = \"\"\n",
			"initdata: a key of [data] holds a NUL character"},
		{HEAD "[data]\na = \"1\"\na = \"2\"\n",
			"initdata: line 5, column 5: Error while parsing key-value pair: cannot redefine existing string 'a'"},
		{HEAD "[data]\n\"aa.toml\" = '''\n",
			"initdata: line 4, column 17: Error while parsing literal string: encountered end-of-file"},
		{"aaHl4goAAA\xc5\xbe"
		 "0viall",
			"initdata: line 1, column 11: Error while parsing key-value pair: expected '=', saw '?\?'"},
		{HEAD "[+data]\n", "initdata: the text is not TOML"},
		{HEAD "[data\n",
			"initdata: line 3, column 6: Error while parsing table header: expected ']', saw '\\n'"},
		{HEAD "[data]\na = \"\xff\"\n",
			"initdata: line 4, column 5: Encountered invalid utf-8 sequence"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		cleanup(initdata_free) struct initdata out = {0};
		assert_int_equal(initdata_parse(cases[i].toml, strlen(cases[i].toml), &out, &err),
			-1);
		assert_string_equal(error_message(&err), cases[i].message);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_null(out.toml);
	}
}

/* gzip of "a" by the gzip program, and what can be done to it. */
static void test_bad_encodings_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"", "initdata: the encoded text is empty"},
		{" \n", "initdata: the encoded text is empty"},
		{"H4sI*", "initdata: base64: byte 0x2a at 4 is not of the alphabet"},
		{"aGVsbG8=", "initdata: gzip: incorrect header check"},
		{"H4sIAAAAAAAAAw==", "initdata: gzip: the data are cut short"},
		{"H4sIAAAAAAAAA0sEAEO+t+gBAAAA", "initdata: line 1, column 2: "},
		{"H4sIAAAAAAAAA0sEAEO+t+kBAAAA", "initdata: gzip: incorrect data check"},
		{"H4sIAAAAAAAAA0sEAEO+t+gCAAAA", "initdata: gzip: incorrect length check"},
		{"H4sIAAAAAAAAA0sEAEO+t+gBAAAAAA==", "initdata: gzip: the data are cut short"},
		{"H4sIAAAAAAAAA0sEAEO+t+gBAAAAAAAA", "initdata: gzip: incorrect header check"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		cleanup(initdata_free) struct initdata out = {0};
		assert_int_equal(initdata_decode(cases[i].text, strlen(cases[i].text), &out, &err),
			-1);
		assert_memory_equal(error_message(&err), cases[i].message,
			strlen(cases[i].message));
	}
}

static void test_members_of_gzip_are_one_text(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf one = BUF_INIT, two = BUF_INIT, bytes = BUF_INIT,
				     text = BUF_INIT;
	assert_int_equal(initdata_encode(example, 30, &one, NULL), 0);
	assert_int_equal(initdata_encode(example + 30, strlen(example) - 30, &two, NULL), 0);
	base64_decode(buf_text(&one), one.len, 4096, &bytes, NULL);
	base64_decode(buf_text(&two), two.len, 4096, &bytes, NULL);
	base64_encode(bytes.data, bytes.len, &text);
	cleanup(initdata_free) struct initdata out = {0};
	assert_int_equal(initdata_decode(buf_text(&text), text.len, &out, NULL), 0);
	assert_string_equal(out.toml, example);
}

static void test_limits_hold_on_both_sides_of_the_decompression(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	cleanup(initdata_free) struct initdata out = {0};
	cleanup(buf_free) struct buf toml = BUF_INIT, text = BUF_INIT, bomb = BUF_INIT;
	buf_append_text(&toml, HEAD "[data]\n#");
	while (toml.len < INITDATA_TOML_MAX)
		buf_append_text(&toml, "x");
	assert_int_equal(initdata_encode(buf_text(&toml), toml.len, &text, &err), 0);
	assert_int_equal(initdata_decode(buf_text(&text), text.len, &out, &err), 0);
	assert_int_equal(out.toml_len, INITDATA_TOML_MAX);
	initdata_free(&out);

	/* The same text and one more member: a kilobyte that would be more than a megabyte. */
	cleanup(buf_free) struct buf bytes = BUF_INIT, one = BUF_INIT;
	assert_int_equal(initdata_encode("x", 1, &one, &err), 0);
	base64_decode(buf_text(&text), text.len, 100000, &bytes, NULL);
	base64_decode(buf_text(&one), one.len, 100000, &bytes, NULL);
	base64_encode(bytes.data, bytes.len, &bomb);
	assert_int_equal(initdata_decode(buf_text(&bomb), bomb.len, &out, &err), -1);
	assert_string_equal(error_message(&err),
		"initdata: more than the limit of 1048576 bytes when decompressed");

	buf_append_text(&toml, "x");
	assert_int_equal(initdata_encode(buf_text(&toml), toml.len, &text, &err), -1);
	assert_string_equal(error_message(&err),
		"initdata: 1048577 bytes are more than the limit of 1048576");
	assert_int_equal(initdata_decode(buf_text(&toml), INITDATA_ENCODED_MAX + 1, &out, &err),
		-1);
	assert_string_equal(error_message(&err),
		"initdata: 524289 bytes of encoded text are more than the limit of 524288");
}

static void test_deep_nesting_is_refused_not_followed(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf toml = BUF_INIT;
	buf_append_text(&toml, HEAD "x = ");
	for (int i = 0; i < 200000; i++)
		buf_append_text(&toml, "[");
	cleanup_error err = ERROR_INIT;
	cleanup(initdata_free) struct initdata out = {0};
	assert_int_equal(initdata_parse(buf_text(&toml), toml.len, &out, &err), -1);
	assert_int_equal(err.kind, ERROR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dummy_is_bit_exact),
		cmocka_unit_test(test_text_survives_encoding_byte_by_byte),
		cmocka_unit_test(test_digest_is_over_the_whole_text),
		cmocka_unit_test(test_bad_documents_are_refused),
		cmocka_unit_test(test_bad_encodings_are_refused),
		cmocka_unit_test(test_members_of_gzip_are_one_text),
		cmocka_unit_test(test_limits_hold_on_both_sides_of_the_decompression),
		cmocka_unit_test(test_deep_nesting_is_refused_not_followed),
	};
	return cmocka_run_group_tests_name("initdata", tests, NULL, NULL);
}
