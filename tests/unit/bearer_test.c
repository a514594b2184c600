/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bearer_test.c - one token for all: fetched once, renewed in time, given up when refused
 *
 * The clock that bearer.c reads is the real one and what a test adds to it (the linker's --wrap): an hour passes at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "http/bearer.h"

#define MINUTE (60 * NS_PER_S)
#define HOUR (60 * MINUTE)

uint64_t __real_clock_ns(void);
uint64_t __wrap_clock_ns(void);
static atomic_ullong ahead;

uint64_t __wrap_clock_ns(void)
{
	return __real_clock_ns() + ahead;
}

/* Who gives tokens out: "token-1", "token-2" ... */
static struct {
	atomic_uint fetches, at_once, most_at_once;
	uint64_t lives_ns;
	enum error_kind failure;
	struct cancel *entered, *go_on; /* where set: fired by a fetch, waited for by it */
	uint64_t left_ns;               /* of the last fetch's bound */
} issuer;

static int fetch(void *with, struct secret *token, uint64_t *lives_ns, const struct bound *bound,
	struct error *err)
{
	char text[32];
	assert_ptr_equal(with, &issuer);
	unsigned number = ++issuer.fetches, now = ++issuer.at_once;
	issuer.left_ns = bound_left_ns(bound);
	if (now > issuer.most_at_once)
		issuer.most_at_once = now;
	if (issuer.entered)
		cancel_fire(issuer.entered);
	int result = issuer.go_on && bound_poll(bound, cancel_fd(issuer.go_on), POLLIN,
					     "the issuer", err) < 0
			     ? -1
			     : 0;
	issuer.at_once--;
	if (result == 0 && issuer.failure != ERROR_NONE)
		result = error_set(err, issuer.failure, "the issuer is not well");
	if (result < 0)
		return -1;
	snprintf(text, sizeof(text), "token-%u", number);
	*lives_ns = issuer.lives_ns;
	return secret_set(token, text, strlen(text)) ? 0 : -1;
}

static struct bearer *bearer;

static int begin(void **state)
{
	(void)state;
	memset(&issuer, 0, sizeof(issuer));
	issuer.lives_ns = HOUR;
	ahead = 0;
	bearer = bearer_new("test", fetch, &issuer);
	return bearer ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	bearer_free(bearer);
	if (issuer.entered)
		cancel_unref(issuer.entered);
	if (issuer.go_on)
		cancel_unref(issuer.go_on);
	return 0;
}

static struct bound ten_seconds(void)
{
	return (struct bound){.deadline_ns = deadline_in(10 * NS_PER_S)};
}

static void expect(const char *expected)
{
	struct bound bound = ten_seconds();
	cleanup_secret token = SECRET_INIT;
	cleanup_error err = ERROR_INIT;
	if (bearer_get(bearer, &token, &bound, &err) < 0)
		fail_msg("%s", error_message(&err));
	assert_string_equal(secret_reveal(&token), expected);
}

static void expect_failure(enum error_kind kind, const char *message)
{
	struct bound bound = ten_seconds();
	cleanup_secret token = SECRET_INIT;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(bearer_get(bearer, &token, &bound, &err), -1);
	assert_int_equal(err.kind, kind);
	assert_string_equal(error_message(&err), message);
	assert_true(secret_is_empty(&token));
}

static void *expect_first(void *opaque)
{
	(void)opaque;
	expect("token-1");
	return NULL;
}

static void test_many_threads_cost_one_fetch(void **state)
{
	(void)state;
	pthread_t threads[50];
	struct bound bound = ten_seconds();
	issuer.entered = cancel_new();
	issuer.go_on = cancel_new();
	for (size_t i = 0; i < array_size(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, expect_first, NULL), 0);
	assert_true(bound_poll(&bound, cancel_fd(issuer.entered), POLLIN, "fetch", NULL) > 0);
	cancel_fire(issuer.go_on);
	for (size_t i = 0; i < array_size(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(issuer.fetches, 1);
	assert_int_equal(issuer.most_at_once, 1);
}

static void test_it_is_renewed_before_its_end(void **state)
{
	(void)state;
	static const struct {
		uint64_t lives_ns, kept_ns, renewed_ns;
	} cases[] = {
		{HOUR, 54 * MINUTE, 55 * MINUTE}, {2 * HOUR, 114 * MINUTE, 115 * MINUTE},
		{24 * HOUR, 11 * HOUR, 12 * HOUR}, /* long lives: at half of them */
		{4 * MINUTE, 2 * MINUTE, 3 * MINUTE},
		{0, 3 * MINUTE, 4 * MINUTE}, /* unknown: as five minutes */
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		end(state);
		begin(state);
		issuer.lives_ns = cases[i].lives_ns;
		expect("token-1");
		ahead = cases[i].kept_ns;
		expect("token-1");
		ahead = cases[i].renewed_ns;
		expect("token-2");
		assert_int_equal(issuer.fetches, 2);
	}
}

static void *expect_second(void *opaque)
{
	(void)opaque;
	expect("token-2");
	return NULL;
}

static void test_nobody_waits_for_a_renewal_but_who_makes_it(void **state)
{
	(void)state;
	pthread_t renewer;
	struct bound bound = ten_seconds();
	expect("token-1");
	ahead = 56 * MINUTE;
	issuer.entered = cancel_new();
	issuer.go_on = cancel_new();
	assert_int_equal(pthread_create(&renewer, NULL, expect_second, NULL), 0);
	assert_true(bound_poll(&bound, cancel_fd(issuer.entered), POLLIN, "fetch", NULL) > 0);
	for (int i = 0; i < 10; i++)
		expect("token-1"); /* while the issuer thinks */
	cancel_fire(issuer.go_on);
	pthread_join(renewer, NULL);
	expect("token-2");
	assert_int_equal(issuer.fetches, 2);
}

static void test_a_failed_renewal_costs_nothing_while_the_old_one_is_good(void **state)
{
	(void)state;
	expect("token-1");
	issuer.failure = ERROR_RETRY;
	ahead = 56 * MINUTE;
	for (int i = 0; i < 10; i++)
		expect("token-1");
	assert_int_equal(issuer.fetches, 2); /* not for every call */
	ahead += 31 * NS_PER_S;
	expect("token-1");
	assert_int_equal(issuer.fetches, 3);
	issuer.failure = ERROR_NONE;
	ahead += 31 * NS_PER_S;
	expect("token-4");
}

static void test_without_a_good_token_the_failure_is_the_answer(void **state)
{
	(void)state;
	issuer.failure = ERROR_DENIED;
	expect_failure(ERROR_DENIED, "the issuer is not well");
	issuer.failure = ERROR_NONE;
	expect("token-2"); /* at once: there is nothing to wait with */
	issuer.failure = ERROR_RETRY;
	ahead = HOUR;
	expect_failure(ERROR_RETRY, "the issuer is not well");
}

static void test_a_refused_token_is_fetched_anew_once(void **state)
{
	(void)state;
	struct bound bound = ten_seconds();
	cleanup_secret first = SECRET_INIT;
	assert_int_equal(bearer_get(bearer, &first, &bound, NULL), 0);
	bearer_refuse(bearer, &first);
	expect("token-2");
	/* A second thread's call with the old one is refused, too: that says nothing about the new one. */
	bearer_refuse(bearer, &first);
	expect("token-2");
	assert_int_equal(issuer.fetches, 2);
}

static void test_a_refusal_before_any_token_is_harmless(void **state)
{
	(void)state;
	cleanup_secret other = SECRET_INIT;
	bearer_refuse(bearer, &other);
	expect("token-1");
	assert_true(secret_set(&other, "token-", 6));
	bearer_refuse(bearer, &other);
	expect("token-1");
}

static void test_a_token_that_has_ended_on_arrival_is_no_token(void **state)
{
	(void)state;
	issuer.lives_ns = 1;
	expect_failure(ERROR_DENIED, "test: the token that was fetched has ended already");
}

static void test_a_fetch_takes_no_more_than_half_a_minute(void **state)
{
	(void)state;
	cleanup_secret token = SECRET_INIT;
	struct bound bound = BOUND_NONE;
	assert_int_equal(bearer_get(bearer, &token, &bound, NULL), 0);
	assert_in_range(issuer.left_ns, 1, 30 * NS_PER_S);
}

static void test_a_renewal_leaves_time_to_use_the_old_one(void **state)
{
	(void)state;
	expect("token-1");
	issuer.go_on = cancel_new(); /* never fired: the issuer hangs */
	ahead = 56 * MINUTE;
	struct bound bound = {.deadline_ns = deadline_in(400 * NS_PER_MS)};
	cleanup_secret token = SECRET_INIT;
	assert_int_equal(bearer_get(bearer, &token, &bound, NULL), 0);
	assert_string_equal(secret_reveal(&token), "token-1");
	assert_in_range(issuer.left_ns, 1, 200 * NS_PER_MS);
	assert_true(bound_left_ns(&bound) > 0);
	ahead += 31 * NS_PER_S;
	issuer.failure = ERROR_RETRY;
	cancel_fire(issuer.go_on);
	expect("token-1");
	assert_in_range(issuer.left_ns, 1, 5 * NS_PER_S);
}

static void test_who_waits_for_another_ones_fetch_gives_up_at_its_own_bound(void **state)
{
	(void)state;
	pthread_t fetcher;
	struct bound bound = ten_seconds();
	cleanup_secret token = SECRET_INIT;
	cleanup_error err = ERROR_INIT;
	struct cancel *cancel = cancel_new();
	issuer.entered = cancel_new();
	issuer.go_on = cancel_new();
	assert_int_equal(pthread_create(&fetcher, NULL, expect_first, NULL), 0);
	assert_true(bound_poll(&bound, cancel_fd(issuer.entered), POLLIN, "fetch", NULL) > 0);
	struct bound given_up = {.deadline_ns = DEADLINE_NEVER, .cancel = cancel};
	cancel_fire(cancel);
	assert_int_equal(bearer_get(bearer, &token, &given_up, &err), -1);
	assert_int_equal(err.kind, ERROR_CANCELED);
	cancel_fire(issuer.go_on);
	pthread_join(fetcher, NULL);
	assert_int_equal(issuer.fetches, 1);
	cancel_unref(cancel);
}

int main(void)
{
#define BEARER_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		BEARER_TEST(test_many_threads_cost_one_fetch),
		BEARER_TEST(test_it_is_renewed_before_its_end),
		BEARER_TEST(test_nobody_waits_for_a_renewal_but_who_makes_it),
		BEARER_TEST(test_a_failed_renewal_costs_nothing_while_the_old_one_is_good),
		BEARER_TEST(test_without_a_good_token_the_failure_is_the_answer),
		BEARER_TEST(test_a_refused_token_is_fetched_anew_once),
		BEARER_TEST(test_a_refusal_before_any_token_is_harmless),
		BEARER_TEST(test_a_token_that_has_ended_on_arrival_is_no_token),
		BEARER_TEST(test_a_fetch_takes_no_more_than_half_a_minute),
		BEARER_TEST(test_a_renewal_leaves_time_to_use_the_old_one),
		BEARER_TEST(test_who_waits_for_another_ones_fetch_gives_up_at_its_own_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
