/* SPDX-License-Identifier: Apache-2.0 */
/* What the adaptor does that nobody asks for, and what it does when the machine has no more of something. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "adaptor_rig.h"

/* ---- what nobody asks for ---- */

static void test_a_sandbox_that_is_never_started_goes_after_its_grace(void **state)
{
	(void)state;
	const char *const options[] = {"-create-grace=50ms", NULL};
	node_with(options);
	assert_int_equal(adaptor_spawn(&node.adaptor, housekeep, NULL, NULL), 0);
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_true(fake_wait_for(&node, table_is_empty));
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_a_sandbox_without_a_shim_goes_after_its_grace(void **state)
{
	(void)state;
	const char *const options[] = {"-shim-grace=400ms", NULL};
	node_with(options);
	assert_int_equal(adaptor_spawn(&node.adaptor, housekeep, NULL, NULL), 0);
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_int_equal(fake_create(&node, "s2", NULL), 0);
	assert_int_equal(start("s1", NULL), 0);
	fake_set_shims("s1", 1);
	assert_int_equal(start("s2", NULL), 0); /* whose shim was killed while it waited */
	struct bound bound = bound_within(&BOUND_NONE, 20 * NS_PER_S);
	while (fake_has_instance_of("s2")) {
		uint64_t seen = notice_count(fake_changed);
		if (fake_has_instance_of("s2"))
			assert_int_equal(notice_wait(fake_changed, seen, &bound, "deletion", NULL),
				0);
	}
	assert_true(fake_has_instance_of("s1"));
	fake_set_shims("s1", 0); /* its shim dies: no shim ever connects again */
	assert_true(fake_wait_for(&node, table_is_empty));
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_only_old_instances_of_this_very_node_are_orphans(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	int64_t now = time(NULL), old = now - 3600;
	node_with(NULL);
	fake_add_instance("c1", "n1", "lost", old);
	fake_add_instance("c1", "n1", "young", now);
	fake_add_instance("c1", "n1", "shimmed", old);
	fake_add_instance("c1", "n2", "neighbour", old);
	fake_add_instance("c2", "n1", "foreign", old);
	fake_add_instance("", "", "untagged", old);
	fake_set_shims("shimmed", 1);
	assert_int_equal(fake_create(&node, "mine", NULL), 0);
	assert_int_equal(start("mine", NULL), 0);
	struct orphans *seen = orphans_new();
	assert_int_equal(orphans_sweep(&node.adaptor, seen, &BOUND_NONE, &err), 0);
	orphans_free(seen);
	assert_false(fake_has_instance_of("lost"));
	static const char *const kept[] = {"young", "shimmed", "neighbour", "foreign", "untagged",
		"mine"};
	for (size_t i = 0; i < array_size(kept); i++)
		assert_true(fake_has_instance_of(kept[i]));
	assert_int_equal(stop("mine", NULL), 0);
	fake_node_free(&node);
}

static void test_an_instance_of_unknown_age_is_as_old_as_our_knowledge_of_it(void **state)
{
	(void)state;
	const char *const options[] = {"-orphan-grace=100ms", NULL};
	node_with(options);
	fake_add_instance("c1", "n1", "lost", 0);
	struct orphans *seen = orphans_new();
	assert_int_equal(orphans_sweep(&node.adaptor, seen, &BOUND_NONE, NULL), 0);
	assert_true(fake_has_instance_of("lost"));
	bound_sleep(&BOUND_NONE, 110 * NS_PER_MS, "grace", NULL);
	assert_int_equal(orphans_sweep(&node.adaptor, seen, &BOUND_NONE, NULL), 0);
	assert_false(fake_has_instance_of("lost"));
	orphans_free(seen);
	fake_node_free(&node);
}

static void test_a_number_that_is_released_again_and_again_keeps_no_other_from_its_rest(
	void **state)
{
	(void)state;
	uint32_t vnis[QUARANTINE_SIZE];
	node_with(NULL);
	struct quarantine *quarantine = &node.adaptor.quarantine;
	quarantine_add(quarantine, 555001);
	for (int i = 0; i < 2 * QUARANTINE_SIZE; i++)
		quarantine_add(quarantine, 555002);
	assert_int_equal(quarantine_list(quarantine, vnis), 2);
	assert_int_equal(vnis[0], 555001);
	assert_int_equal(vnis[1], 555002);
	for (uint32_t i = 0; i < QUARANTINE_SIZE; i++)
		quarantine_add(quarantine, 555010 + i); /* the oldest make room */
	assert_int_equal(quarantine_list(quarantine, vnis), QUARANTINE_SIZE);
	for (size_t i = 0; i < QUARANTINE_SIZE; i++)
		assert_true(vnis[i] >= 555010);
	fake_node_free(&node);
}

static void test_what_a_killed_agent_proxy_left_beside_the_socket_goes_too(void **state)
{
	(void)state;
	char path[100];
	cleanup_error err = ERROR_INIT;
	node_with(NULL);
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_int_equal(start("s1", NULL), 0);
	static const char *const names[] = {".agent.ttrpc.new", "agent.ttrpc"};
	for (size_t i = 0; i < array_size(names); i++) {
		snprintf(path, sizeof(path), "%s/pods/s1/%s", node.folder, names[i]);
		assert_int_equal(file_write(path, 0600, "", 0, NULL), 0);
	}
	assert_int_equal(stop("s1", &err), 0);
	assert_nothing_left();
	fake_node_free(&node);
}

/* ---- when the machine has no more of something ---- */

static void *post_soon(void *argument)
{
	bound_sleep(&BOUND_NONE, 20 * NS_PER_MS, "wait", NULL);
	notice_post(argument);
	return NULL;
}

static void test_a_wait_without_a_descriptor_is_a_wait(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	struct notice *notice = notice_new(&err);
	struct rlimit before, none;
	pthread_t thread;
	assert_non_null(notice);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	struct bound soon = bound_within(&BOUND_NONE, 30 * NS_PER_MS);
	int timed_out = notice_wait(notice, 0, &soon, "wait", &err);
	struct bound long_enough = bound_within(&BOUND_NONE, 20 * NS_PER_S);
	int created = pthread_create(&thread, NULL, post_soon, notice);
	int posted = notice_wait(notice, 0, &long_enough, "wait", NULL);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(created, 0);
	pthread_join(thread, NULL);
	assert_int_equal(timed_out, -1);
	assert_int_equal(err.kind, ERROR_TIMEOUT);
	assert_int_equal(posted, 0);
	notice_free(notice);
}

/* Threads that cannot be had, as where a container may have no more of them. */
static atomic_bool no_threads;
static atomic_uint refused_threads;

int __wrap_threads_start(struct threads *threads, size_t stack, void (*run)(void *), void *argument,
	struct error *err);
int __real_threads_start(struct threads *threads, size_t stack, void (*run)(void *), void *argument,
	struct error *err);

int __wrap_threads_start(struct threads *threads, size_t stack, void (*run)(void *), void *argument,
	struct error *err)
{
	if (!atomic_load(&no_threads))
		return __real_threads_start(threads, stack, run, argument, err);
	atomic_fetch_add(&refused_threads, 1);
	return error_set(err, ERROR_CAPACITY, "start a thread: Resource temporarily unavailable");
}

static void test_without_a_thread_a_sandbox_is_taken_down_later(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	node_with(NULL);
	assert_int_equal(adaptor_spawn(&node.adaptor, housekeep, NULL, NULL), 0);
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	atomic_store(&no_threads, true);
	assert_int_equal(stop("s1", &err), -1);
	assert_string_equal(error_message(&err),
		"stop pod shop/web: start a thread: Resource temporarily unavailable (it is taken down in the "
		"background)");
	/* Long enough to be asked a thousand times by somebody who does nothing else. */
	bound_sleep(&BOUND_NONE, 300 * NS_PER_MS, "look", NULL);
	assert_true(atomic_load(&refused_threads) <= 2);
	atomic_store(&no_threads, false);
	assert_true(fake_wait_for(&node, table_is_empty));
	assert_nothing_left();
	fake_node_free(&node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_sandbox_that_is_never_started_goes_after_its_grace),
		cmocka_unit_test(test_a_sandbox_without_a_shim_goes_after_its_grace),
		cmocka_unit_test(test_only_old_instances_of_this_very_node_are_orphans),
		cmocka_unit_test(test_an_instance_of_unknown_age_is_as_old_as_our_knowledge_of_it),
		cmocka_unit_test(
			test_a_number_that_is_released_again_and_again_keeps_no_other_from_its_rest),
		cmocka_unit_test(test_what_a_killed_agent_proxy_left_beside_the_socket_goes_too),
		cmocka_unit_test(test_a_wait_without_a_descriptor_is_a_wait),
		cmocka_unit_test(test_without_a_thread_a_sandbox_is_taken_down_later),
	};
	int failed = cmocka_run_group_tests_name("adaptor_housekeeping", tests, NULL, NULL);
	notice_free(fake_changed);
	return failed;
}
