/* SPDX-License-Identifier: Apache-2.0 */
/*
 * price_files_test.c - files about instance types: prices as they are read, asked and refused; the catalogue that is
 * saved and loaded
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <cmocka.h>

#include "base/file.h"
#include "providers/choice/catalogue_file.h"
#include "providers/choice/prices.h"
#include "providers/choice/tee_names.h"

#define HEAD \
	"\"provider\": \"cloud\", \"date\": \"2026-11-01\", \"source\": \"a list\", \"currency\": \"USD\""
#define FILE_OF(rest) "{" HEAD ", " rest "}"

static const char good[] = FILE_OF(
	"\"types\": {\"a.large\": {\"family\": \"a\", \"vcpus\": 2, \"memory_mib\": 8192, \"tees\": [\"snp\", \"sev\"]},"
	"            \"g.large\": {\"family\": \"g\", \"vcpus\": 4, \"memory_mib\": 16384, \"gpus\": 1}},"
	"\"regions\": {\"west\": {\"g.large\": {\"on_demand\": 1.5}, \"a.large\": {\"on_demand\": 0.0864, \"spot\": 0.02}},"
	"              \"east\": {\"a.large\": {\"on_demand\": 0.1, \"tees\": []}, \"b.large\": {\"on_demand\": 0.07},"
	"                         \"g.large\": {}}}");

static struct prices *read_text(const char *text, struct error *err)
{
	return prices_read("cloud", "file", text, strlen(text), err);
}

static void test_a_region_becomes_a_catalogue(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	cleanup(prices_free_ptr) struct prices *prices = read_text(good, &err);
	assert_non_null(prices);
	assert_string_equal(prices_date(prices), "2026-11-01");
	assert_string_equal(prices_source(prices), "a list");
	assert_string_equal(prices_currency(prices), "USD");
	cleanup(free_ptr) struct offering *west = NULL, *east = NULL;
	size_t count = 0;
	assert_int_equal(prices_catalogue(prices, "west", &west, &count, &err), 0);
	assert_int_equal(count, 3);
	assert_string_equal(west[0].type, "a.large");
	assert_string_equal(west[0].family, "a");
	assert_string_equal(west[0].zone, "");
	assert_false(west[0].spot);
	assert_int_equal(west[0].vcpus, 2);
	assert_int_equal(west[0].memory_mib, 8192);
	assert_int_equal(west[0].tees, CHOICE_TEE_SNP | CHOICE_TEE_SEV);
	assert_int_equal(west[0].price_micros, 86400);
	assert_string_equal(west[1].type, "a.large");
	assert_true(west[1].spot);
	assert_int_equal(west[1].price_micros, 20000);
	assert_int_equal(west[2].gpus, 1);
	/* What has no size is in no catalogue; what has no price is; a region's own word on TEEs holds there. */
	assert_int_equal(prices_catalogue(prices, "east", &east, &count, &err), 0);
	assert_int_equal(count, 2);
	assert_int_equal(east[0].tees, 0);
	assert_string_equal(east[1].type, "g.large");
	assert_int_equal(east[1].price_micros, 0);
}

static void test_a_region_that_is_not_there_names_those_that_are(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	cleanup(prices_free_ptr) struct prices *prices = read_text(good, &err);
	struct offering *list = NULL;
	size_t count = 0;
	assert_int_equal(prices_catalogue(prices, "north", &list, &count, &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
	assert_string_equal(error_message(&err),
		"there are no prices of region \"north\"; there are of east, west");
	assert_null(list);
}

static void test_prices_are_set_by_region_type_and_market(void **state)
{
	(void)state;
	cleanup(prices_free_ptr) struct prices *prices = read_text(good, NULL);
	struct offering list[] = {
		{.type = "a.large", .zone = "west-1", .price_micros = 7},
		{.type = "a.large", .zone = "west-2", .spot = true},
		{.type = "g.large", .spot = true, .price_micros = 9}, /* not known: stays */
		{.type = "b.large", .price_micros = 8},               /* of another region */
	};
	prices_apply(prices, "west", list, array_size(list));
	assert_int_equal(list[0].price_micros, 86400);
	assert_int_equal(list[1].price_micros, 20000);
	assert_int_equal(list[2].price_micros, 9);
	assert_int_equal(list[3].price_micros, 8);
	prices_apply(prices, "east", list, array_size(list));
	assert_int_equal(list[3].price_micros, 70000);
}

static void test_bad_price_files_say_what_is_wrong_where(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"", "file: line 1: '[' or '{' expected near end of file"},
		{"[]", "file must be an object"},
		{"{}", "file: \"provider\" is missing"},
		{"{" HEAD "}", "file: \"regions\" must be an object"},
		{FILE_OF("\"regions\": [], \"types\": {}"), "file: \"regions\" must be an object"},
		{FILE_OF("\"regions\": {}, \"types\": []"), "file: \"types\" must be an object"},
		{FILE_OF("\"regions\": {}, \"price\": 1"), "file: \"price\" is not known here"},
		{"{\"provider\": \"other\", \"date\": \"2026-11-01\", \"source\": \"s\", \"currency\": \"USD\", \"regions\": {}}",
			"file: it has the prices of other, not of cloud"},
		{"{\"provider\": \"cloud\", \"date\": \"1.11.2026\", \"source\": \"s\", \"currency\": \"USD\", \"regions\": {}}",
			"file: \"date\" is \"1.11.2026\", not like 2026-11-01"},
		{"{\"provider\": \"cloud\", \"date\": \"2026-11-01\", \"source\": \"\", \"currency\": \"USD\", \"regions\": {}}",
			"file: \"source\" is empty"},
		{FILE_OF("\"regions\": {\"r\": 1}"), "file: regions: r must be an object"},
		{FILE_OF("\"regions\": {\"r\": {\"t\": 0.5}}"),
			"file: regions: r: t must be an object"},
		{FILE_OF("\"regions\": {\"r\": {\"t\": {\"price\": 1}}}"),
			"file: regions: r: t: \"price\" is not known here"},
		{FILE_OF("\"regions\": {\"r\": {\"t\": {\"on_demand\": \"1\"}}}"),
			"file: regions: r: t: \"on_demand\" must be a number from 0.000001 to 1000000, the price of an hour"},
		{FILE_OF("\"regions\": {\"r\": {\"t\": {\"on_demand\": 0}}}"),
			"file: regions: r: t: \"on_demand\" must be a number from 0.000001 to 1000000, the price of an hour"},
		{FILE_OF("\"regions\": {\"r\": {\"t\": {\"spot\": -1}}}"),
			"file: regions: r: t: \"spot\" must be a number from 0.000001 to 1000000, the price of an hour"},
		{FILE_OF("\"regions\": {\"r\": {\"t\": {\"spot\": 1e7}}}"),
			"file: regions: r: t: \"spot\" must be a number from 0.000001 to 1000000, the price of an hour"},
		{FILE_OF("\"regions\": {\"r\": {\"t\": {\"tees\": \"snp\"}}}"),
			"file: regions: r: t: \"tees\" must be a list of \"snp\", \"tdx\" and \"sev\""},
		{FILE_OF("\"regions\": {\"r\": {\"t\": {\"tees\": [\"snp\", \"sgx\"]}}}"),
			"file: regions: r: t: item 2 of \"tees\" is none of \"snp\", \"tdx\" and \"sev\""},
		{FILE_OF("\"regions\": {\"r\": {\"t\": {}, \"t\": {}}}"), NULL},
		{FILE_OF("\"types\": {\"t\": {\"family\": \"f\", \"vcpus\": 0, \"memory_mib\": 1}}, "
			 "\"regions\": {\"r\": {\"t\": {}}}"),
			"file: types: t: \"vcpus\" is 0, not between 1 and 100000"},
		{FILE_OF("\"types\": {\"t\": {\"vcpus\": 1, \"memory_mib\": 1}}, \"regions\": {\"r\": {\"t\": {}}}"),
			"file: types: t: \"family\" is missing"},
		{FILE_OF("\"types\": {\"t\": 1}, \"regions\": {\"r\": {\"t\": {}}}"),
			"file: types: t must be an object"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		assert_null(read_text(cases[i].text, &err));
		assert_int_equal(err.kind, ERROR_INVALID);
		if (cases[i].message)
			assert_string_equal(error_message(&err), cases[i].message);
	}
}

static void test_a_named_file_must_be_there_and_ones_own_need_not(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	assert_null(prices_load("cloud", "/nonexistent/prices.json", &err));
	assert_int_equal(err.kind, ERROR_GONE);
	cleanup(prices_free_ptr) struct prices *none = prices_load("nobody", "", &err);
	assert_non_null(none);
	assert_string_equal(prices_date(none), "");
	struct offering one = {.type = "t", .price_micros = 5}, *list = NULL;
	size_t count = 0;
	prices_apply(none, "west", &one, 1);
	assert_int_equal(one.price_micros, 5);
	assert_int_equal(prices_catalogue(none, "west", &list, &count, &err), -1);
	assert_string_equal(error_message(&err), "there are no prices of region \"west\"");
}

/* ---- the saved catalogue ------------------------------------------------------------------------------------ */

static char folder[] = "/tmp/catalogue-test.XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	static const char *const files[] = {"sub/cloud-west-1.json", "sub", ""};
	for (size_t i = 0; i < array_size(files); i++) {
		char path[128];
		snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		remove(path);
	}
	return 0;
}

static void test_a_catalogue_is_saved_and_loaded_once_for_each_type(void **state)
{
	(void)state;
	static const struct offering list[] = {
		{"n.large", "n", "z1", false, 4, 16384, 1, CHOICE_TEE_TDX, 3, 27, 500},
		{"m.large", "m", "z1", false, 2, 8192, 0, CHOICE_TEE_SNP | CHOICE_TEE_SEV, 2, 9,
			100},
		{"m.large", "m", "z2", true, 2, 8192, 0, CHOICE_TEE_SNP | CHOICE_TEE_SEV, 2, 9, 40},
	};
	char sub[64];
	snprintf(sub, sizeof(sub), "%s/sub", folder);
	cleanup_error err = ERROR_INIT;
	assert_int_equal(catalogue_save(sub, "cloud", "west-1", list, 3, &err), 0);
	struct saved_catalogue c;
	assert_int_equal(catalogue_load(sub, "cloud", "west-1", &c, &err), 0);
	assert_int_equal(c.count, 2);
	assert_string_equal(c.list[0].type, "m.large");
	assert_string_equal(c.list[0].family, "m");
	assert_string_equal(c.list[0].zone, "");
	assert_false(c.list[0].spot);
	assert_int_equal(c.list[0].memory_mib, 8192);
	assert_int_equal(c.list[0].tees, CHOICE_TEE_SNP | CHOICE_TEE_SEV);
	assert_int_equal(c.list[0].max_nics, 2);
	assert_int_equal(c.list[0].max_volumes, 9);
	assert_int_equal(c.list[0].price_micros, 0);
	assert_string_equal(c.list[1].type, "n.large");
	assert_int_equal(c.list[1].gpus, 1);
	assert_true(c.saved_at > time(NULL) - 60 && c.saved_at <= time(NULL));
	saved_catalogue_free(&c);
	assert_int_equal(catalogue_load(sub, "cloud", "east-1", &c, &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
	struct stat st;
	assert_int_equal(stat(sub, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

static void test_without_a_folder_nothing_is_saved(void **state)
{
	(void)state;
	struct saved_catalogue c;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(catalogue_save("", "cloud", "../x", NULL, 0, &err), 0);
	assert_int_equal(catalogue_load("", "cloud", "west", &c, &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
}

static void test_names_cannot_leave_the_folder(void **state)
{
	(void)state;
	static const char *const names[][2] = {{"cloud", "../etc"}, {"a/b", "west"}, {"", "west"},
		{"cloud", ""}};
	for (size_t i = 0; i < array_size(names); i++) {
		struct saved_catalogue c;
		cleanup_error err = ERROR_INIT;
		assert_int_equal(catalogue_save(folder, names[i][0], names[i][1], NULL, 0, &err),
			-1);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_int_equal(catalogue_load(folder, names[i][0], names[i][1], &c, NULL), -1);
	}
}

#define SAVED(types)                                                                                         \
	"{\"version\": 1, \"provider\": \"cloud\", \"region\": \"west\", \"saved_at\": 5, \"types\": " types \
	"}"
#define TYPE(name, more)                                                        \
	"{\"type\": \"" name                                                    \
	"\", \"family\": \"f\", \"vcpus\": 1, \"memory_mib\": 2, \"gpus\": 0, " \
	"\"tees\": [], \"max_nics\": 0" more "}"

static void test_bad_catalogue_files_say_what_is_wrong_where(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"", NULL},
		{"[]", "file must be an object"},
		{"{}", "file: \"version\" is missing"},
		{"{\"version\": 2}", "file: \"version\" is 2, not between 1 and 1"},
		{"{\"version\": 1, \"provider\": \"cloud\", \"region\": \"east\", \"saved_at\": 5, \"types\": []}",
			"file: it is of cloud in east, not of cloud in west"},
		{SAVED("{}"), "file: \"types\" must be a list of at most 100000 types"},
		{SAVED("[1]"), "file: type 1 must be an object"},
		{SAVED("[" TYPE("a", "") "]"), "file: type 1: \"max_volumes\" is missing"},
		{SAVED("[" TYPE("a", ", \"max_volumes\": -1") "]"),
			"file: type 1: \"max_volumes\" is -1, not between 0 and 1099511627776"},
		{SAVED("[" TYPE("b", ", \"max_volumes\": 1") ", " TYPE("a",
			 ", \"max_volumes\": 1") "]"),
			"file: a follows b: types must be sorted, each named once"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		struct saved_catalogue c;
		assert_int_equal(catalogue_read("cloud", "west", "file", cases[i].text,
					 strlen(cases[i].text), &c, &err),
			-1);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_null(c.list);
		if (cases[i].message)
			assert_string_equal(error_message(&err), cases[i].message);
	}
}

static void test_tees_have_names(void **state)
{
	(void)state;
	assert_int_equal(tee_of_name("snp", 3), CHOICE_TEE_SNP);
	assert_int_equal(tee_of_name("snpx", 4), 0);
	assert_int_equal(tee_of_name("", 0), 0);
	cleanup(buf_free) struct buf text = BUF_INIT;
	tees_print(CHOICE_TEE_SEV | CHOICE_TEE_TDX, &text);
	assert_string_equal(buf_text(&text), "tdx, sev");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_region_becomes_a_catalogue),
		cmocka_unit_test(test_a_region_that_is_not_there_names_those_that_are),
		cmocka_unit_test(test_prices_are_set_by_region_type_and_market),
		cmocka_unit_test(test_bad_price_files_say_what_is_wrong_where),
		cmocka_unit_test(test_a_named_file_must_be_there_and_ones_own_need_not),
		cmocka_unit_test(test_a_catalogue_is_saved_and_loaded_once_for_each_type),
		cmocka_unit_test(test_without_a_folder_nothing_is_saved),
		cmocka_unit_test(test_names_cannot_leave_the_folder),
		cmocka_unit_test(test_bad_catalogue_files_say_what_is_wrong_where),
		cmocka_unit_test(test_tees_have_names),
	};
	return cmocka_run_group_tests_name("price files", tests, make_folder, remove_folder);
}
