/* SPDX-License-Identifier: Apache-2.0 */
/* What an adaptor that starts makes of the journal, the instances and the shims that another one left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "adaptor_rig.h"

static void test_a_running_pod_survives_a_restart(void **state)
{
	(void)state;
	node_with(NULL);
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_int_equal(start("s1", NULL), 0);
	fake_node_down(&node);
	assert_int_equal(fake_count().instances, 1);
	fake_set_shims("gone-meanwhile", 0);
	fake_set_shims("unknown-but-used", 1);
	fake_node_up(&node);
	adaptor_serve_all(&node.adaptor, &BOUND_NONE);
	assert_int_equal(fake_count().served, 2); /* s1, and what a shim still uses */
	fake_set_shims("unknown-but-used", 0);
	adaptor_serve_all(&node.adaptor, &BOUND_NONE);
	assert_int_equal(stop("s1", NULL), 0);
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_what_is_being_taken_down_is_not_served_again(void **state)
{
	(void)state;
	node_with(NULL);
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_int_equal(start("s1", NULL), 0);
	fake_faults.delete = ERROR_RETRY;
	assert_int_equal(stop("s1", NULL), -1);
	/* An agent-proxy that came back meanwhile was told of it a moment before the stop. */
	fake_set_shims("s1", 0);
	adaptor_serve_all(&node.adaptor, &BOUND_NONE);
	assert_int_equal(fake_count().served, 0);
	fake_node_down(&node);
	fake_faults.delete = ERROR_NONE;
	fake_node_up(&node);
	assert_true(fake_wait_for(&node, table_is_empty));
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_a_lost_record_costs_no_pod_its_network_and_a_stop_finds_its_instance(void **state)
{
	(void)state;
	char path[100];
	node_with(NULL);
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_int_equal(start("s1", NULL), 0);
	fake_set_shims("s1", 1);
	fake_node_down(&node);
	snprintf(path, sizeof(path), "%s/state/sandboxes/s1.json", node.folder);
	assert_int_equal(unlink(path), 0);
	fake_node_up(&node);
	adaptor_serve_all(&node.adaptor, &BOUND_NONE);
	assert_int_equal(fake_count().tunnels, 1);
	assert_int_equal(fake_count().served, 1);
	fake_set_shims("s1", 0);
	assert_int_equal(stop("s1", NULL), 0);
	fake_node_down(&node); /* waits for what goes on in the background */
	assert_int_equal(fake_count().instances, 0);
	assert_int_equal(fake_count().tunnels, 0);
	assert_int_equal(fake_count().served, 0);
	fake_node_free(&node);
}

static void test_a_created_sandbox_can_be_started_after_a_restart(void **state)
{
	(void)state;
	node_with(NULL);
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	fake_node_down(&node);
	fake_node_up(&node);
	assert_int_equal(start("s1", NULL), 0);
	assert_int_equal(stop("s1", NULL), 0);
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_a_deletion_is_finished_after_a_restart(void **state)
{
	(void)state;
	node_with(NULL);
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_int_equal(start("s1", NULL), 0);
	fake_faults.delete = ERROR_RETRY;
	assert_int_equal(stop("s1", NULL), -1);
	fake_node_down(&node);
	assert_int_equal(fake_count().instances, 1);
	fake_faults.delete = ERROR_NONE;
	fake_node_up(&node);
	assert_true(fake_wait_for(&node, table_is_empty));
	assert_nothing_left();
	fake_node_free(&node);
}

/* The creation times of s1 and s2, by the journal. */
static void set_created_at(int64_t first, int64_t second)
{
	struct record *records;
	size_t count;
	assert_int_equal(journal_read_all(&node.adaptor.journal, &records, &count, NULL), 0);
	assert_int_equal(count, 2);
	for (size_t i = 0; i < count; i++) {
		records[i].created_at = !strcmp(records[i].sandbox, "s1") ? first : second;
		assert_int_equal(journal_write(&node.adaptor.journal, &records[i],
					 FAULT_CREATE_RECORD, NULL),
			0);
		record_free(&records[i]);
	}
	free(records);
}

static void test_get_info_knows_the_newest_sandbox_after_a_restart_too(void **state)
{
	(void)state;
	char *ids[2];
	node_with(NULL);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(fake_create(&node, i ? "s2" : "s1", NULL), 0);
		assert_int_equal(start(i ? "s2" : "s1", NULL), 0);
		ids[i] =
			sandbox_instance_of(&node.adaptor, "web", "shop", false, &BOUND_NONE, NULL);
		assert_non_null(ids[i]);
	}
	for (size_t i = 0; i < 2; i++) { /* whatever the order of the folder */
		set_created_at(i ? 100 : 200, i ? 200 : 100);
		fake_node_down(&node);
		fake_node_up(&node);
		cleanup(free_ptr) char *id =
			sandbox_instance_of(&node.adaptor, "web", "shop", false, &BOUND_NONE, NULL);
		assert_non_null(id);
		assert_string_equal(id, ids[i]);
		free(ids[i]);
	}
	assert_int_equal(stop("s1", NULL), 0);
	assert_int_equal(stop("s2", NULL), 0);
	assert_nothing_left();
	fake_node_free(&node);
}

/* As a kill -9 in the middle of the creation leaves the journal. */
static void cut_off_while_creating(void)
{
	struct record *records;
	size_t count;
	assert_int_equal(journal_read_all(&node.adaptor.journal, &records, &count, NULL), 0);
	assert_int_equal(count, 1);
	records[0].state = SANDBOX_STARTING;
	records[0].stage = STAGE_CREATING;
	assert_int_equal(journal_write(&node.adaptor.journal, &records[0],
				 FAULT_START_RECORD_CREATING, NULL),
		0);
	record_free(&records[0]);
	free(records);
}

static void test_parts_that_a_creation_left_behind_go_after_a_restart(void **state)
{
	(void)state;
	node_with(NULL);
	const char *cluster = node.adaptor.cluster, *name = node.settings.node_name;
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	cut_off_while_creating();
	/* No token leads to them: a disk, say, whose machine was never made. */
	fake_add_instance(cluster, name, "s1", 0);
	fake_add_instance(cluster, name, "another", 0);
	fake_add_instance("others", name, "s1", 0);
	fake_node_down(&node);
	fake_node_up(&node);
	assert_true(fake_wait_for(&node, table_is_empty));
	assert_int_equal(fake_count().instances, 2);
	assert_true(fake_has_instance_of("another"));
	assert_true(fake_has_instance_of("s1")); /* the other cluster's */
	assert_int_equal(fake_count().deletes, 1);
	fake_node_free(&node);
}

static void test_a_second_adaptor_on_the_same_state_is_refused(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	struct adaptor second;
	char expected[200];
	node_with(NULL);
	assert_int_equal(adaptor_init(&second, &node.settings, &fake_world, &err), -1);
	snprintf(expected, sizeof(expected),
		"state folder %s/state is in use by another cloud-api-adaptor (process %d): stop it, or give "
		"this one its own -state-dir",
		node.folder, (int)getpid());
	assert_string_equal(error_message(&err), expected);
	fake_node_free(&node);
}

static void test_a_damaged_record_is_put_aside_and_its_instance_goes_at_stop_vm(void **state)
{
	(void)state;
	char path[100];
	node_with(NULL);
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_int_equal(start("s1", NULL), 0);
	fake_set_shims("s1", 1);
	fake_node_down(&node);
	snprintf(path, sizeof(path), "%s/state/sandboxes/s1.json", node.folder);
	assert_int_equal(file_write(path, 0600, "{\"version\":1", 12, NULL), 0);
	fake_node_up(&node);
	assert_int_equal(access(path, F_OK), -1);
	assert_true(journal_is_damaged(&node.adaptor.journal, "s1"));
	assert_int_equal(fake_count().instances, 1); /* the pod may well run */
	assert_int_equal(stop("s1", NULL), 0);
	fake_node_down(&node); /* waits for what goes on in the background */
	assert_int_equal(fake_count().instances, 0);
	fake_node_up(&node);
	assert_false(journal_is_damaged(&node.adaptor.journal, "s1"));
	snprintf(path, sizeof(path), "%s/pods/s1", node.folder);
	rmdir(path);
	fake_node_free(&node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_running_pod_survives_a_restart),
		cmocka_unit_test(test_what_is_being_taken_down_is_not_served_again),
		cmocka_unit_test(
			test_a_lost_record_costs_no_pod_its_network_and_a_stop_finds_its_instance),
		cmocka_unit_test(test_a_created_sandbox_can_be_started_after_a_restart),
		cmocka_unit_test(test_a_deletion_is_finished_after_a_restart),
		cmocka_unit_test(test_parts_that_a_creation_left_behind_go_after_a_restart),
		cmocka_unit_test(test_get_info_knows_the_newest_sandbox_after_a_restart_too),
		cmocka_unit_test(test_a_second_adaptor_on_the_same_state_is_refused),
		cmocka_unit_test(
			test_a_damaged_record_is_put_aside_and_its_instance_goes_at_stop_vm),
	};
	int failed = cmocka_run_group_tests_name("adaptor_restart", tests, NULL, NULL);
	notice_free(fake_changed);
	return failed;
}
