/* SPDX-License-Identifier: Apache-2.0 */
/* calls_test.c - the table of calls in flight, against a plain list */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "vsock-proxy/calls.h"

static void test_finds_what_was_added_until_it_is_removed(void **state)
{
	(void)state;
	struct calls calls = {0};
	assert_null(calls_find(&calls, 1));
	for (uint32_t id = 1; id < 2001; id += 2)
		calls_add(&calls, id)->front_id = id * 10;
	assert_int_equal(calls.count, 1000);
	for (uint32_t id = 1; id < 2001; id += 2)
		assert_int_equal(calls_find(&calls, id)->front_id, id * 10);
	assert_null(calls_find(&calls, 2001));
	for (uint32_t id = 1; id < 2001; id += 4)
		calls_remove(&calls, calls_find(&calls, id));
	for (uint32_t id = 1; id < 2001; id += 2)
		assert_int_equal(calls_find(&calls, id) != NULL, id % 4 == 3);
	calls_free(&calls);
}

/* Long-lived calls among short ones: the ring wraps round them again and again. */
static void test_random_life_agrees_with_a_list(void **state)
{
	(void)state;
	enum { LIVE = 60 };
	struct calls calls = {0};
	uint32_t live[LIVE] = {0};
	uint64_t dice = 88172645463325252u;
	uint32_t next = UINT32_MAX - 20001; /* and over the end of the numbers */
	for (int step = 0; step < 200000; step++) {
		dice ^= dice << 13;
		dice ^= dice >> 7;
		dice ^= dice << 17;
		size_t i = (size_t)(dice % LIVE);
		if (i > 50 && step % 16) /* ten of them stay for long */
			continue;
		if (live[i]) {
			struct call *call = calls_find(&calls, live[i]);
			assert_non_null(call);
			assert_int_equal(call->front_id, live[i]);
			calls_remove(&calls, call);
			live[i] = 0;
		} else {
			next += 2;
			if (next == 1)
				next = 3;
			live[i] = next | 1;
			calls_add(&calls, live[i])->front_id = live[i];
		}
	}
	size_t expected = 0, at = 0, seen = 0;
	for (size_t i = 0; i < LIVE; i++)
		expected += live[i] != 0;
	while (calls_next(&calls, &at))
		seen++;
	assert_int_equal(seen, expected);
	assert_int_equal(calls.count, expected);
	assert_in_range(calls.capacity, 8, 128);
	calls_free(&calls);
}

static void test_removing_while_walking_misses_none(void **state)
{
	(void)state;
	struct front *mine = (struct front *)&calls_free, *other = (struct front *)&calls_add;
	for (uint32_t first = 1; first < 65; first += 2) {
		struct calls calls = {0};
		for (uint32_t id = first; id < first + 40; id += 2)
			calls_add(&calls, id * 17 | 1)->front = id % 3 ? mine : other;
		size_t at = 0;
		struct call *call;
		while ((call = calls_next(&calls, &at))) {
			if (call->front != mine)
				continue;
			calls_remove(&calls, call);
			at--;
		}
		at = 0;
		while ((call = calls_next(&calls, &at)))
			assert_ptr_equal(call->front, other);
		calls_free(&calls);
	}
}

static void test_an_empty_table_gives_its_memory_back(void **state)
{
	(void)state;
	struct calls calls = {0};
	for (uint32_t id = 1; id < 1001; id += 2)
		calls_add(&calls, id)->copy = malloc(10);
	for (uint32_t id = 1; id < 1001; id += 2)
		calls_remove(&calls, calls_find(&calls, id));
	assert_null(calls.slots);
	assert_null(calls_find(&calls, 1));
	assert_non_null(calls_add(&calls, 5));
	calls_free(&calls);
}

static void test_finds_the_call_of_a_front(void **state)
{
	(void)state;
	struct calls calls = {0};
	struct front *one = (struct front *)&calls_free, *two = (struct front *)&calls_add;
	struct call *call = calls_add(&calls, 101);
	call->front = one;
	call->front_id = 7;
	call = calls_add(&calls, 103);
	call->front = two;
	call->front_id = 7;
	assert_int_equal(calls_find_front(&calls, one, 7)->id, 101);
	assert_int_equal(calls_find_front(&calls, two, 7)->id, 103);
	assert_null(calls_find_front(&calls, one, 9));
	calls_free(&calls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_what_was_added_until_it_is_removed),
		cmocka_unit_test(test_random_life_agrees_with_a_list),
		cmocka_unit_test(test_removing_while_walking_misses_none),
		cmocka_unit_test(test_an_empty_table_gives_its_memory_back),
		cmocka_unit_test(test_finds_the_call_of_a_front),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
