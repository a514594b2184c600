/* SPDX-License-Identifier: Apache-2.0 */
/* fallback_test.c - one offering after the other while there is no room, and what is remembered of it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "providers/choice/fallback.h"

/* Cheapest first, so that the order of the ranking is the order here. */
static const struct offering offerings[] = {
	{"m.small", "m", "z1", true, 2, 8192, 0, 0, 0, 0, 1},
	{"m.small", "m", "z1", false, 2, 8192, 0, 0, 0, 0, 2},
	{"m.large", "m", "z2", false, 4, 16384, 0, 0, 0, 0, 3},
	{"c.large", "c", "", false, 4, 16384, 0, 0, 0, 0, 4},
};
static const char *const all[] = {"m.small", "m.large", "c.large", NULL};
static const struct choice_request wish = {.vcpus = 2,
	.memory_mib = 4096,
	.allowed = all,
	.spot = true,
	.on_demand = true};

struct script {
	enum error_kind kinds[4]; /* by offering; ERROR_NONE: it works */
	size_t tried[4];
	size_t count;
};

static int make(void *with, const struct offering *offering, const struct bound *bound,
	struct error *err)
{
	struct script *script = with;
	size_t n = 0;
	(void)bound;
	while (strcmp(offerings[n].type, offering->type) != 0 ||
		offerings[n].spot != offering->spot)
		n++;
	assert_true(script->count < array_size(script->tried));
	script->tried[script->count++] = n;
	if (script->kinds[n] == ERROR_NONE)
		return 0;
	return error_set(err, script->kinds[n], "refusal %zu", n);
}

static int attempt(struct script *script, struct choice_memory *memory, struct error *err)
{
	struct choice choice;
	struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S)};
	int result = choice_rank(offerings, array_size(offerings), &wish, memory, &choice, err);
	if (result == 0)
		result = choice_try("test", &choice, memory, make, script, &bound, err);
	choice_free(&choice);
	return result;
}

static void test_what_is_tried_and_where_it_ends(void **state)
{
	(void)state;
	static const struct {
		const char *what;
		enum error_kind kinds[4];
		const char *tried; /* a digit for each */
		const char *wrong; /* NULL: an instance */
		enum error_kind kind;
	} cases[] = {
		{"the first has room", {ERROR_NONE}, "0", NULL, ERROR_NONE},
		{"no capacity: the next one", {ERROR_CAPACITY}, "01", NULL, ERROR_NONE},
		{"no capacity twice", {ERROR_CAPACITY, ERROR_CAPACITY}, "012", NULL, ERROR_NONE},
		{"a quota of spot says nothing about on-demand", {ERROR_QUOTA}, "01", NULL,
			ERROR_NONE},
		{"a quota of a family leaves the family", {ERROR_CAPACITY, ERROR_QUOTA}, "013",
			NULL, ERROR_NONE},
		{"another failure ends it", {ERROR_CAPACITY, ERROR_DENIED}, "01",
			"m.small in z1: refusal 1", ERROR_DENIED},
		{"a passing fault ends it, too: the caller repeats", {ERROR_RETRY}, "0",
			"m.small in z1: refusal 0", ERROR_RETRY},
		{"no room anywhere",
			{ERROR_CAPACITY, ERROR_CAPACITY, ERROR_CAPACITY, ERROR_CAPACITY}, "0123",
			"no room for any of the 4 offerings that fit; the last: refusal 3",
			ERROR_CAPACITY},
		{"no quota anywhere", {ERROR_QUOTA, ERROR_QUOTA, ERROR_NONE, ERROR_QUOTA}, "013",
			"no room for any of the 4 offerings that fit; the last: refusal 3",
			ERROR_QUOTA},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct script script = {0};
		struct choice_memory *memory = choice_memory_new(NULL);
		cleanup_error err = ERROR_INIT;
		char tried[5] = "";
		memcpy(script.kinds, cases[i].kinds, sizeof(script.kinds));
		int result = attempt(&script, memory, &err);
		for (size_t n = 0; n < script.count; n++)
			tried[n] = (char)('0' + script.tried[n]);
		if (strcmp(tried, cases[i].tried) != 0)
			fail_msg("%s: tried %s, not %s", cases[i].what, tried, cases[i].tried);
		assert_int_equal(result, cases[i].wrong ? -1 : 0);
		assert_int_equal(err.kind, cases[i].kind);
		assert_string_equal(error_message(&err),
			cases[i].wrong ? cases[i].wrong : "no error");
		choice_memory_free(memory);
	}
}

static bool same_letter(const char *zone, const char *other)
{
	return *zone == *other;
}

/* Of one family: two zones of a region, then one of another; on-demand, but for the last. */
static const struct offering regions[] = {
	{"m.small", "m", "a1", false, 2, 8192, 0, 0, 0, 0, 1},
	{"m.large", "m", "a2", false, 4, 16384, 0, 0, 0, 0, 2},
	{"m.small", "m", "b1", false, 2, 8192, 0, 0, 0, 0, 3},
	{"m.small", "m", "a1", true, 2, 8192, 0, 0, 0, 0, 4},
};

static int refuse_region_a(void *with, const struct offering *offering, const struct bound *bound,
	struct error *err)
{
	struct buf *tried = with;
	(void)bound;
	buf_printf(tried, "%s%s,", offering->zone, offering->spot ? " spot" : "");
	return *offering->zone != 'a' ? 0 : error_set(err, ERROR_QUOTA, "no quota");
}

static void test_a_quota_counts_within_its_region(void **state)
{
	(void)state;
	static const struct {
		choice_same_region *same_region;
		const char *tried[2]; /* the second time, after what is remembered of the first */
		int result;
	} cases[] = {
		{same_letter, {"a1,b1,", "b1,"}, 0},
		{NULL, {"a1,a1 spot,", ""}, -1},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct choice_memory *memory = choice_memory_new(cases[i].same_region);
		struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S)};
		for (size_t n = 0; n < array_size(cases[i].tried); n++) {
			cleanup(buf_free) struct buf tried = BUF_INIT;
			struct choice choice;
			int result = choice_rank(regions, array_size(regions), &wish, memory,
				&choice, NULL);
			if (result == 0)
				result = choice_try("test", &choice, memory, refuse_region_a,
					&tried, &bound, NULL);
			assert_int_equal(result, cases[i].result);
			assert_string_equal(buf_text(&tried), cases[i].tried[n]);
			choice_free(&choice);
		}
		choice_memory_free(memory);
	}
}

static void test_a_refusal_is_not_asked_for_again(void **state)
{
	(void)state;
	struct choice_memory *memory = choice_memory_new(NULL);
	struct script first = {.kinds = {ERROR_QUOTA, ERROR_CAPACITY}}, second = {0};
	assert_int_equal(attempt(&first, memory, NULL), 0);
	assert_int_equal(first.count, 3);
	assert_int_equal(attempt(&second, memory, NULL), 0);
	assert_int_equal(second.count, 1);
	assert_int_equal(second.tried[0], 2);
	choice_memory_free(memory);
}

static void test_other_failures_are_not_remembered(void **state)
{
	(void)state;
	struct choice_memory *memory = choice_memory_new(NULL);
	struct script first = {.kinds = {ERROR_DENIED}}, second = {0};
	assert_int_equal(attempt(&first, memory, NULL), -1);
	assert_int_equal(attempt(&second, memory, NULL), 0);
	assert_int_equal(second.tried[0], 0);
	choice_memory_free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_tried_and_where_it_ends),
		cmocka_unit_test(test_a_quota_counts_within_its_region),
		cmocka_unit_test(test_a_refusal_is_not_asked_for_again),
		cmocka_unit_test(test_other_failures_are_not_remembered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
