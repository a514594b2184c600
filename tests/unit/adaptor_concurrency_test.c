/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many callers at once: CreateVM, StartVM and StopVM of the same few sandboxes from many threads, in a
 * world where one call in ten fails, with the housekeeper at work. Whatever the order: never two instances for one
 * sandbox, and nothing is left when all have been stopped. Run it under ThreadSanitizer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "adaptor_rig.h"

#define THREADS 8
#define SANDBOXES 5
#define ROUNDS 60
/* Most starts are stopped before they have made anything: so long do the threads go on. */
#define CREATES 20
#define HAMMER_NS (60 * NS_PER_S)

static uint32_t next(uint32_t *random)
{
	*random = *random * 1664525u + 1013904223u;
	return *random >> 8;
}

static void *hammer(void *argument)
{
	uint32_t random = *(const uint32_t *)argument * 7919u + 1u;
	uint64_t until = deadline_in(HAMMER_NS);
	for (int i = 0; i < ROUNDS || (fake_count().creates < CREATES && clock_ns() < until); i++) {
		char id[8];
		snprintf(id, sizeof(id), "s%u", next(&random) % SANDBOXES);
		/* A shim's calls, the impatient one's among them. */
		struct bound bound = bound_within(&BOUND_NONE,
			next(&random) % 4 ? 20 * NS_PER_S : next(&random) % 3 * NS_PER_MS);
		cleanup_error err = ERROR_INIT;
		switch (next(&random) % 8) {
		case 0:
		case 1:
		case 2:
			fake_create(&node, id, &err);
			break;
		case 3:
		case 4:
		case 5:
			sandbox_start(&node.adaptor, id, &bound, &err);
			break;
		case 6:
			bound = bound_within(&bound, 50 * NS_PER_MS);
			sandbox_stop(&node.adaptor, id, &bound, &err);
			break;
		case 7:
			free(sandbox_instance_of(&node.adaptor, "web", "shop", false, &bound,
				&err));
			break;
		}
	}
	return NULL;
}

/* Somebody who wants to know all the time: reads what the owners write. */
static void *ask(void *argument)
{
	atomic_bool *done = argument;
	while (!atomic_load(done))
		free(sandbox_instance_of(&node.adaptor, "web", "shop", false, &BOUND_NONE, NULL));
	return NULL;
}

static void test_many_callers_leave_nothing_and_make_no_second_instance(void **state)
{
	(void)state;
	const char *const options[] = {"-shim-grace=2s", NULL};
	pthread_t threads[THREADS];
	node_with(options);
	fake_faults.random_percent = 10;
	assert_int_equal(adaptor_spawn(&node.adaptor, housekeep, NULL, NULL), 0);
	uint32_t seeds[THREADS];
	for (uint32_t i = 0; i < THREADS; i++) {
		seeds[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, &seeds[i]), 0);
	}
	atomic_bool done = false;
	pthread_t asker;
	assert_int_equal(pthread_create(&asker, NULL, ask, &done), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&done, true);
	pthread_join(asker, NULL);
	assert_true(fake_count().creates >= CREATES);
	assert_int_equal(fake_count().most_per_token, 1);
	for (int i = 0; i < SANDBOXES; i++) {
		char id[8];
		struct bound soon = bound_within(&BOUND_NONE, NS_PER_MS);
		snprintf(id, sizeof(id), "s%d", i);
		sandbox_stop(&node.adaptor, id, &soon, NULL);
	}
	assert_true(fake_wait_for(&node, table_is_empty));
	struct fake_counts counts = fake_count();
	assert_int_equal(counts.instances, 0);
	assert_int_equal(counts.tunnels, 0);
	assert_int_equal(counts.reservations, 0);
	assert_int_equal(counts.served, 0);
	fake_node_free(&node);
}

static void test_the_process_may_end_in_the_middle_of_it_all(void **state)
{
	(void)state;
	pthread_t threads[THREADS];
	node_with(NULL);
	fake_faults.random_percent = 10;
	uint32_t seeds[THREADS];
	for (uint32_t i = 0; i < THREADS; i++) {
		seeds[i] = i + 100;
		assert_int_equal(pthread_create(&threads[i], NULL, hammer, &seeds[i]), 0);
	}
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	fake_node_down(&node); /* reapers are at work, some between attempts */
	fake_faults.random_percent = 0;
	fake_node_up(&node);
	for (int i = 0; i < SANDBOXES; i++) {
		char id[8];
		snprintf(id, sizeof(id), "s%d", i);
		assert_int_equal(sandbox_stop(&node.adaptor, id, &BOUND_NONE, NULL), 0);
	}
	assert_true(fake_wait_for(&node, table_is_empty));
	assert_int_equal(fake_count().instances, 0);
	assert_true(fake_count().creates >= CREATES);
	assert_int_equal(fake_count().most_per_token, 1);
	fake_node_free(&node);
}

/* Somebody who clears away what has no owner, all the time. */
static void *sweep(void *argument)
{
	atomic_bool *done = argument;
	while (!atomic_load(done))
		adaptor_reconcile_network(&node.adaptor, &BOUND_NONE);
	return NULL;
}

static void test_a_new_pod_is_not_taken_for_what_has_no_owner(void **state)
{
	(void)state;
	node_with(NULL);
	atomic_bool done = false;
	pthread_t sweeper;
	assert_int_equal(pthread_create(&sweeper, NULL, sweep, &done), 0);
	for (int i = 0; i < ROUNDS; i++) {
		assert_int_equal(fake_create(&node, "s1", NULL), 0);
		assert_int_equal(fake_count().reservations, 1);
		assert_int_equal(sandbox_start(&node.adaptor, "s1", &BOUND_NONE, NULL), 0);
		assert_int_equal(fake_count().tunnels, 1);
		assert_int_equal(sandbox_stop(&node.adaptor, "s1", &BOUND_NONE, NULL), 0);
	}
	atomic_store(&done, true);
	pthread_join(sweeper, NULL);
	fake_node_free(&node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_callers_leave_nothing_and_make_no_second_instance),
		cmocka_unit_test(test_the_process_may_end_in_the_middle_of_it_all),
		cmocka_unit_test(test_a_new_pod_is_not_taken_for_what_has_no_owner),
	};
	int failed = cmocka_run_group_tests_name("adaptor_concurrency", tests, NULL, NULL);
	notice_free(fake_changed);
	return failed;
}
