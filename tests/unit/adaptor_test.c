/* SPDX-License-Identifier: Apache-2.0 */
/* CreateVM, StartVM, StopVM and what follows them, against a world in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "fake_world.h"

static struct fake_node node;

static void node_with(const char *const *options)
{
	fake_reset();
	fake_node_init(&node, options);
}

static void assert_nothing_left(void)
{
	struct fake_counts counts = fake_count();
	assert_int_equal(counts.instances, 0);
	assert_int_equal(counts.tunnels, 0);
	assert_int_equal(counts.reservations, 0);
	assert_int_equal(counts.served, 0);
	assert_null(node.adaptor.table.first);
	char path[80];
	snprintf(path, sizeof(path), "%s/state/sandboxes", node.folder);
	assert_int_equal(rmdir(path), 0); /* no record is in it */
	snprintf(path, sizeof(path), "%s/pods", node.folder);
	assert_int_equal(rmdir(path), 0); /* no socket's folder either */
}

static int start(const char *id, struct error *err)
{
	return sandbox_start(&node.adaptor, id, &BOUND_NONE, err);
}

static int stop(const char *id, struct error *err)
{
	return sandbox_stop(&node.adaptor, id, &BOUND_NONE, err);
}

static void test_a_pods_life_leaves_nothing(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	node_with(NULL);
	assert_int_equal(fake_create(&node, "s1", &err), 0);
	assert_int_equal(fake_count().instances, 0); /* CreateVM makes nothing in the cloud */
	assert_int_equal(fake_count().reservations, 1);
	assert_int_equal(start("s1", &err), 0);
	struct fake_counts counts = fake_count();
	assert_int_equal(counts.instances, 1);
	assert_int_equal(counts.tunnels, 1);
	assert_int_equal(counts.served, 1);
	assert_int_equal(start("s1", &err), 0); /* again: it runs */
	assert_int_equal(fake_count().creates, 1);
	assert_int_equal(stop("s1", &err), 0);
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_stop_vm_twice_and_for_an_unknown_sandbox_succeeds(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	node_with(NULL);
	assert_int_equal(stop("never-heard-of", &err), 0);
	assert_int_equal(fake_create(&node, "s1", &err), 0);
	assert_int_equal(stop("s1", &err), 0); /* StartVM was never called */
	assert_int_equal(stop("s1", &err), 0);
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_a_sandbox_id_is_used_once(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	node_with(NULL);
	assert_int_equal(fake_create(&node, "s1", &err), 0);
	assert_int_equal(fake_create(&node, "s1", &err), -1);
	assert_int_equal(err.kind, ERROR_EXISTS);
	assert_string_equal(error_message(&err), "pod shop/web: sandbox s1 already exists");
	assert_int_equal(start("s1", &err), 0); /* unharmed */
	assert_int_equal(stop("s1", &err), 0);
	assert_int_equal(fake_create(&node, "s1", &err), 0);
	assert_int_equal(stop("s1", &err), 0);
	assert_nothing_left();
	fake_node_free(&node);
}

static void test_start_vm_needs_a_create_vm(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	node_with(NULL);
	assert_int_equal(start("s1", &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
	assert_string_equal(error_message(&err), "sandbox s1 does not exist");
	fake_node_free(&node);
}

/* ---- what the user is told, and what is left, when a start fails ---- */

static void test_a_failed_start_names_stage_cause_and_pod_and_leaves_nothing(void **state)
{
	(void)state;
	static const struct {
		struct fake_faults faults;
		enum error_kind kind;
		const char *message;
	} rows[] = {
		{{.create = ERROR_CAPACITY}, ERROR_CAPACITY,
			"start pod shop/web: create the pod VM: the cloud is full"},
		{{.create = ERROR_CAPACITY, .create_but_fail = true}, ERROR_CAPACITY,
			"start pod shop/web: create the pod VM: the cloud is full"},
		{{.addresses = ERROR_TIMEOUT}, ERROR_TIMEOUT,
			"start pod shop/web: wait for the address of the pod VM: no lease; the console of the pod VM "
			"ended with: Kernel panic | not syncing"},
		{{.setup = ERROR_GONE}, ERROR_GONE,
			"start pod shop/web: set up the pod network: no such device"},
		{{.open = ERROR_RETRY}, ERROR_RETRY,
			"start pod shop/web: reach the agent in the pod VM: refused: nobody listens; the console of "
			"the pod VM ended with: Kernel panic | not syncing"},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		cleanup_error err = ERROR_INIT;
		node_with(NULL);
		fake_console = "\x1b[1;31mKernel panic\x1b[0m\r\nnot syncing\n";
		fake_faults = rows[i].faults;
		assert_int_equal(fake_create(&node, "s1", &err), 0);
		assert_int_equal(start("s1", &err), -1);
		assert_string_equal(error_message(&err), rows[i].message);
		assert_int_equal(err.kind, rows[i].kind);
		assert_nothing_left();
		assert_int_equal(stop("s1", NULL), 0); /* the shim's StopVM that follows */
		fake_node_free(&node);
	}
}

static void test_a_failed_create_vm_leaves_nothing(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	node_with(NULL);
	fake_faults.inspect = ERROR_INVALID;
	assert_int_equal(fake_create(&node, "s1", &err), -1);
	assert_string_equal(error_message(&err), "pod shop/web: pod network: no default route");
	assert_int_equal(fake_count().reservations, 0);
	assert_null(node.adaptor.table.first);
	fake_node_free(&node);
}

static void test_a_refused_annotation_is_told_with_the_pods_name(void **state)
{
	(void)state;
	static const struct {
		const char *name, *key, *value, *message;
	} rows[] = {
		{"web", "io.katacontainers.config.hypervisor.default_vcpus", "two",
			"pod shop/web: annotation io.katacontainers.config.hypervisor.default_vcpus: \"two\" is no "
			"number of vCPUs: write it like 2 or 1.5"},
		{"k8s_web_shop_a1b2_0", "io.katacontainers.config.hypervisor.machine_type",
			"a,tee=x",
			"pod shop/web: annotation io.katacontainers.config.hypervisor.machine_type: \"tee=x\" is none "
			"of tee=none, tee=sev, tee=snp, tee=tdx, market=spot, market=on-demand"},
		{"", "io.katacontainers.config.hypervisor.image", "x",
			"sandbox s1: annotation io.kubernetes.cri.sandbox-name: is missing or empty"},
	};
	node_with(NULL);
	for (size_t i = 0; i < array_size(rows); i++) {
		cleanup_error err = ERROR_INIT;
		char *socket = NULL;
		const struct annotation annotations[] = {{"io.kubernetes.cri.sandbox-name",
								 rows[i].name},
			{"io.kubernetes.cri.sandbox-namespace", "shop"},
			{rows[i].key, rows[i].value}};
		assert_int_equal(sandbox_create(&node.adaptor, "s1", annotations, 3,
					 "/proc/self/ns/net", &socket, &err),
			-1);
		assert_string_equal(error_message(&err), rows[i].message);
	}
	fake_node_free(&node);
}

static void test_create_vm_refuses_a_pod_without_a_network_namespace(void **state)
{
	(void)state;
	static const struct {
		const char *netns, *message;
	} rows[] = {
		{"", "pod shop/web: networkNamespacePath is empty: a pod with hostNetwork cannot run in a pod VM "
		     "(with runtime-rs, disable_new_netns must be false)"},
		{"run/netns/x",
			"pod shop/web: networkNamespacePath \"run/netns/x\" is no absolute path"},
		{"/nonexistent/ns",
			"pod shop/web: network namespace /nonexistent/ns: No such file or directory"},
	};
	const struct annotation annotations[] = {{"io.kubernetes.cri.sandbox-name", "web"},
		{"io.kubernetes.cri.sandbox-namespace", "shop"}};
	node_with(NULL);
	for (size_t i = 0; i < array_size(rows); i++) {
		cleanup_error err = ERROR_INIT;
		char *socket = NULL;
		assert_int_equal(sandbox_create(&node.adaptor, "s1", annotations, 2, rows[i].netns,
					 &socket, &err),
			-1);
		assert_string_equal(error_message(&err), rows[i].message);
	}
	fake_node_free(&node);
}

static void test_an_agent_socket_too_long_for_a_socket_is_refused(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	char id[100], expected[400];
	memset(id, 'a', sizeof(id));
	id[90] = 0;
	node_with(NULL);
	assert_int_equal(fake_create(&node, id, &err), -1);
	snprintf(expected, sizeof(expected),
		"pod shop/web: path of the agent socket %s/pods/%s/agent.ttrpc has %zu bytes, a Unix socket's "
		"may have 107: use a shorter -pods-dir",
		node.folder, id, strlen(node.folder) + 18 + 90);
	assert_string_equal(error_message(&err), expected);
	fake_node_free(&node);
}

static void test_passing_faults_are_tried_again_with_the_same_user_data(void **state)
{
	(void)state;
	static const enum error_kind kinds[] = {ERROR_RETRY, ERROR_THROTTLED};
	for (size_t i = 0; i < array_size(kinds); i++) {
		cleanup_error err = ERROR_INIT;
		node_with(NULL);
		fake_faults.create = kinds[i];
		fake_faults.create_failures = 1;
		assert_int_equal(fake_create(&node, "s1", &err), 0);
		assert_int_equal(start("s1", &err), 0);
		assert_int_equal(fake_count().creates, 2);
		assert_true(fake_user_data_was_the_same());
		assert_int_equal(stop("s1", &err), 0);
		fake_node_free(&node);
	}
}

/* ---- cancelling ---- */

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

static bool table_is_empty(struct fake_node *n)
{
	pthread_mutex_lock(&n->adaptor.table.lock);
	bool empty = !n->adaptor.table.first;
	pthread_mutex_unlock(&n->adaptor.table.lock);
	return empty;
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

/* ---- who the instance is of ---- */

static void test_get_info(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	struct bound soon = bound_within(&BOUND_NONE, 50 * NS_PER_MS);
	node_with(NULL);
	assert_null(sandbox_instance_of(&node.adaptor, "web", "shop", false, &BOUND_NONE, &err));
	assert_int_equal(err.kind, ERROR_GONE);
	assert_string_equal(error_message(&err), "VM ID for shop:web was not found");
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_null(sandbox_instance_of(&node.adaptor, "web", "shop", true, &soon, &err));
	assert_int_equal(err.kind, ERROR_TIMEOUT);
	assert_int_equal(start("s1", NULL), 0);
	cleanup(free_ptr) char *id =
		sandbox_instance_of(&node.adaptor, "web", "shop", true, &BOUND_NONE, &err);
	assert_non_null(id);
	assert_null(sandbox_instance_of(&node.adaptor, "web", "other", false, &BOUND_NONE, &err));
	assert_int_equal(stop("s1", NULL), 0);
	fake_node_free(&node);
}

static void *ask_info(void *argument)
{
	return sandbox_instance_of(&node.adaptor, "web", "shop", true, argument, NULL);
}

static void test_get_info_waits_for_the_instance(void **state)
{
	(void)state;
	pthread_t thread;
	struct bound bound = bound_within(&BOUND_NONE, 20 * NS_PER_S);
	void *id;
	node_with(NULL);
	pthread_create(&thread, NULL, ask_info, &bound); /* the pod is not even known */
	assert_int_equal(fake_create(&node, "s1", NULL), 0);
	assert_int_equal(start("s1", NULL), 0);
	pthread_join(thread, &id);
	assert_non_null(id);
	free(id);
	assert_int_equal(stop("s1", NULL), 0);
	fake_node_free(&node);
}

/* ---- what nobody asks for ---- */

static void housekeep(struct adaptor *adaptor, void *argument)
{
	(void)argument;
	adaptor_housekeep(adaptor);
}

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

/* ---- restarts ---- */

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_pods_life_leaves_nothing),
		cmocka_unit_test(test_stop_vm_twice_and_for_an_unknown_sandbox_succeeds),
		cmocka_unit_test(test_a_sandbox_id_is_used_once),
		cmocka_unit_test(test_start_vm_needs_a_create_vm),
		cmocka_unit_test(test_a_failed_start_names_stage_cause_and_pod_and_leaves_nothing),
		cmocka_unit_test(test_a_failed_create_vm_leaves_nothing),
		cmocka_unit_test(test_a_refused_annotation_is_told_with_the_pods_name),
		cmocka_unit_test(test_create_vm_refuses_a_pod_without_a_network_namespace),
		cmocka_unit_test(test_an_agent_socket_too_long_for_a_socket_is_refused),
		cmocka_unit_test(test_passing_faults_are_tried_again_with_the_same_user_data),
		cmocka_unit_test(test_stop_vm_cancels_a_running_start_vm),
		cmocka_unit_test(test_a_caller_that_goes_away_before_the_answer_takes_its_vm_along),
		cmocka_unit_test(test_a_deadline_that_passes_takes_the_vm_down),
		cmocka_unit_test(test_two_starts_at_once_make_one_vm),
		cmocka_unit_test(test_a_deletion_goes_on_without_its_caller),
		cmocka_unit_test(test_a_deletion_that_fails_says_so_and_goes_on),
		cmocka_unit_test(test_get_info),
		cmocka_unit_test(test_get_info_waits_for_the_instance),
		cmocka_unit_test(test_a_sandbox_that_is_never_started_goes_after_its_grace),
		cmocka_unit_test(test_a_sandbox_without_a_shim_goes_after_its_grace),
		cmocka_unit_test(test_only_old_instances_of_this_very_node_are_orphans),
		cmocka_unit_test(test_an_instance_of_unknown_age_is_as_old_as_our_knowledge_of_it),
		cmocka_unit_test(
			test_a_number_that_is_released_again_and_again_keeps_no_other_from_its_rest),
		cmocka_unit_test(test_what_a_killed_agent_proxy_left_beside_the_socket_goes_too),
		cmocka_unit_test(test_a_wait_without_a_descriptor_is_a_wait),
		cmocka_unit_test(test_without_a_thread_a_sandbox_is_taken_down_later),
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
		cmocka_unit_test(test_the_end_of_the_process_rolls_a_start_back),
	};
	int failed = cmocka_run_group_tests_name("adaptor", tests, NULL, NULL);
	notice_free(fake_changed);
	return failed;
}
