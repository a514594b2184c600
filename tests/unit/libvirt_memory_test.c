/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvirt_memory_test.c - the driver's verbs against libvirt's own in-memory driver, test:///default
 *
 * It lacks uploads, leases and domain capabilities. The upload is put in its place by the linker (--wrap), which also
 * lets a step fail on demand; the rest the driver has to do without, as with any host that lacks it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>

#include "base/log.h"
#include "providers/libvirt/driver.h"

#ifdef __SANITIZE_THREAD__
/* GLib's allocator hands memory between threads with atomics that ThreadSanitizer does not see. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "called_from_lib:libglib-2.0.so.0\n";
}
#endif

static bool fail_upload;
static _Atomic size_t uploaded; /* by the last upload; several threads upload */

virStreamPtr __wrap_virStreamNew(virConnectPtr conn, unsigned flags);
int __wrap_virStorageVolUpload(virStorageVolPtr vol, virStreamPtr stream, unsigned long long offset,
	unsigned long long length, unsigned flags);
int __wrap_virStreamSend(virStreamPtr stream, const char *data, size_t len);
int __wrap_virStreamFinish(virStreamPtr stream);
int __wrap_virStreamAbort(virStreamPtr stream);
int __wrap_virStreamFree(virStreamPtr stream);

virStreamPtr __wrap_virStreamNew(virConnectPtr conn, unsigned flags)
{
	(void)flags;
	return (virStreamPtr)conn;
}

int __wrap_virStorageVolUpload(virStorageVolPtr vol, virStreamPtr stream, unsigned long long offset,
	unsigned long long length, unsigned flags)
{
	(void)vol;
	(void)stream;
	(void)offset;
	(void)flags;
	if (fail_upload) /* any failure of libvirt's will do */
		return virStorageVolResize(vol, 0, 1u << 31);
	uploaded = length;
	return 0;
}

int __wrap_virStreamSend(virStreamPtr stream, const char *data, size_t len)
{
	(void)stream;
	(void)data;
	return len > 1000 ? 1000 : (int)len; /* as a real one may, less than asked */
}

int __wrap_virStreamFinish(virStreamPtr stream)
{
	(void)stream;
	return 0;
}

int __wrap_virStreamAbort(virStreamPtr stream)
{
	(void)stream;
	return 0;
}

int __wrap_virStreamFree(virStreamPtr stream)
{
	(void)stream;
	return 0;
}

extern const struct provider_table peerpod_provider;

struct world {
	struct libvirt_options options;
	struct option_set set;
	struct provider *provider;
	virConnectPtr conn; /* keeps the in-memory state alive, and looks at it */
};

static const char *no_environment(const char *name)
{
	(void)name;
	return NULL;
}

static const struct bound *soon(void)
{
	static __thread struct bound bound;
	bound = (struct bound){.deadline_ns = deadline_in(20 * NS_PER_S)};
	return &bound;
}

static int set_up(void **state)
{
	static const char *const flags[] = {"-uri", "test:///default", "-pool-name", "default-pool",
		"-vol-name", "base.qcow2", "-memory", "64", "-root-disk-size", "1"};
	struct world *w = calloc(1, sizeof(*w));
	cleanup_error err = ERROR_INIT;
	bool help;
	w->set = (struct option_set){"Options", libvirt_option_table, LIBVIRT_OPTION_COUNT,
		&w->options};
	if (options_parse(&w->set, 1, array_size(flags), (char *const *)flags, no_environment,
		    &help, &err) < 0)
		fail_msg("%s", error_message(&err));
	w->conn = virConnectOpen("test:///default");
	virStoragePoolPtr pool = virStoragePoolLookupByName(w->conn, "default-pool");
	virStorageVolPtr base = virStorageVolCreateXML(pool,
		"<volume><name>base.qcow2</name><capacity>1048576</capacity><allocation>1048576</allocation>"
		"<target><format type='qcow2'/></target></volume>",
		0);
	assert_non_null(base);
	virStorageVolFree(base);
	virStoragePoolFree(pool);
	w->provider = peerpod_provider.open(&w->options, soon(), &err);
	if (!w->provider)
		fail_msg("%s", error_message(&err));
	fail_upload = false;
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	peerpod_provider.close(w->provider);
	/* Nothing of the driver's holds the connection: only our own reference is left. */
	virStoragePoolPtr pool = virStoragePoolLookupByName(w->conn, "default-pool");
	virStorageVolPtr base = virStorageVolLookupByName(pool, "base.qcow2");
	virStorageVolDelete(base, 0);
	virStorageVolFree(base);
	virStoragePoolFree(pool);
	assert_int_equal(virConnectClose(w->conn), 0);
	options_free(&w->set, 1);
	free(w);
	return 0;
}

static int make(struct world *w, const char *token, struct instance *instance, struct error *err)
{
	static const char user_data[5000] = "#cloud-config\n";
	struct instance_request request = {
		.owner = {"c1", "n1", "default", "web", "sandbox-1"},
		.token = token,
		.name = "podvm-web-01234567",
		.user_data = user_data,
		.user_data_len = sizeof(user_data),
		.instance_type = "",
		.image = "",
	};
	return peerpod_provider.create(w->provider, &request, instance, soon(), err);
}

static int volume_count(struct world *w)
{
	virStoragePoolPtr pool = virStoragePoolLookupByName(w->conn, "default-pool");
	int count = virStoragePoolNumOfVolumes(pool);
	virStoragePoolFree(pool);
	return count;
}

static void test_from_create_to_nothing(void **state)
{
	struct world *w = *state;
	cleanup_error err = ERROR_INIT;
	struct instance instance = {0}, again = {0}, found = {0};
	if (make(w, "token-1", &instance, &err) < 0)
		fail_msg("%s", error_message(&err));
	char expected[UUID_TEXT_LEN + 1];
	uuid_of_token("token-1", expected);
	assert_string_equal(instance.id, expected);
	assert_string_equal(instance.name, "podvm-web-01234567");
	assert_true(uploaded > 5000 && uploaded % 2048 == 0);
	assert_int_equal(volume_count(w), 3);
	assert_int_equal(make(w, "token-1", &again, &err), 0);
	assert_string_equal(again.id, expected);
	assert_int_equal(volume_count(w), 3);

	assert_int_equal(peerpod_provider.find(w->provider, "token-1", &found, soon(), &err), 0);
	assert_string_equal(found.sandbox, "sandbox-1");
	assert_string_equal(found.node, "n1");
	assert_int_equal(peerpod_provider.delete(w->provider, expected, soon(), &err), 0);
	assert_int_equal(peerpod_provider.delete(w->provider, expected, soon(), &err), 0);
	assert_int_equal(volume_count(w), 1);
	instance_free(&found);
	assert_int_equal(peerpod_provider.find(w->provider, "token-1", &found, soon(), &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
	instance_free(&instance);
	instance_free(&again);
}

static void test_list_knows_ours_only(void **state)
{
	struct world *w = *state;
	cleanup_error err = ERROR_INIT;
	struct instance one = {0}, *list;
	size_t count;
	assert_int_equal(make(w, "token-1", &one, &err), 0);
	/* The in-memory host has a domain of its own, "test". */
	assert_true(virConnectNumOfDomains(w->conn) >= 2);
	assert_int_equal(peerpod_provider.list(w->provider, "", "", &list, &count, soon(), &err),
		0);
	assert_int_equal(count, 1);
	assert_string_equal(list[0].pod, "web");
	assert_true(list[0].created > 1700000000);
	instances_free(list, count);
	assert_int_equal(peerpod_provider.list(w->provider, "c1", "other", &list, &count, soon(),
				 &err),
		0);
	assert_int_equal(count, 0);
	instances_free(list, count);

	virDomainPtr foreign = virDomainLookupByName(w->conn, "test");
	char uuid[VIR_UUID_STRING_BUFLEN];
	virDomainGetUUIDString(foreign, uuid);
	virDomainFree(foreign);
	assert_int_equal(peerpod_provider.delete(w->provider, uuid, soon(), &err), -1);
	assert_int_equal(err.kind, ERROR_DENIED);
	assert_int_equal(peerpod_provider.delete(w->provider, one.id, soon(), &err), 0);
	instance_free(&one);
}

static void test_a_failed_upload_leaves_nothing(void **state)
{
	struct world *w = *state;
	cleanup_error err = ERROR_INIT;
	struct instance instance = {0};
	int domains = virConnectNumOfDefinedDomains(w->conn);
	fail_upload = true;
	assert_int_equal(make(w, "token-1", &instance, &err), -1);
	assert_non_null(strstr(err.message, "user data: volume podvm-web-01234567-"));
	assert_null(instance.id);
	assert_int_equal(volume_count(w), 1);
	assert_int_equal(virConnectNumOfDefinedDomains(w->conn), domains);
	fail_upload = false;
	assert_int_equal(make(w, "token-1", &instance, &err), 0);
	assert_int_equal(peerpod_provider.delete(w->provider, instance.id, soon(), &err), 0);
	instance_free(&instance);
}

static void test_a_cancelled_create_leaves_nothing(void **state)
{
	struct world *w = *state;
	cleanup_error err = ERROR_INIT;
	struct instance instance = {0};
	cleanup(cancel_unref_ptr) struct cancel *cancel = cancel_new();
	struct bound bound = {.deadline_ns = deadline_in(20 * NS_PER_S), .cancel = cancel};
	cancel_fire(cancel);
	struct instance_request request = {.owner = {"c1", "n1", "default", "web", "s"},
		.token = "token-1",
		.name = "podvm-web",
		.user_data = "",
		.instance_type = "",
		.image = ""};
	assert_int_equal(peerpod_provider.create(w->provider, &request, &instance, &bound, &err),
		-1);
	assert_int_equal(err.kind, ERROR_CANCELED);
	assert_int_equal(volume_count(w), 1);
}

struct racer {
	struct world *world;
	struct instance instance;
	int result;
	char token[32];
	pthread_t thread;
};

static void *race(void *opaque)
{
	struct racer *r = opaque;
	cleanup_error err = ERROR_INIT;
	r->result = make(r->world, r->token, &r->instance, &err);
	if (r->result < 0)
		print_error("%s\n", error_message(&err));
	return NULL;
}

static void test_many_threads_at_once(void **state)
{
	struct world *w = *state;
	struct racer racers[8] = {0};
	for (size_t i = 0; i < array_size(racers); i++) {
		racers[i].world = w;
		snprintf(racers[i].token, sizeof(racers[i].token), "token-%zu",
			i / 2); /* pairs meet */
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (size_t i = 0; i < array_size(racers); i++) {
		pthread_join(racers[i].thread, NULL);
		assert_int_equal(racers[i].result, 0);
	}
	for (size_t i = 0; i < array_size(racers); i += 2)
		assert_string_equal(racers[i].instance.id, racers[i + 1].instance.id);
	assert_int_equal(volume_count(w), 1 + 4 * 2);
	for (size_t i = 0; i < array_size(racers); i++) {
		assert_int_equal(peerpod_provider.delete(w->provider, racers[i].instance.id, soon(),
					 NULL),
			0);
		instance_free(&racers[i].instance);
	}
	assert_int_equal(volume_count(w), 1);
}

static void test_ids_that_are_none_are_refused(void **state)
{
	struct world *w = *state;
	cleanup_error err = ERROR_INIT;
	struct instance instance = {0};
	assert_int_equal(peerpod_provider.delete(w->provider, "i-0123", soon(), &err), -1);
	assert_string_equal(err.message,
		"\"i-0123\" is no instance id of the libvirt driver: a UUID");
	assert_int_equal(peerpod_provider.wait_addresses(w->provider, "", 1, &instance, soon(),
				 &err),
		-1);
	assert_int_equal(err.kind, ERROR_INVALID);
	char *tail = peerpod_provider.console_tail(w->provider, "../../etc/passwd", 100, soon());
	assert_string_equal(tail, "");
	free(tail);
}

static void test_check(void **state)
{
	struct world *w = *state;
	cleanup_error err = ERROR_INIT;
	cleanup_report report = {0};
	if (peerpod_provider.check(w->provider, &report, soon(), &err) < 0)
		fail_msg("%s", error_message(&err));
}

int main(void)
{
#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WORLD_TEST(test_from_create_to_nothing),
		WORLD_TEST(test_list_knows_ours_only),
		WORLD_TEST(test_a_failed_upload_leaves_nothing),
		WORLD_TEST(test_a_cancelled_create_leaves_nothing),
		WORLD_TEST(test_many_threads_at_once),
		WORLD_TEST(test_ids_that_are_none_are_refused),
		WORLD_TEST(test_check),
	};
	log_init("libvirt_memory_test", LOG_ERROR, LOG_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
