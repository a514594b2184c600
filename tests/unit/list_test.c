/* SPDX-License-Identifier: Apache-2.0 */
/* list_test.c - comma lists and k=v pairs as operators write them */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/list.h"

static void test_words_come_without_blanks_and_without_empty_ones(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *words[4];
	} cases[] = {
		{"", {NULL}},
		{",", {NULL}},
		{" , ,, ", {NULL}},
		{"a", {"a"}},
		{"a,b", {"a", "b"}},
		{" a ,\tb\n", {"a", "b"}},
		{",a,,b,", {"a", "b"}},
		{"a b, c", {"a b", "c"}},
		{"a,a", {"a", "a"}},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_list list = list_split(cases[i].text);
		size_t count = 0;
		assert_non_null(list);
		for (; cases[i].words[count]; count++)
			assert_string_equal(list[count], cases[i].words[count]);
		assert_int_equal(list_count(list), count);
		assert_null(list[count]);
	}
}

static void test_no_list_is_an_empty_list(void **state)
{
	(void)state;
	cleanup_list list = list_split("m5.large,c5.large");
	assert_int_equal(list_count(NULL), 0);
	assert_false(list_holds(NULL, "a"));
	assert_true(list_holds(list, "c5.large"));
	assert_false(list_holds(list, "c5"));
	assert_false(list_holds(list, ""));
	list_free(NULL);
}

static void test_pairs_come_one_after_the_other(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *pairs[4][2];
		const char *wrong; /* the message after them; NULL: none */
	} cases[] = {
		{"", {{NULL}}, NULL},
		{",,", {{NULL}}, NULL},
		{"a=b", {{"a", "b"}}, NULL},
		{"a=b,c=d", {{"a", "b"}, {"c", "d"}}, NULL},
		{",a=b,,c=d,", {{"a", "b"}, {"c", "d"}}, NULL},
		{" a = b c , d = e ", {{"a", "b c"}, {"d", "e"}}, NULL},
		{"a=", {{"a", ""}}, NULL},
		{"=b", {{"", "b"}}, NULL},
		{"a=b=c", {{"a", "b=c"}}, NULL},
		{"a=b,c", {{"a", "b"}}, "TAGS: \"c\" is not of the form key=value"},
		{"a,b=c", {{NULL}}, "TAGS: \"a\" is not of the form key=value"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		const char *rest = cases[i].text;
		cleanup_error err = ERROR_INIT;
		char *key, *value;
		size_t count = 0;
		int result;
		while ((result = pairs_next("TAGS", &rest, &key, &value, &err)) > 0) {
			assert_non_null(cases[i].pairs[count][0]);
			assert_string_equal(key, cases[i].pairs[count][0]);
			assert_string_equal(value, cases[i].pairs[count][1]);
			free(key);
			free(value);
			count++;
		}
		assert_null(cases[i].pairs[count][0]);
		assert_null(key);
		assert_null(value);
		assert_int_equal(result, cases[i].wrong ? -1 : 0);
		if (cases[i].wrong) {
			assert_int_equal(err.kind, ERROR_INVALID);
			assert_string_equal(error_message(&err), cases[i].wrong);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words_come_without_blanks_and_without_empty_ones),
		cmocka_unit_test(test_no_list_is_an_empty_list),
		cmocka_unit_test(test_pairs_come_one_after_the_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
