/* SPDX-License-Identifier: Apache-2.0 */
/* thread_test.c - groups of threads, waited for until nothing of them is left */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/thread.h"

#define THREADS 20

static pthread_key_t key;
static atomic_int worked, destroyed;

/* Slow, so that a group which counts functions that returned sees too few. */
static void destroy(void *value)
{
	(void)value;
	nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
	atomic_fetch_add(&destroyed, 1);
}

static void use_thread_local_data(void *argument)
{
	pthread_setspecific(key, argument);
	atomic_fetch_add(&worked, 1);
}

static void test_a_joined_group_has_destroyed_its_thread_local_data(void **state)
{
	(void)state;
	struct threads group = THREADS_INIT;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(pthread_key_create(&key, destroy), 0);
	for (int round = 1; round <= 2; round++) {
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(threads_start(&group, 0, use_thread_local_data, &group,
						 &err),
				0);
		threads_join(&group);
		assert_int_equal(atomic_load(&worked), round * THREADS);
		assert_int_equal(atomic_load(&destroyed), round * THREADS);
	}
	threads_join(&group); /* of nobody */
	pthread_key_delete(key);
}

struct chain {
	struct threads group;
	atomic_int left;
};

static void start_next(void *argument)
{
	struct chain *chain = argument;
	if (atomic_fetch_sub(&chain->left, 1) > 1)
		assert_int_equal(threads_start(&chain->group, 0, start_next, chain, NULL), 0);
}

static void test_threads_that_threads_start_are_waited_for(void **state)
{
	(void)state;
	struct chain chain = {.group = THREADS_INIT, .left = THREADS};
	assert_int_equal(threads_start(&chain.group, 0, start_next, &chain, NULL), 0);
	threads_join(&chain.group);
	assert_int_equal(atomic_load(&chain.left), 0);
}

static void take_mask(void *argument)
{
	pthread_sigmask(SIG_SETMASK, NULL, argument);
}

static void test_threads_take_no_signals(void **state)
{
	(void)state;
	struct threads group = THREADS_INIT;
	sigset_t mask, ours;
	sigemptyset(&mask);
	assert_int_equal(threads_start(&group, 0, take_mask, &mask, NULL), 0);
	threads_join(&group);
	assert_true(sigismember(&mask, SIGTERM) && sigismember(&mask, SIGUSR1));
	pthread_sigmask(SIG_SETMASK, NULL, &ours);
	assert_false(sigismember(&ours, SIGTERM));
}

static void test_a_thread_that_cannot_start_leaves_the_group_empty(void **state)
{
	(void)state;
	struct threads group = THREADS_INIT;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(threads_start(&group, 1, take_mask, NULL, &err),
		-1); /* a stack of one byte */
	assert_string_equal(error_message(&err), "start a thread: Invalid argument");
	threads_join(&group);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_joined_group_has_destroyed_its_thread_local_data),
		cmocka_unit_test(test_threads_that_threads_start_are_waited_for),
		cmocka_unit_test(test_threads_take_no_signals),
		cmocka_unit_test(test_a_thread_that_cannot_start_leaves_the_group_empty),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
