/* SPDX-License-Identifier: Apache-2.0 */
/* attempt_test.c - which failed calls are sent again, how often, and after how long */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "http/attempt.h"

static void test_only_what_may_pass_is_sent_again(void **state)
{
	(void)state;
	static const struct {
		enum error_kind kind;
		bool again;
	} cases[] = {
		{ERROR_RETRY, true},
		{ERROR_THROTTLED, true},
		{ERROR_INTERNAL, false},
		{ERROR_INVALID, false},
		{ERROR_GONE, false},
		{ERROR_EXISTS, false},
		{ERROR_DENIED, false},
		{ERROR_CAPACITY, false},
		{ERROR_QUOTA, false},
		{ERROR_TIMEOUT, false},
		{ERROR_CANCELED, false},
		{ERROR_UNSUPPORTED, false},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct attempt attempt = {.who = "test", .first_ns = 1, .most_ns = 1};
		struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S)};
		const struct error failed = {.kind = cases[i].kind};
		assert_int_equal(attempt_again(&attempt, 0, &bound, &failed), cases[i].again);
	}
}

static void test_a_passing_fault_is_tried_so_often(void **state)
{
	(void)state;
	static const struct {
		unsigned faults_max, tries;
	} cases[] = {{0, 4}, {1, 1}, {2, 2}, {7, 7}};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct attempt attempt = {.who = "test",
			.faults_max = cases[i].faults_max,
			.first_ns = 1,
			.most_ns = 1};
		struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S)};
		const struct error failed = {.kind = ERROR_RETRY};
		unsigned tries = 1;
		while (attempt_again(&attempt, 0, &bound, &failed))
			tries++;
		assert_int_equal(tries, cases[i].tries);
	}
}

static void test_what_is_throttled_is_sent_until_the_bound_ends(void **state)
{
	(void)state;
	struct attempt attempt = {.who = "test", .first_ns = NS_PER_MS, .most_ns = 4 * NS_PER_MS};
	struct bound bound = {.deadline_ns = deadline_in(200 * NS_PER_MS)};
	const struct error failed = {.kind = ERROR_THROTTLED};
	unsigned tries = 0;
	while (attempt_again(&attempt, 0, &bound, &failed))
		tries++;
	assert_true(tries > 10); /* far more than a passing fault would get */
	assert_int_equal(attempt.throttled, tries + 1);
	assert_int_equal(attempt.faults, 0);
}

static void test_the_peers_wish_for_a_pause_is_obeyed(void **state)
{
	(void)state;
	static const enum error_kind kinds[] = {ERROR_RETRY, ERROR_THROTTLED};
	for (size_t i = 0; i < array_size(kinds); i++) {
		struct attempt attempt = {.who = "test", .first_ns = 1, .most_ns = 1};
		struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S)};
		const struct error failed = {.kind = kinds[i]};
		uint64_t began = clock_ns();
		assert_true(attempt_again(&attempt, 50 * NS_PER_MS, &bound, &failed));
		assert_true(clock_ns() - began >= 50 * NS_PER_MS);
	}
}

static void test_a_pause_that_ends_too_late_is_not_begun(void **state)
{
	(void)state;
	static const enum error_kind kinds[] = {ERROR_RETRY, ERROR_THROTTLED};
	for (size_t i = 0; i < array_size(kinds); i++) {
		struct attempt attempt = {.who = "test"};
		struct bound bound = {.deadline_ns = deadline_in(1000 * NS_PER_S)};
		const struct error failed = {.kind = kinds[i]};
		uint64_t began = clock_ns();
		assert_false(attempt_again(&attempt, 2000 * NS_PER_S, &bound, &failed));
		assert_true(clock_ns() - began < 500 * NS_PER_S);
	}
}

static void test_a_pause_ends_when_the_caller_gives_up(void **state)
{
	(void)state;
	struct cancel *cancel = cancel_new();
	struct attempt attempt = {.who = "test"};
	struct bound bound = {.deadline_ns = deadline_in(1000 * NS_PER_S), .cancel = cancel};
	const struct error failed = {.kind = ERROR_RETRY};
	cancel_fire(cancel);
	assert_false(attempt_again(&attempt, 900 * NS_PER_S, &bound, &failed));
	cancel_unref(cancel);
}

static void test_one_that_is_throttled_slows_down_all_that_share_the_throttle(void **state)
{
	(void)state;
	struct throttle *throttle = throttle_new("calls", 1000, 100);
	struct attempt attempt = {.who = "test", .throttle = throttle, .first_ns = 1, .most_ns = 1};
	struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S)};
	const struct error failed = {.kind = ERROR_THROTTLED};
	uint64_t began = clock_ns();
	assert_true(attempt_again(&attempt, 100 * NS_PER_MS, &bound, &failed));
	/* The wait is the throttle's: it comes with the next turn, for whoever takes it. */
	assert_int_equal(throttle_take(throttle, &bound, NULL), 0);
	assert_true(clock_ns() - began >= 100 * NS_PER_MS);
	throttle_free(throttle);
}

static void test_the_first_looks_are_close_together_and_the_rest_3_s_apart(void **state)
{
	(void)state;
	static const unsigned ms[] = {250, 500, 1000, 1000, 2000, 2000, 3000, 3000};
	for (unsigned n = 0; n < array_size(ms); n++)
		assert_int_equal(poll_pause_ns(n), ms[n] * NS_PER_MS);
	assert_int_equal(poll_pause_ns(UINT32_MAX), 3 * NS_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_what_may_pass_is_sent_again),
		cmocka_unit_test(test_a_passing_fault_is_tried_so_often),
		cmocka_unit_test(test_what_is_throttled_is_sent_until_the_bound_ends),
		cmocka_unit_test(test_the_peers_wish_for_a_pause_is_obeyed),
		cmocka_unit_test(test_a_pause_that_ends_too_late_is_not_begun),
		cmocka_unit_test(test_a_pause_ends_when_the_caller_gives_up),
		cmocka_unit_test(test_one_that_is_throttled_slows_down_all_that_share_the_throttle),
		cmocka_unit_test(test_the_first_looks_are_close_together_and_the_rest_3_s_apart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
