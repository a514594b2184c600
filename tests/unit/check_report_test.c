/* SPDX-License-Identifier: Apache-2.0 */
/* check_report_test.c - the rows of a check, the table made of them, and what they add up to */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "providers/check_report.h"

static void test_nothing_wrong_is_right(void **state)
{
	(void)state;
	cleanup_report report = {0};
	cleanup_error err = ERROR_INIT;
	assert_int_equal(check_conclude(&report, &err), 0);
	check_right(&report, "image", "%s, %d GiB", "ami-1", 8);
	check_unknown(&report, "quota", "not told");
	assert_int_equal(report.count, 2);
	assert_int_equal(report.wrong, 0);
	assert_int_equal(check_conclude(&report, &err), 0);
	assert_int_equal(err.kind, ERROR_NONE);
}

static void test_all_that_is_wrong_is_in_one_message_with_the_first_kind(void **state)
{
	(void)state;
	cleanup_report report = {0};
	cleanup_error err = ERROR_INIT;
	check_right(&report, "credentials", "they work");
	check_wrong(&report, ERROR_GONE, "image", "set PODVM_AMI_ID", "there is no %s", "ami-1");
	check_unknown(&report, "quota", "not told");
	check_wrong(&report, ERROR_DENIED, "subnet", NULL, "may not be looked at");
	assert_int_equal(report.wrong, 2);
	assert_int_equal(check_conclude(&report, &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
	assert_string_equal(error_message(&err),
		"image: there is no ami-1 (set PODVM_AMI_ID); subnet: may not be looked at");
}

static void test_a_passing_fault_says_nothing_about_the_configuration(void **state)
{
	(void)state;
	static const struct {
		enum error_kind kind;
		enum check_verdict verdict;
	} cases[] = {
		{ERROR_RETRY, CHECK_UNKNOWN},
		{ERROR_THROTTLED, CHECK_UNKNOWN},
		{ERROR_TIMEOUT, CHECK_UNKNOWN},
		{ERROR_CANCELED, CHECK_UNKNOWN},
		{ERROR_INVALID, CHECK_WRONG},
		{ERROR_GONE, CHECK_WRONG},
		{ERROR_DENIED, CHECK_WRONG},
		{ERROR_QUOTA, CHECK_WRONG},
		{ERROR_INTERNAL, CHECK_WRONG},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_report report = {0};
		struct error err = ERROR_INIT;
		error_set(&err, cases[i].kind, "100%% of it");
		check_failure(&report, "subnet", "look", &err);
		assert_int_equal(err.kind, ERROR_NONE);
		assert_null(err.message);
		assert_int_equal(report.count, 1);
		assert_int_equal(report.rows[0].verdict, cases[i].verdict);
		assert_string_equal(report.rows[0].found, "100% of it");
		assert_string_equal(report.rows[0].remedy,
			cases[i].verdict == CHECK_WRONG ? "look" : "");
		assert_int_equal(check_conclude(&report, NULL),
			cases[i].verdict == CHECK_WRONG ? -1 : 0);
	}
}

static void test_who_could_not_look_has_found_nothing_right(void **state)
{
	(void)state;
	static const struct {
		enum error_kind kind;
		size_t wrong, unknown;
		const char *message;
	} cases[] = {
		{ERROR_RETRY, 0, 1, "credentials: down"},
		{ERROR_TIMEOUT, 0, 1, "credentials: down"},
		{ERROR_DENIED, 1, 0, "credentials: down (look)"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_report report = {0};
		cleanup_error err = ERROR_INIT, failed = ERROR_INIT;
		error_set(&failed, cases[i].kind, "down");
		assert_int_equal(check_give_up(&report, "credentials", "look", &failed, &err), -1);
		assert_int_equal(err.kind, cases[i].kind);
		assert_string_equal(error_message(&err), cases[i].message);
		assert_int_equal(report.wrong, cases[i].wrong);
		assert_int_equal(check_unknown_count(&report), cases[i].unknown);
		assert_int_equal(failed.kind, ERROR_NONE);
	}
}

static void test_the_table_lines_up_and_names_the_remedy(void **state)
{
	(void)state;
	cleanup_report report = {0};
	char *text = NULL;
	size_t size = 0;
	check_right(&report, "image", "ami-1");
	check_wrong(&report, ERROR_INVALID, "AWS_SUBNET_ID", "name one of them", "not in vpc-1");
	check_unknown(&report, "quota", "not told");
	check_note(&report, "size", "odd");
	FILE *out = open_memstream(&text, &size);
	check_report_print(&report, out);
	fclose(out);
	assert_string_equal(text, "  right    image          ami-1\n"
				  "  WRONG    AWS_SUBNET_ID  not in vpc-1\n"
				  "                          to mend: name one of them\n"
				  "  unknown  quota          not told\n"
				  "  note     size           odd\n");
	free(text);
}

static void test_rows_that_found_no_memory_are_not_taken_for_right(void **state)
{
	(void)state;
	cleanup_report report = {.failed = true};
	cleanup_error err = ERROR_INIT;
	assert_int_equal(check_conclude(&report, &err), -1);
	assert_int_equal(err.kind, ERROR_CAPACITY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_wrong_is_right),
		cmocka_unit_test(test_all_that_is_wrong_is_in_one_message_with_the_first_kind),
		cmocka_unit_test(test_a_passing_fault_says_nothing_about_the_configuration),
		cmocka_unit_test(test_who_could_not_look_has_found_nothing_right),
		cmocka_unit_test(test_the_table_lines_up_and_names_the_remedy),
		cmocka_unit_test(test_rows_that_found_no_memory_are_not_taken_for_right),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
