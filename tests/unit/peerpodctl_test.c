/* SPDX-License-Identifier: Apache-2.0 */
/* peerpodctl_test.c - peerpodctl's parts: command lines, amounts, tables, requests, the shelf, exit statuses */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "peerpodctl/amount.h"
#include "peerpodctl/arguments.h"
#include "peerpodctl/command.h"
#include "peerpodctl/progress.h"
#include "peerpodctl/request.h"
#include "peerpodctl/shelf.h"
#include "peerpodctl/table.h"

static const struct option few[] = {
	{"name", NULL, NULL, "a text", 0, OPTION_STRING},
	{"yes", NULL, NULL, "a bool", 0, OPTION_BOOL},
};
static const struct option_set few_set = {"Options", few, array_size(few), NULL};

static void join(char *const *list, int count, struct buf *out)
{
	for (int i = 0; i < count; i++)
		buf_printf(out, "%s%s", i ? " " : "", list[i]);
}

static void test_words_and_options_are_told_apart(void **state)
{
	(void)state;
	static const struct {
		const char *line[10];
		const char *options, *words, *after;
	} cases[] = {
		{{NULL}, "", "", NULL},
		{{"a", "b", NULL}, "", "a b", NULL},
		{{"--name", "x", "a", NULL}, "--name x", "a", NULL},
		{{"a", "-name=x", "b", NULL}, "-name=x", "a b", NULL},
		{{"--yes", "a", "--name", "x", NULL}, "--yes --name x", "a", NULL},
		{{"-", "--yes=false", NULL}, "--yes=false", "-", NULL},
		{{"--unknown", "a", NULL}, "--unknown", "a", NULL},
		{{"a", "--", "-region=x", "b", NULL}, "", "a", "-region=x b"},
		{{"--name", "--", "x", NULL}, "--name", "",
			"x"}, /* parsing says that it lacks a value */
		{{"--", NULL}, "", "", ""},
	};
	for (size_t n = 0; n < array_size(cases); n++) {
		struct arguments a;
		cleanup(buf_free) struct buf options = BUF_INIT, words = BUF_INIT, after = BUF_INIT;
		int argc = 0;
		while (cases[n].line[argc])
			argc++;
		assert_true(arguments_split(&few_set, argc, (char *const *)cases[n].line, &a));
		join(a.options, a.option_count, &options);
		join(a.words, a.word_count, &words);
		join(a.after, a.after_count, &after);
		assert_string_equal(buf_text(&options), cases[n].options);
		assert_string_equal(buf_text(&words), cases[n].words);
		assert_int_equal(!a.after, !cases[n].after);
		assert_string_equal(buf_text(&after), cases[n].after ? cases[n].after : "");
		arguments_free(&a);
	}
}

static void test_amounts_of_memory(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t mib; /* -1: refused */
		const char *message;
	} cases[] = {
		{"16Gi", 16384, NULL},
		{"512Mi", 512, NULL},
		{"1.5Gi", 1536, NULL},
		{"0.5Mi", 1, NULL}, /* rounded up: less would not do */
		{"2Ti", 2 * 1024 * 1024, NULL},
		{"1G", 954, NULL},
		{"512M", 489, NULL},
		{"0Gi", 0, NULL},
		{"16", -1, "\"16\" has no unit: write it like 16Gi or 512Mi"},
		{"16GiB", -1, "\"16GiB\" has an unknown unit: write it like 16Gi or 512Mi"},
		{"16gi", -1, "\"16gi\" has an unknown unit: write it like 16Gi or 512Mi"},
		{"Gi", -1, "\"Gi\" is no amount of memory: write it like 16Gi or 512Mi"},
		{"", -1, "\"\" is no amount of memory: write it like 16Gi or 512Mi"},
		{"-1Gi", -1, "\"-1Gi\" is no amount of memory: write it like 16Gi or 512Mi"},
		{".5Gi", -1, NULL},
		{"1.Gi", -1, NULL},
		{"1.2.3Gi", -1, NULL},
		{"99999999Ti", -1, "\"99999999Ti\" is more memory than there is"},
		{"9999999999999999Gi", -1, NULL},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		int64_t mib = -1;
		assert_int_equal(memory_parse(cases[i].text, &mib, &err),
			cases[i].mib < 0 ? -1 : 0);
		assert_int_equal(mib, cases[i].mib);
		if (cases[i].message)
			assert_string_equal(error_message(&err), cases[i].message);
	}
}

static void test_counts(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t count;
	} cases[] = {{"8", 8}, {"0", 0}, {"100", 100}, {"101", -1}, {"", -1}, {"8x", -1},
		{"-1", -1}, {" 8", -1}, {"99999999999999999999999", -1}};
	for (size_t i = 0; i < array_size(cases); i++) {
		int64_t count = -1;
		assert_int_equal(count_parse(cases[i].text, 100, &count, NULL),
			cases[i].count < 0 ? -1 : 0);
		assert_int_equal(count, cases[i].count);
	}
}

static void test_tables_are_aligned_and_steer_no_terminal(void **state)
{
	(void)state;
	static const char *const headers[] = {"NAME", "AGE", "WHY"};
	cleanup(table_free) struct table table;
	char *text = NULL;
	size_t size;
	table_start(&table, 3, headers);
	table_cell(&table, "a-long-name");
	table_cell(&table, "%d%c", 5, 'm');
	table_cell(&table, "%s", "x\033[2J\ny");
	table_cell(&table, "b");
	table_cell(&table, "%s", "");
	table_cell(&table, "last");
	FILE *out = open_memstream(&text, &size);
	assert_int_equal(table_print(&table, out), 0);
	fclose(out);
	assert_string_equal(text, "NAME         AGE  WHY\n"
				  "a-long-name  5m   x?[2J?y\n"
				  "b            -    last\n");
	free(text);
}

static void test_ages(void **state)
{
	(void)state;
	static const struct {
		int64_t then, now;
		const char *text;
	} cases[] = {{100, 100, "0s"}, {100, 219, "119s"}, {100, 220, "2m"}, {1, 7200, "119m"},
		{1, 7201, "2h"}, {1, 48 * 3600, "47h"}, {1, 48 * 3600 + 1, "2d"}, {0, 50, "-"},
		{200, 100, "-"}};
	for (size_t i = 0; i < array_size(cases); i++) {
		char text[32];
		age_print(cases[i].then, cases[i].now, text, sizeof(text));
		assert_string_equal(text, cases[i].text);
	}
}

static void test_a_request_is_a_line_of_json(void **state)
{
	(void)state;
	static const char line[] =
		"{\"vcpu\": 8, \"memory\": \"16Gi\", \"gpu\": 1, \"tee\": \"snp\", "
		"\"types\": [\"a\", \"b\"], \"zones\": [\"z\"], \"spot\": true}";
	cleanup(request_free) struct request r = {0};
	cleanup_error err = ERROR_INIT;
	assert_int_equal(request_read(line, strlen(line), &r, &err), 0);
	struct choice_request wish = request_wish(&r);
	assert_int_equal(wish.vcpus, 8);
	assert_int_equal(wish.memory_mib, 16384);
	assert_int_equal(wish.gpus, 1);
	assert_int_equal(wish.tees, CHOICE_TEE_SNP);
	assert_string_equal(wish.allowed[1], "b");
	assert_null(wish.allowed[2]);
	assert_string_equal(wish.zones[0], "z");
	assert_true(wish.spot && wish.on_demand && wish.any_type);
	cleanup(buf_free) struct buf text = BUF_INIT;
	request_print(&r, &text);
	assert_string_equal(buf_text(&text), "8 vCPU, 16 GiB, 1 GPU, snp, on-demand or spot");
}

static void test_bad_requests_say_what_is_wrong(void **state)
{
	(void)state;
	static const struct {
		const char *line, *message;
	} cases[] = {
		{"8", NULL},
		{"[]", "it must be an object"},
		{"{\"cpu\": 8}",
			"\"cpu\" is not known: there are vcpu, memory, gpu, tee, types, zones and spot"},
		{"{\"vcpu\": -1}", "request: \"vcpu\" is -1, not between 0 and 100000"},
		{"{\"vcpu\": \"8\"}", "request: \"vcpu\" must be an integer"},
		{"{\"memory\": \"8\"}",
			"\"memory\": \"8\" has no unit: write it like 16Gi or 512Mi"},
		{"{\"tee\": \"sgx\"}", "\"tee\": \"sgx\" is none of: snp, tdx, sev, none"},
		{"{\"types\": \"a\"}", "\"types\" must be a list of at most 1000 names"},
		{"{\"zones\": [\"a\", 1]}", "item 2 of \"zones\" is no name"},
		{"{\"zones\": [\"\"]}", "item 1 of \"zones\" is no name"},
		{"{} {}", NULL},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		struct request r;
		assert_int_equal(request_read(cases[i].line, strlen(cases[i].line), &r, &err), -1);
		assert_int_equal(err.kind, ERROR_INVALID);
		if (cases[i].message)
			assert_string_equal(error_message(&err), cases[i].message);
	}
}

/* ---- the shelf --------------------------------------------------------------------------------------------- */

static const char price_text[] =
	"{\"provider\": \"cloud\", \"date\": \"2026-11-01\", \"source\": \"s\", \"currency\": \"USD\","
	" \"types\": {\"a\": {\"family\": \"f\", \"vcpus\": 2, \"memory_mib\": 4096},"
	"             \"b\": {\"family\": \"f\", \"vcpus\": 4, \"memory_mib\": 8192}},"
	" \"regions\": {\"west\": {\"a\": {\"on_demand\": 0.1, \"spot\": 0.02}, \"b\": {\"on_demand\": 0.2},"
	"                          \"c\": {\"on_demand\": 0.3, \"spot\": 0.04}}}}";

static void test_offline_joins_the_saved_catalogue_and_the_prices(void **state)
{
	(void)state;
	char folder[] = "/tmp/shelf-test.XXXXXX", path[64];
	static const struct offering saved[] = {
		{"a", "f", "", false, 3, 5000, 0, CHOICE_TEE_TDX, 5, 6,
			0},                                    /* knows better than the file */
		{"c", "f", "", false, 8, 9000, 0, 0, 0, 0, 0}, /* the file knows only its price */
		{"d", "f", "", false, 1, 1000, 0, 0, 0, 0, 0}, /* no price */
	};
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/p.json", folder);
	assert_int_equal(file_write(path, 0600, price_text, strlen(price_text), NULL), 0);
	assert_int_equal(catalogue_save(folder, "cloud", "west", saved, 3, NULL), 0);
	struct invocation in = {.values = {.provider = (char *)"cloud",
					.provider_dir = (char *)"",
					.region = (char *)"west",
					.prices = path,
					.catalogue_folder = folder,
					.offline = true}};
	struct shelf shelf;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(shelf_open(&in, &shelf, &err), 0);
	static const struct {
		const char *type;
		bool spot;
		int64_t vcpus, price;
	} expected[] = {{"a", false, 3, 100000}, {"a", true, 3, 20000}, {"c", false, 8, 300000},
		{"c", true, 8, 40000}, {"d", false, 1, 0}, {"b", false, 4, 200000}};
	assert_int_equal(shelf.on.count, array_size(expected));
	for (size_t i = 0; i < array_size(expected); i++) {
		assert_string_equal(shelf.on.list[i].type, expected[i].type);
		assert_int_equal(shelf.on.list[i].spot, expected[i].spot);
		assert_int_equal(shelf.on.list[i].vcpus, expected[i].vcpus);
		assert_int_equal(shelf.on.list[i].price_micros, expected[i].price);
	}
	/* Zones are not known offline: each that is named gets a copy. */
	char *zones[] = {(char *)"z1", (char *)"z2", NULL};
	struct offering *copy = NULL;
	size_t count = 0;
	assert_int_equal(shelf_zones(&shelf, zones, &copy, &count, &err), 0);
	assert_int_equal(count, 12);
	assert_string_equal(copy[1].type, "a");
	assert_string_equal(copy[1].zone, "z2");
	free(copy);
	assert_int_equal(shelf_zones(&shelf, NULL, &copy, &count, &err), 0);
	assert_null(copy);
	shelf_close(&shelf);
	in.values.region = (char *)"east";
	assert_int_equal(shelf_open(&in, &shelf, &err), -1);
	assert_string_equal(error_message(&err),
		"there are no prices of region \"east\"; there are of west");
	assert_true(in.is_usage);
	shelf_close(&shelf);
	unlink(path);
	snprintf(path, sizeof(path), "%s/cloud-west.json", folder);
	unlink(path);
	rmdir(folder);
}

/* What takes its time is said, again and again, and no more once it is over. */
static void test_progress_is_told_on_standard_error(void **state)
{
	(void)state;
	int ends[2], kept = dup(STDERR_FILENO);
	char line[2][80];
	assert_int_equal(pipe(ends), 0);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	FILE *told = fdopen(ends[0], "r");
	struct progress *progress = progress_begin("think", 1, NS_PER_MS);
	assert_non_null(fgets(line[0], sizeof(line[0]), told));
	assert_non_null(fgets(line[1], sizeof(line[1]), told));
	progress_end(progress);
	dup2(kept, STDERR_FILENO); /* the last writer is gone: the rest ends */
	close(kept);
	while (fgets(line[1], sizeof(line[1]), told))
		assert_string_equal(line[1], "peerpodctl: think: 0 s so far\n");
	fclose(told);
	assert_string_equal(line[0], "peerpodctl: think: 0 s so far\n");
}

static void test_exit_statuses(void **state)
{
	(void)state;
	static const struct {
		const char *line[8];
		int status;
	} cases[] = {
		{{NULL}, 2},
		{{"version", NULL}, 0},
		{{"help", NULL}, 0},
		{{"help", "instances", NULL}, 0},
		{{"help", "instances", "gc", NULL}, 0},
		{{"instances", "gc", "--help", NULL}, 0},
		{{"nonsense", NULL}, 2},
		{{"instances", NULL}, 2},
		{{"instances", "nonsense", NULL}, 2},
		{{"instances", "show", NULL}, 2},
		{{"instances", "list", "stray", NULL}, 2},
		{{"sandboxes", "list", "--colour", NULL}, 2},
		{{"sandboxes", "list", "--", "-x", NULL}, 2},
		{{"sandboxes", "list", "--state-dir", "/nonexistent", NULL}, 1},
		{{"initdata", "decode", "/nonexistent", NULL}, 1},
		{{"choose", "--vcpu", "many", NULL}, 2},
		{{"choose", "--memory", "16", NULL}, 2},
		{{"choose", "--tee", "sgx", NULL}, 2},
	};
	unsetenv("CLOUD_PROVIDER");
	for (size_t n = 0; n < array_size(cases); n++) {
		int argc = 0;
		while (cases[n].line[argc])
			argc++;
		assert_int_equal(command_run(argc, (char *const *)cases[n].line), cases[n].status);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words_and_options_are_told_apart),
		cmocka_unit_test(test_amounts_of_memory),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_tables_are_aligned_and_steer_no_terminal),
		cmocka_unit_test(test_ages),
		cmocka_unit_test(test_a_request_is_a_line_of_json),
		cmocka_unit_test(test_bad_requests_say_what_is_wrong),
		cmocka_unit_test(test_offline_joins_the_saved_catalogue_and_the_prices),
		cmocka_unit_test(test_progress_is_told_on_standard_error),
		cmocka_unit_test(test_exit_statuses),
	};
	return cmocka_run_group_tests_name("peerpodctl", tests, NULL, NULL);
}
