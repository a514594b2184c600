/* SPDX-License-Identifier: Apache-2.0 */
/* option_test.c - options: precedence, Go-style flags, and the exact text of every refusal */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/bound.h"
#include "base/option.h"

struct values {
	char *text, *mode;
	bool flag;
	int64_t number;
	uint64_t time_ns;
	struct secret key;
};

static const char *const modes[] = {"auto", "kvm", NULL};
static const struct option table[] = {
	{"text", "TEXT", "hello", "a text", offsetof(struct values, text), OPTION_STRING,
		.required = true},
	{"mode", "MODE", "auto", "a choice", offsetof(struct values, mode), OPTION_ENUM,
		.choices = modes},
	{"flag", "FLAG", NULL, "a switch", offsetof(struct values, flag), OPTION_BOOL},
	{"number", "NUMBER", "7", "a number", offsetof(struct values, number), OPTION_INT,
		.min = -1, .max = 99},
	{"time", "TIME", "5m0s", "a time", offsetof(struct values, time_ns), OPTION_DURATION},
	{NULL, "KEY", NULL, "a secret", offsetof(struct values, key), OPTION_SECRET},
};

static const char *environment[8][2];

static const char *fake_getenv(const char *name)
{
	for (size_t i = 0; i < array_size(environment) && environment[i][0]; i++) {
		if (!strcmp(environment[i][0], name))
			return environment[i][1];
	}
	return NULL;
}

static int parse(struct values *v, const char *const *argv, struct error *err)
{
	*v = (struct values){0};
	struct option_set set = {"Options", table, array_size(table), v};
	int argc = 0;
	while (argv[argc])
		argc++;
	bool help;
	return options_parse(&set, 1, argc, (char *const *)argv, fake_getenv, &help, err);
}

static void free_values(struct values *v)
{
	struct option_set set = {"Options", table, array_size(table), v};
	options_free(&set, 1);
}

/* As upstream reads it: existing ConfigMaps have units where the unit is fixed. */
static void test_a_word_behind_an_integer_of_the_environment_does_not_count(void **state)
{
	(void)state;
	memset(environment, 0, sizeof(environment));
	environment[0][0] = "TEXT", environment[0][1] = "text";
	environment[1][0] = "NUMBER", environment[1][1] = "30GiB";
	struct values v;
	cleanup_error err = ERROR_INIT;
	const char *argv[] = {NULL};
	assert_int_equal(parse(&v, argv, &err), 0);
	assert_int_equal(v.number, 30);
	free_values(&v);
}

static void test_flag_beats_environment_beats_default(void **state)
{
	(void)state;
	memset(environment, 0, sizeof(environment));
	environment[0][0] = "TEXT", environment[0][1] = "from-env";
	environment[1][0] = "NUMBER", environment[1][1] = "";
	environment[2][0] = "FLAG", environment[2][1] = "True";
	environment[3][0] = "KEY", environment[3][1] = "hush";
	struct values v;
	cleanup_error err = ERROR_INIT;
	const char *argv[] = {"--mode=kvm", "-time", "1h2m3.5s", NULL};
	assert_int_equal(parse(&v, argv, &err), 0);
	assert_string_equal(v.text, "from-env");
	assert_string_equal(v.mode, "kvm");
	assert_true(v.flag);
	assert_int_equal(v.number, 7);
	assert_int_equal(v.time_ns, 3723500 * NS_PER_MS);
	assert_string_equal(secret_reveal(&v.key), "hush");
	free_values(&v);

	const char *override[] = {"-text", "from-flag", "-flag=false", NULL};
	assert_int_equal(parse(&v, override, &err), 0);
	assert_string_equal(v.text, "from-flag");
	assert_false(v.flag);
	free_values(&v);
}

static void test_booleans_are_written_as_go_does(void **state)
{
	(void)state;
	static const struct {
		const char *argument, *env;
		bool expected;
	} rows[] = {
		{"-flag", NULL, true},
		{"-flag=1", NULL, true},
		{"-flag=t", NULL, true},
		{"-flag=T", NULL, true},
		{"--flag=TRUE", NULL, true},
		{"-flag=0", "1", false},
		{"-flag=f", "1", false},
		{"-flag=F", "1", false},
		{"-flag=False", "1", false},
		{NULL, "TRUE", true},
		{NULL, "1", true},
		{NULL, "t", false},
		{NULL, "yes", false},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		struct values v;
		const char *argv[] = {"-text=x", rows[i].argument, NULL};
		memset(environment, 0, sizeof(environment));
		environment[0][0] = rows[i].env ? "FLAG" : NULL, environment[0][1] = rows[i].env;
		assert_int_equal(parse(&v, argv, NULL), 0);
		assert_int_equal(v.flag, rows[i].expected);
		free_values(&v);
	}
}

static void test_refusals_name_the_option(void **state)
{
	(void)state;
	static const struct {
		const char *arguments[3], *env[2], *message;
	} cases[] = {
		{{"-nope"}, {0}, "unknown option -nope: --help lists what there is"},
		{{"stray"}, {0}, "unexpected argument \"stray\": options begin with a dash"},
		{{"-text"}, {0}, "option -text needs a value"},
		{{"-text="}, {0}, "option -text (TEXT) is required and not set: a text"},
		{{"-number", "many"}, {0}, "option -number (NUMBER): \"many\" is no whole number"},
		{{"-number", "100"}, {0}, "option -number (NUMBER): 100 is not between -1 and 99"},
		{{"-number", "30GiB"}, {0},
			"option -number (NUMBER): \"30GiB\" is no whole number"},
		{{NULL}, {"NUMBER", "1.5"}, "option -number (NUMBER): \"1.5\" is no whole number"},
		{{NULL}, {"NUMBER", "1e3"}, "option -number (NUMBER): \"1e3\" is no whole number"},
		{{NULL}, {"NUMBER", "GiB"}, "option -number (NUMBER): \"GiB\" is no whole number"},
		{{"-mode", "xen"}, {0}, "option -mode (MODE): \"xen\" is none of: auto, kvm"},
		{{"-flag=maybe"}, {0}, "option -flag (FLAG): \"maybe\" is neither true nor false"},
		{{"-time", "5"}, {0},
			"option -time (TIME): \"5\" is no duration: write it like 5m, 1h30m or 200ms"},
		{{NULL}, {"TIME", "soon"},
			"option -time (TIME): \"soon\" is no duration: write it like 5m, 1h30m or 200ms"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		memset(environment, 0, sizeof(environment));
		environment[0][0] = cases[i].env[0], environment[0][1] = cases[i].env[1];
		struct values v;
		cleanup_error err = ERROR_INIT;
		assert_int_equal(parse(&v, cases[i].arguments, &err), -1);
		assert_string_equal(error_message(&err), cases[i].message);
		assert_int_equal(err.kind, ERROR_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flag_beats_environment_beats_default),
		cmocka_unit_test(test_a_word_behind_an_integer_of_the_environment_does_not_count),
		cmocka_unit_test(test_booleans_are_written_as_go_does),
		cmocka_unit_test(test_refusals_name_the_option),
	};
	return cmocka_run_group_tests_name("option", tests, NULL, NULL);
}
