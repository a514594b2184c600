/* SPDX-License-Identifier: Apache-2.0 */
/* Drivers are found by name in one folder and in no other place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "providers/loader.h"

static char folder[] = "/tmp/peerpod-loader-XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	char path[128];
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/zeta.so", folder);
	if (file_write(path, 0600, "no library", 10, NULL) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/alpha.so", folder);
	if (file_write(path, 0600, "", 0, NULL) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/README", folder);
	return file_write(path, 0600, "", 0, NULL);
}

static int remove_folder(void **state)
{
	(void)state;
	static const char *const files[] = {"zeta.so", "alpha.so", "README"};
	char path[128];
	for (size_t i = 0; i < array_size(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		file_remove(path, NULL);
	}
	return rmdir(folder);
}

static void test_names_are_those_of_shared_objects_sorted(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	char **names = provider_names(folder, &err);
	assert_non_null(names);
	assert_string_equal(names[0], "alpha");
	assert_string_equal(names[1], "zeta");
	assert_null(names[2]);
	free(names[0]);
	free(names[1]);
	free(names);
}

static void test_bad_names_are_refused(void **state)
{
	(void)state;
	static const char *const names[] = {"", "../zeta", "a/b", "Zeta", "zeta.so", "a b"};
	for (size_t i = 0; i < array_size(names); i++) {
		cleanup_error err = ERROR_INIT;
		char expected[128];
		snprintf(expected, sizeof(expected),
			"\"%s\" is no name of a provider: lower-case letters, digits and '-' only",
			names[i]);
		assert_null(provider_load(folder, names[i], &err));
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_string_equal(error_message(&err), expected);
	}
}

static void test_unknown_provider_lists_what_there_is(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	char expected[160];
	snprintf(expected, sizeof(expected),
		"there is no provider \"beta\"; drivers in %s: alpha, zeta", folder);
	assert_null(provider_load(folder, "beta", &err));
	assert_int_equal(err.kind, ERROR_GONE);
	assert_string_equal(error_message(&err), expected);
}

static void test_missing_folder_is_named(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	assert_null(provider_load("/nonexistent", "beta", &err));
	assert_string_equal(error_message(&err),
		"there is no provider \"beta\" (folder of drivers /nonexistent: No such file or directory)");
}

static void test_a_file_that_is_no_library_is_refused(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	assert_null(provider_load(folder, "zeta", &err));
	assert_int_equal(err.kind, ERROR_INVALID);
	assert_non_null(strstr(error_message(&err), "load provider \"zeta\": "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_those_of_shared_objects_sorted),
		cmocka_unit_test(test_bad_names_are_refused),
		cmocka_unit_test(test_unknown_provider_lists_what_there_is),
		cmocka_unit_test(test_missing_folder_is_named),
		cmocka_unit_test(test_a_file_that_is_no_library_is_refused),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
