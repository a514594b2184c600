/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netns_driver_test.c - the netns driver keeps the contract of providers/provider.h
 *
 * Needs root; runs in a network namespace of its own. podvm-init is a script here that says what it
 * sees: the real one is started by the integration tests.
 */
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "providers/loader.h"

#define TOKEN_A "0123456789abcdef0123456789abcdef"
#define TOKEN_B "fedcba9876543210fedcba9876543210"

static char build_dir[PATH_MAX], work_dir[PATH_MAX];
static char state_env[PATH_MAX + 32], bin_env[PATH_MAX + 32];
static const struct provider_table *driver;
static struct bound within_10s(void)
{
	return (struct bound){.deadline_ns = deadline_in(10 * NS_PER_S)};
}

static const char init_script[] =
	"#!/bin/sh\n"
	"echo \"pid $$\"\n"
	"echo \"arguments $*\"\n"
	"echo \"user data $(cat /media/cidata/user-data) $(stat -c %a /media/cidata/user-data)\"\n"
	"echo \"run holds $(ls /run | wc -l) files\"\n"
	"echo \"host $(cat /proc/sys/kernel/hostname)\"\n"
	"echo \"addresses $(ip -o -4 address show scope global | awk '{print $2, $4}' | tr '\\n' ' ')\"\n"
	"echo \"default $(ip route show default | cut -d ' ' -f 3)\"\n"
	"mountpoint -q / && echo \"root is a mount point\"\n"
	"echo \"all said\"\n"
	"exec sleep 1000\n";

static int setup(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	ssize_t n = readlink("/proc/self/exe", build_dir, sizeof(build_dir) - 1);
	assert_true(n > 0);
	build_dir[n] = '\0';
	for (int floors = 2; floors; floors--)
		*strrchr(build_dir, '/') = '\0';
	if (unshare(CLONE_NEWNET) < 0)
		return -1;

	snprintf(work_dir, sizeof(work_dir), "/tmp/netns-driver-test.XXXXXX");
	assert_non_null(mkdtemp(work_dir));
	char path[PATH_MAX + 64], program[PATH_MAX + 64];
	snprintf(path, sizeof(path), "%s/bin", work_dir);
	assert_int_equal(dir_make(path, 0755, &err), 0);
	snprintf(path, sizeof(path), "%s/bin/podvm-init", work_dir);
	assert_int_equal(file_write(path, 0755, init_script, sizeof(init_script) - 1, &err), 0);
	snprintf(path, sizeof(path), "%s/bin/netns-instance", work_dir);
	snprintf(program, sizeof(program), "%s/netns-instance", build_dir);
	assert_int_equal(symlink(program, path), 0);
	snprintf(state_env, sizeof(state_env), "%s/state", work_dir);
	snprintf(bin_env, sizeof(bin_env), "%s/bin", work_dir);

	snprintf(path, sizeof(path), "%s/providers", build_dir);
	driver = provider_load(path, "netns", &err);
	if (!driver)
		fail_msg("%s", error_message(&err));
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	return nftw(work_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct opened {
	void *values;
	struct option_set set;
	struct provider *provider;
};

static struct opened open_with(const char *flag, const char *value)
{
	struct opened o = {.values = calloc(1, driver->values_size)};
	o.set = (struct option_set){"netns", driver->options, driver->option_count, o.values};
	char *argv[] = {(char *)"-netns-state-dir", state_env, (char *)"-netns-bin-dir", bin_env,
		(char *)flag, (char *)value};
	bool help;
	cleanup_error err = ERROR_INIT;
	struct bound bound = within_10s();
	if (options_parse(&o.set, 1, flag ? 6 : 4, argv, NULL, &help, &err) < 0 ||
		!(o.provider = driver->open(o.values, &bound, &err)))
		fail_msg("%s", error_message(&err));
	return o;
}

static void shut(struct opened *o)
{
	driver->close(o->provider);
	options_free(&o->set, 1);
	free(o->values);
}

static struct instance_request request_for(const char *token)
{
	return (struct instance_request){
		.owner = {.cluster = "c",
			.node = "n",
			.pod_namespace = "default",
			.pod = "web",
			.sandbox = "s1"},
		.token = token,
		.name = "podvm-web-s1",
		.user_data = "secret words",
		.user_data_len = strlen("secret words"),
	};
}

static void create_or_fail(struct provider *p, const char *token, struct instance *instance)
{
	struct instance_request request = request_for(token);
	struct bound bound = within_10s();
	cleanup_error err = ERROR_INIT;
	if (driver->create(p, &request, instance, &bound, &err) < 0)
		fail_msg("%s", error_message(&err));
}

static void delete_or_fail(struct provider *p, const char *id)
{
	struct bound bound = within_10s();
	cleanup_error err = ERROR_INIT;
	if (driver->delete (p, id, &bound, &err) < 0)
		fail_msg("%s", error_message(&err));
}

static size_t count_instances(struct provider *p, const char *cluster, const char *node)
{
	struct bound bound = within_10s();
	cleanup_error err = ERROR_INIT;
	struct instance *list = NULL;
	size_t count = 0;
	if (driver->list(p, cluster, node, &list, &count, &bound, &err) < 0)
		fail_msg("%s", error_message(&err));
	instances_free(list, count);
	return count;
}

/* What the instance printed, once it has said all. */
static char *console_of(struct provider *p, const char *id)
{
	struct bound bound = within_10s();
	for (;;) {
		char *text = driver->console_tail(p, id, 4096, &bound);
		if (strstr(text, "all said\n"))
			return text;
		free(text);
		cleanup_error err = ERROR_INIT;
		if (bound_sleep(&bound, NS_PER_MS, "the console", &err) < 0)
			fail_msg("%s", error_message(&err));
	}
}

static void assert_says(const char *console, const char *line)
{
	if (!strstr(console, line))
		fail_msg("not on the console: %s\nthe console: %s", line, console);
}

static void assert_nothing_is_left(const char *token)
{
	char path[2 * PATH_MAX], link[IF_NAMESIZE];
	snprintf(path, sizeof(path), "%s/%s", state_env, token);
	assert_int_not_equal(access(path, F_OK), 0);
	snprintf(link, sizeof(link), "ni0%.11s", token);
	assert_int_equal(if_nametoindex(link), 0);
	snprintf(path, sizeof(path), "/sys/fs/cgroup/pids/peerpod-netns-%s", token);
	assert_int_not_equal(access(path, F_OK), 0);
	snprintf(path, sizeof(path), "%s/addresses/192.168.151.2", state_env);
	assert_int_not_equal(access(path, F_OK), 0);
}

static void test_an_instance_lives_in_namespaces_of_its_own(void **state)
{
	(void)state;
	struct opened o = open_with(NULL, NULL);
	struct instance instance = {0};
	create_or_fail(o.provider, TOKEN_A, &instance);
	assert_string_equal(instance.id, "netns-" TOKEN_A);
	assert_string_equal(instance.addresses[0], "192.168.151.2");
	assert_null(instance.addresses[1]);

	cleanup(free_ptr) char *console = console_of(o.provider, instance.id);
	assert_says(console, "pid 1\n");
	assert_says(console, "arguments -container -bin-dir ");
	assert_says(console, "user data secret words 600\n");
	assert_says(console, "run holds 0 files\n");
	assert_says(console, "host podvm-web-s1\n");
	assert_says(console, "addresses eth0 192.168.151.2/24 \n");
	assert_says(console, "default 192.168.151.1\n");
	assert_says(console, "root is a mount point\n");

	delete_or_fail(o.provider, instance.id);
	assert_nothing_is_left(TOKEN_A);
	instance_free(&instance);
	shut(&o);
}

static void test_a_second_nic_has_an_address_of_its_own(void **state)
{
	(void)state;
	struct opened o = open_with(NULL, NULL);
	struct instance instance = {0}, waited = {0};
	struct instance_request request = request_for(TOKEN_A);
	request.second_nic = true;
	struct bound bound = within_10s();
	cleanup_error err = ERROR_INIT;
	assert_int_equal(driver->create(o.provider, &request, &instance, &bound, &err), 0);
	assert_int_equal(driver->wait_addresses(o.provider, instance.id, 2, &waited, &bound, &err),
		0);
	assert_string_equal(waited.addresses[1], "192.168.151.3");
	cleanup(free_ptr) char *console = console_of(o.provider, instance.id);
	assert_says(console, "addresses eth0 192.168.151.2/24 eth1 192.168.151.3/24 \n");
	delete_or_fail(o.provider, instance.id);
	instance_free(&instance);
	instance_free(&waited);
	shut(&o);
}

static void test_create_twice_gives_the_same_instance(void **state)
{
	(void)state;
	struct opened o = open_with(NULL, NULL);
	struct instance first = {0}, second = {0}, found = {0};
	create_or_fail(o.provider, TOKEN_A, &first);
	create_or_fail(o.provider, TOKEN_A, &second);
	assert_string_equal(first.id, second.id);
	assert_string_equal(first.addresses[0], second.addresses[0]);
	assert_int_equal(count_instances(o.provider, "", ""), 1);

	struct bound bound = within_10s();
	cleanup_error err = ERROR_INIT;
	assert_int_equal(driver->find(o.provider, TOKEN_A, &found, &bound, &err), 0);
	assert_string_equal(found.sandbox, "s1");
	assert_string_equal(found.id, "netns-" TOKEN_A);

	delete_or_fail(o.provider, first.id);
	delete_or_fail(o.provider, first.id);
	assert_int_equal(driver->find(o.provider, TOKEN_A, &found, &bound, &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
	instance_free(&first);
	instance_free(&second);
	instance_free(&found);
	shut(&o);
}

static void test_what_a_killed_writer_left_goes_with_the_instance(void **state)
{
	(void)state;
	struct opened o = open_with(NULL, NULL);
	struct instance made = {0};
	char path[2 * PATH_MAX];
	create_or_fail(o.provider, TOKEN_A, &made);
	snprintf(path, sizeof(path), "%s/" TOKEN_A "/user-data.AbCdEf", state_env);
	assert_int_equal(file_write(path, 0600, "half", 4, NULL), 0);
	delete_or_fail(o.provider, made.id);
	assert_nothing_is_left(TOKEN_A);
	instance_free(&made);
	shut(&o);
}

static void *create_thread(void *provider)
{
	struct instance *instance = calloc(1, sizeof(*instance));
	create_or_fail(provider, TOKEN_A, instance);
	return instance;
}

static void test_creates_at_once_with_one_token_make_one_instance(void **state)
{
	(void)state;
	struct opened o = open_with(NULL, NULL);
	pthread_t threads[6];
	for (size_t i = 0; i < array_size(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, create_thread, o.provider), 0);
	for (size_t i = 0; i < array_size(threads); i++) {
		struct instance *instance;
		pthread_join(threads[i], (void **)&instance);
		assert_string_equal(instance->addresses[0], "192.168.151.2");
		instance_free(instance);
		free(instance);
	}
	assert_int_equal(count_instances(o.provider, "", ""), 1);
	delete_or_fail(o.provider, "netns-" TOKEN_A);
	shut(&o);
}

static void test_list_tells_clusters_and_nodes_apart(void **state)
{
	(void)state;
	struct opened o = open_with(NULL, NULL);
	struct instance a = {0}, b = {0};
	create_or_fail(o.provider, TOKEN_A, &a);
	create_or_fail(o.provider, TOKEN_B, &b);
	assert_string_equal(b.addresses[0], "192.168.151.3");
	assert_int_equal(count_instances(o.provider, "", ""), 2);
	assert_int_equal(count_instances(o.provider, "c", "n"), 2);
	assert_int_equal(count_instances(o.provider, "other", ""), 0);
	assert_int_equal(count_instances(o.provider, "c", "other"), 0);
	delete_or_fail(o.provider, a.id);
	delete_or_fail(o.provider, b.id);
	assert_nothing_is_left(TOKEN_A);
	assert_nothing_is_left(TOKEN_B);
	instance_free(&a);
	instance_free(&b);
	shut(&o);
}

static void test_what_fails_leaves_nothing(void **state)
{
	(void)state;
	static const struct {
		const char *flag, *value, *message;
		enum error_kind kind;
	} cases[] = {
		{"-netns-fail", "create:capacity:1", "ordered by NETNS_FAIL: create fails",
			ERROR_CAPACITY},
		{"-netns-create-delay", "1h", "NETNS_CREATE_DELAY: timed out", ERROR_TIMEOUT},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct opened o = open_with(cases[i].flag, cases[i].value);
		struct instance_request request = request_for(TOKEN_A);
		struct instance instance = {0};
		struct bound bound = {.deadline_ns = deadline_in(50 * NS_PER_MS)};
		cleanup_error err = ERROR_INIT;
		assert_int_equal(driver->create(o.provider, &request, &instance, &bound, &err), -1);
		assert_int_equal(err.kind, cases[i].kind);
		assert_string_equal(error_message(&err), cases[i].message);
		assert_int_equal(count_instances(o.provider, "", ""), 0);
		assert_nothing_is_left(TOKEN_A);
		shut(&o);
	}
}

static void test_a_full_subnet_is_a_lack_of_capacity(void **state)
{
	(void)state;
	struct opened o = open_with("-netns-subnet", "192.168.151.0/29");
	static const char *const tokens[] = {"a1", "a2", "a3", "a4", "a5"}; /* .2 to .6 */
	struct instance instance = {0};
	for (size_t i = 0; i < array_size(tokens); i++) {
		create_or_fail(o.provider, tokens[i], &instance);
		instance_free(&instance);
	}
	struct instance_request request = request_for("a6");
	struct bound bound = within_10s();
	cleanup_error err = ERROR_INIT;
	assert_int_equal(driver->create(o.provider, &request, &instance, &bound, &err), -1);
	assert_int_equal(err.kind, ERROR_CAPACITY);
	assert_string_equal(error_message(&err), "no free address left in 192.168.151.0/29");
	delete_or_fail(o.provider, "netns-a3");
	create_or_fail(o.provider, "a6", &instance);
	assert_string_equal(instance.addresses[0], "192.168.151.4");
	instance_free(&instance);
	static const char *const ids[] = {"netns-a1", "netns-a2", "netns-a4", "netns-a5",
		"netns-a6"};
	for (size_t i = 0; i < array_size(ids); i++)
		delete_or_fail(o.provider, ids[i]);
	shut(&o);
}

static void test_a_dead_instance_says_what_it_said_last(void **state)
{
	(void)state;
	struct opened o = open_with(NULL, NULL);
	struct instance instance = {0}, waited = {0};
	create_or_fail(o.provider, TOKEN_A, &instance);
	free(console_of(o.provider, instance.id));
	char path[2 * PATH_MAX];
	snprintf(path, sizeof(path), "%s/" TOKEN_A "/process", state_env);
	cleanup(buf_free) struct buf process = BUF_INIT;
	assert_int_equal(file_read(path, 100, &process, NULL), 0);
	kill((pid_t)strtol(buf_text(&process), NULL, 10), SIGKILL);

	struct bound bound = within_10s();
	cleanup_error err = ERROR_INIT;
	while (driver->wait_addresses(o.provider, instance.id, 1, &waited, &bound, &err) == 0) {
		instance_free(&waited);
		assert_int_equal(bound_sleep(&bound, NS_PER_MS, "death", &err), 0);
	}
	assert_non_null(strstr(error_message(&err), "has ended; its console: pid 1\n"));

	/* Made again, it is a new one. */
	struct instance again = {0};
	create_or_fail(o.provider, TOKEN_A, &again);
	assert_int_equal(driver->wait_addresses(o.provider, again.id, 1, &waited, &bound, NULL), 0);
	delete_or_fail(o.provider, again.id);
	assert_nothing_is_left(TOKEN_A);
	instance_free(&waited);
	instance_free(&again);
	instance_free(&instance);
	shut(&o);
}

static void test_bad_options_and_ids_are_told(void **state)
{
	(void)state;
	static const struct {
		const char *flag, *value, *message;
	} cases[] = {
		{"-netns-subnet", "192.168.151.1/30",
			"NETNS_SUBNET: \"192.168.151.1/30\" is not an IPv4 subnet like 192.168.151.0/24"},
		{"-netns-subnet", "here",
			"NETNS_SUBNET: \"here\" is not an IPv4 subnet like 192.168.151.0/24"},
		{"-netns-bin-dir", "/nowhere", "NETNS_BIN_DIR: no folder \"/nowhere\""},
		{"-netns-bridge", "a-name-of-sixteen",
			"NETNS_BRIDGE: \"a-name-of-sixteen\" has more than 15 characters"},
		{"-netns-fail", "create",
			"NETNS_FAIL: \"create\" is not CALL:KIND[:COUNT]; calls: create, addresses, find, delete, list; kinds: capacity, quota, denied, invalid, retry, ..."},
		{"-netns-fail", "create:capacity:x",
			"NETNS_FAIL: \"create:capacity:x\" is not CALL:KIND[:COUNT]; calls: create, addresses, find, delete, list; kinds: capacity, quota, denied, invalid, retry, ..."},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		void *values = calloc(1, driver->values_size);
		struct option_set set = {"netns", driver->options, driver->option_count, values};
		char *argv[] = {(char *)cases[i].flag, (char *)cases[i].value};
		bool help;
		struct bound bound = within_10s();
		cleanup_error err = ERROR_INIT;
		assert_int_equal(options_parse(&set, 1, 2, argv, NULL, &help, &err), 0);
		assert_null(driver->open(values, &bound, &err));
		assert_string_equal(error_message(&err), cases[i].message);
		options_free(&set, 1);
		free(values);
	}
	struct opened o = open_with(NULL, NULL);
	struct bound bound = within_10s();
	cleanup_error err = ERROR_INIT;
	assert_int_equal(driver->delete (o.provider, "i-1234", &bound, &err), -1);
	assert_string_equal(error_message(&err), "\"i-1234\" is not the id of a netns instance");
	assert_int_equal(driver->delete (o.provider, "netns-../../etc", &bound, &err), -1);
	assert_string_equal(error_message(&err), "token \"../../etc\" is not 1 to 64 hex digits");
	shut(&o);
}

int main(void)
{
	if (geteuid() != 0) {
		puts("netns_driver_test: skipped: needs root");
		return 0;
	}
	log_init("netns_driver_test", LOG_WARN, LOG_TEXT);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_instance_lives_in_namespaces_of_its_own),
		cmocka_unit_test(test_a_second_nic_has_an_address_of_its_own),
		cmocka_unit_test(test_create_twice_gives_the_same_instance),
		cmocka_unit_test(test_what_a_killed_writer_left_goes_with_the_instance),
		cmocka_unit_test(test_creates_at_once_with_one_token_make_one_instance),
		cmocka_unit_test(test_list_tells_clusters_and_nodes_apart),
		cmocka_unit_test(test_what_fails_leaves_nothing),
		cmocka_unit_test(test_a_full_subnet_is_a_lack_of_capacity),
		cmocka_unit_test(test_a_dead_instance_says_what_it_said_last),
		cmocka_unit_test(test_bad_options_and_ids_are_told),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
