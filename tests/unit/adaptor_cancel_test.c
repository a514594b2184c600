/* SPDX-License-Identifier: Apache-2.0 */
/* StartVM that is cancelled or overtaken, and StopVM whose caller goes away, against a world in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "adaptor_rig.h"

struct background {
	pthread_t thread;
	struct bound bound;
	int result;
	struct error err;
};

static void *run_start(void *argument)
{
	struct background *b = argument;
	b->result = sandbox_start(&node.adaptor, "s1", &b->bound, &b->err);
	return NULL;
}

/* Begins a StartVM and returns once it is in the world's hands. */
static void begin_start(struct background *b, size_t calls)
{
	uint64_t before = notice_count(fake_changed);
	pthread_create(&b->thread, NULL, run_start, b);
	while (notice_count(fake_changed) < before + calls) {
		uint64_t seen = notice_count(fake_changed);
		struct bound bound = bound_within(&BOUND_NONE, 20 * NS_PER_S);
		if (seen < before + calls)
			assert_int_equal(notice_wait(fake_changed, seen, &bound, "call", NULL), 0);
	}
}

static void test_stop_vm_cancels_a_running_start_vm(void **state)
{
	(void)state;
	for (int open = 0; open < 2; open++) {
		cleanup_error err = ERROR_INIT;
		struct background b = {.bound = BOUND_NONE};
		node_with(NULL);
		fake_faults.create_blocks = !open;
		fake_faults.open_blocks = open;
		assert_int_equal(fake_create(&node, "s1", &err), 0);
		begin_start(&b, open ? 4 : 1);
		assert_int_equal(stop("s1", &err), 0);
		pthread_join(b.thread, NULL);
		assert_int_equal(b.result, -1);
		assert_int_equal(b.err.kind, ERROR_CANCELED);
		error_clear(&b.err);
		assert_nothing_left();
		fake_node_free(&node);
	}
}

static void test_a_caller_that_goes_away_before_the_answer_takes_its_vm_along(void **state)
{
	(void)state;
	cleanup(cancel_unref_ptr) struct cancel *connection = cancel_new();
	struct background b = {.bound = {.deadline_ns = DEADLINE_NEVER, .cancel = connection}};
	node_with(NULL);
	fake_faults.open_blocks = true;
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	begin_start(&b, 4);
	assert_int_equal(fake_count().instances, 1);
	cancel_fire(connection);
	pthread_join(b.thread, NULL);
	assert_int_equal(b.err.kind, ERROR_CANCELED);
	error_clear(&b.err);
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_a_deadline_that_passes_takes_the_vm_down(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	struct bound bound = bound_within(&BOUND_NONE, 100 * NS_PER_MS);
	node_with(NULL);
	fake_faults.open_blocks = true;
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_int_equal(sandbox_start(&node.adaptor, "s1", &bound, &err), -1);
	assert_int_equal(err.kind, ERROR_TIMEOUT);
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_two_starts_at_once_make_one_vm(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	struct background b = {.bound = BOUND_NONE};
	node_with(NULL);
	fake_faults.create_blocks = true;
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	begin_start(&b, 1);
	assert_int_equal(start("s1", &err), -1);
	assert_string_equal(error_message(&err),
		"start pod shop/web: sandbox s1 is being started already");
	assert_int_equal(stop("s1", NULL), 0);
	pthread_join(b.thread, NULL);
	error_clear(&b.err);
	fake_node_free(&node);
}

static void test_the_end_of_the_process_rolls_a_start_back(void **state)
{
	(void)state;
	cleanup(cancel_unref_ptr) struct cancel *server = cancel_new();
	struct background b = {.bound = {.deadline_ns = DEADLINE_NEVER, .cancel = server}};
	node_with(NULL);
	fake_faults.open_blocks = true;
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	begin_start(&b, 4);
	cancel_fire(node.adaptor.stopping);
	cancel_fire(server); /* as ttrpc_server_stop does to what runs */
	pthread_join(b.thread, NULL);
	error_clear(&b.err);
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_a_deletion_goes_on_without_its_caller(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	cleanup(cancel_unref_ptr) struct cancel *dead = cancel_new();
	struct bound bound = {.deadline_ns = DEADLINE_NEVER, .cancel = dead};
	node_with(NULL);
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_int_equal(start("s1", NULL), 0);
	cancel_fire(dead);
	fake_faults.delete = ERROR_RETRY; /* the first attempt fails */
	fake_faults.delete_failures = 1;
	assert_int_equal(sandbox_stop(&node.adaptor, "s1", &bound, &err), -1);
	assert_true(fake_wait_for(&node, table_is_empty));
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_a_deletion_that_fails_says_so_and_goes_on(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	node_with(NULL);
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_int_equal(start("s1", NULL), 0);
	fake_faults.delete = ERROR_RETRY;
	fake_faults.delete_failures = 1;
	assert_int_equal(stop("s1", &err), -1);
	assert_string_equal(error_message(&err),
		"stop pod shop/web: delete the instance: the cloud does not answer (it is taken down in the "
		"background)");
	assert_true(fake_wait_for(&node, table_is_empty));
	assert_nothing_left();
	fake_node_free(&node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stop_vm_cancels_a_running_start_vm),
		cmocka_unit_test(test_a_caller_that_goes_away_before_the_answer_takes_its_vm_along),
		cmocka_unit_test(test_a_deadline_that_passes_takes_the_vm_down),
		cmocka_unit_test(test_two_starts_at_once_make_one_vm),
		cmocka_unit_test(test_a_deletion_goes_on_without_its_caller),
		cmocka_unit_test(test_a_deletion_that_fails_says_so_and_goes_on),
		cmocka_unit_test(test_the_end_of_the_process_rolls_a_start_back),
	};
	int failed = cmocka_run_group_tests_name("adaptor_cancel", tests, NULL, NULL);
	notice_free(fake_changed);
	return failed;
}
