/* SPDX-License-Identifier: Apache-2.0 */
/* libvirt_test.c - what the libvirt driver is given and writes, without libvirt: names, options, URIs, the ISO */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "providers/libvirt/iso9660.h"
#include "providers/libvirt/names.h"
#include "providers/libvirt/options.h"
#include "providers/libvirt/uri.h"

#define TOKEN "0123456789abcdef0123456789abcdef"

/* ---- names -------------------------------------------------------------------------------------- */

static void test_uuid_is_version_5_and_follows_from_the_token(void **state)
{
	(void)state;
	char one[UUID_TEXT_LEN + 1], again[UUID_TEXT_LEN + 1], other[UUID_TEXT_LEN + 1];
	uuid_of_token(TOKEN, one);
	uuid_of_token(TOKEN, again);
	uuid_of_token("fedcba9876543210fedcba9876543210", other);
	/* Fixed for ever: instances that exist are found by it. Computed with Python's uuid.uuid5. */
	assert_string_equal(one, "22c3a34a-acda-5b57-b243-3212b9e99e9b");
	assert_string_equal(one, again);
	assert_string_not_equal(one, other);
	assert_true(uuid_valid(one));
	assert_false(uuid_valid("22c3a34a-acda-5b57-b243-3212b9e99e9"));
	assert_false(uuid_valid("22c3a34a-acda-5b57-b243-3212b9e99e9bb"));
	assert_false(uuid_valid("22c3a34a-acda-5b57-b243_3212b9e99e9b"));
	assert_false(uuid_valid(""));
}

static void test_mac_differs_by_nic_and_salt(void **state)
{
	(void)state;
	char a[MAC_TEXT_LEN + 1], b[MAC_TEXT_LEN + 1], c[MAC_TEXT_LEN + 1];
	mac_of_token(TOKEN, 0, 0, a);
	mac_of_token(TOKEN, 1, 0, b);
	mac_of_token(TOKEN, 0, 1, c);
	assert_memory_equal(a, "52:54:00:", 9);
	assert_int_equal(strlen(a), MAC_TEXT_LEN);
	assert_string_not_equal(a, b);
	assert_string_not_equal(a, c);
}

static void test_domain_name_is_one_dns_label(void **state)
{
	(void)state;
	static const struct {
		const char *wish;
		unsigned attempt;
		const char *name;
	} rows[] = {
		{"podvm-web-01234567", 0, "podvm-web-01234567"},
		{"podvm-Web.Shop_1-01234567", 0, "podvm-web-shop-1-01234567"},
		{"podvm-web-01234567", 1, "podvm-web-01234567-01234567"},
		{"podvm-web-01234567", 2, "podvm-web-01234567-" TOKEN},
		{"podvm-a-very-long-name-of-a-pod-that-goes-on-and-on-and-on-for-ever-01234567", 0,
			"podvm-a-very-long-name-of-a-pod-that-goes-on-and-on-and-on-for"},
		{"podvm-a-very-long-name-of-a-pod-that-goes-on-and-on-and-on-for-ever-01234567", 2,
			"podvm-a-very-long-name-of-a-po-" TOKEN},
		{"---", 0, "podvm"},
		{"f\xc3\xa4hre", 0, "f--hre"},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		char name[DOMAIN_NAME_MAX + 1];
		domain_name_make(rows[i].wish, TOKEN, rows[i].attempt, name);
		assert_string_equal(name, rows[i].name);
		assert_true(strlen(name) <= DOMAIN_NAME_MAX);
	}
}

static void test_volume_and_reservation_names_tell_the_uuid(void **state)
{
	(void)state;
	struct identity identity, read;
	uuid_of_token(TOKEN, identity.uuid);
	domain_name_make("podvm-web-01234567", TOKEN, 0, identity.name);
	for (int role = 0; role < VOLUME_ROLES; role++) {
		char *name = volume_name_make(&identity, (enum volume_role)role);
		assert_true(volume_name_parse(name, &read));
		assert_string_equal(read.uuid, identity.uuid);
		assert_string_equal(read.name, identity.name);
		free(name);
	}
	static const char *const foreign[] = {
		"podvm-base.qcow2",
		"podvm-web-01234567-root.qcow2",
		"-root.qcow2",
		"-22c3a34a-acda-5b57-b243-3212b9e99e9b-root.qcow2",
		"x-22c3a34a-acda-5b57-b243-3212b9e99e9z-root.qcow2",
		"x-22c3a34a-acda-5b57-b243-3212b9e99e9b-root.qcow",
		"x22c3a34a-acda-5b57-b243-3212b9e99e9b-root.qcow2",
		"",
	};
	for (size_t i = 0; i < array_size(foreign); i++)
		assert_false(volume_name_parse(foreign[i], &read));

	char name[RESERVATION_NAME_MAX + 1], uuid[UUID_TEXT_LEN + 1];
	unsigned nic;
	int64_t created;
	reservation_name_make(identity.uuid, 1, 1795317116, name);
	assert_string_equal(name, "podvm1-22c3a34a-acda-5b57-b243-3212b9e99e9b-6b025d7c");
	assert_true(reservation_name_parse(name, uuid, &nic, &created));
	assert_string_equal(uuid, identity.uuid);
	assert_int_equal(nic, 1);
	assert_int_equal(created, 1795317116);
	assert_false(reservation_name_parse("printer", uuid, &nic, &created));
	assert_false(reservation_name_parse("podvm1-22c3a34a-acda-5b57-b243-3212b9e99e9b-", uuid,
		&nic, &created));
	assert_false(reservation_name_parse("podvm1-22c3a34a-acda-5b57-b243-3212b9e99e9b-xyz", uuid,
		&nic, &created));
	assert_false(reservation_name_parse("podvmx-22c3a34a-acda-5b57-b243-3212b9e99e9b-1", uuid,
		&nic, &created));
}

/* ---- options ------------------------------------------------------------------------------------- */

static void test_cpuset(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		unsigned cpus;
		const char *message; /* NULL: accepted */
	} rows[] = {
		{"0", 0, NULL},
		{"0-3,8", 0, NULL},
		{"1,3,5-7", 8, NULL},
		{"", 0, "cpuset \"\" is not of the form N[-M](,N[-M])*"},
		{"0-", 0, "cpuset \"0-\" is not of the form N[-M](,N[-M])*"},
		{"0,", 0, "cpuset \"0,\" is not of the form N[-M](,N[-M])*"},
		{"^1", 0, "cpuset \"^1\" is not of the form N[-M](,N[-M])*"},
		{"0-3,^2", 0, "cpuset \"0-3,^2\" is not of the form N[-M](,N[-M])*"},
		{"99999999999999999999", 0,
			"cpuset \"99999999999999999999\" is not of the form N[-M](,N[-M])*"},
		{"3-1", 0, "cpuset \"3-1\": the range 3-1 runs backwards"},
		{"0-2", 2, "cpuset \"0-2\": the host has CPUs 0-1 only"},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		cleanup_error err = ERROR_INIT;
		int result = cpuset_check(rows[i].text, rows[i].cpus, &err);
		assert_int_equal(result, rows[i].message ? -1 : 0);
		if (rows[i].message)
			assert_string_equal(err.message, rows[i].message);
	}
}

static void test_capacity_does_not_overflow(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	uint64_t bytes;
	assert_int_equal(capacity_bytes(10, &bytes, &err), 0);
	assert_int_equal(bytes, UINT64_C(10737418240));
	assert_int_equal(capacity_bytes((INT64_C(1) << 33) - 1, &bytes, &err), 0);
	assert_int_equal(capacity_bytes(INT64_C(1) << 33, &bytes, &err), -1);
	assert_string_equal(err.message,
		"a root disk of 8589934592 GiB is more than can be counted");
	assert_int_equal(capacity_bytes(-1, &bytes, NULL), -1);
	assert_int_equal(capacity_bytes(INT64_MAX, &bytes, NULL), -1);
}

static void test_instance_types(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	int64_t vcpus = 0, mib = 0;
	const char *types = "small=2x2048,large=8x16384";
	assert_int_equal(instance_type_size(types, "large", &vcpus, &mib, &err), 0);
	assert_int_equal(vcpus, 8);
	assert_int_equal(mib, 16384);
	assert_int_equal(instance_type_size("", "3x512", &vcpus, &mib, &err), 0);
	assert_int_equal(vcpus, 3);
	assert_int_equal(instance_type_size(types, "arge", &vcpus, &mib, &err), -1);
	assert_string_equal(err.message,
		"instance type \"arge\" is neither one of LIBVIRT_INSTANCE_TYPES (small=2x2048,large=8x16384) nor a size like 2x2048");
	assert_int_equal(instance_type_size("", "0x512", &vcpus, &mib, NULL), -1);
	assert_int_equal(instance_type_size("", "2x2048,", &vcpus, &mib, NULL), -1);
}

/* Parses these options as the adaptor does, without an environment; then the driver's own check. */
static const char *no_environment(const char *name)
{
	(void)name;
	return NULL;
}

static void check_options(const char *flag, const char *value, const char *message)
{
	struct libvirt_options options = {0};
	struct option_set set = {"Options", libvirt_option_table, LIBVIRT_OPTION_COUNT, &options};
	cleanup_error err = ERROR_INIT;
	char *argv[] = {(char *)flag, (char *)value};
	bool help;
	int result = options_parse(&set, 1, flag ? 2 : 0, argv, no_environment, &help, &err);
	if (result == 0) {
		result = libvirt_options_check(&options, &err);
		options_free(&set, 1);
	}
	if (message) {
		assert_int_equal(result, -1);
		assert_string_equal(err.message, message);
	} else {
		assert_null(err.message);
		assert_int_equal(result, 0);
	}
}

static void test_options_that_do_not_fit(void **state)
{
	(void)state;
	static const struct {
		const char *flag, *value, *message;
	} rows[] = {
		{NULL, NULL, NULL},
		{"-firmware", "", NULL},
		{"-firmware", "bios", NULL},
		{"-console-log", "/srv/console", NULL},
		{"-cpuset", "0-",
			"LIBVIRT_CPUSET: cpuset \"0-\" is not of the form N[-M](,N[-M])*"},
		{"-firmware", "OVMF.fd",
			"LIBVIRT_EFI_FIRMWARE (auto, bios or a path): \"OVMF.fd\" must be an absolute path on the libvirt host"},
		{"-console-log", "yes",
			"LIBVIRT_CONSOLE_LOG (on, off or a folder): \"yes\" must be an absolute path on the libvirt host"},
		{"-kernel", "vmlinuz",
			"LIBVIRT_KERNEL: \"vmlinuz\" must be an absolute path on the libvirt host"},
		{"-cmdline", "quiet", "LIBVIRT_CMDLINE needs LIBVIRT_KERNEL"},
		{"-snp-policy", "0x10000",
			"LIBVIRT_SNP_POLICY: \"0x10000\" lacks bit 17 (0x20000), which must be set"},
		{"-snp-policy", "many", "LIBVIRT_SNP_POLICY: \"many\" is no number of 64 bits"},
		{"-instance-types", "small=2",
			"LIBVIRT_INSTANCE_TYPES: \"small=2\" is not of the form name=2x2048"},
		{"-root-disk-size", "9223372036854775807",
			"LIBVIRT_ROOT_DISK_SIZE: a root disk of 9223372036854775807 GiB is more than can be counted"},
		{"-launch-security", "sev",
			"option -launch-security (LIBVIRT_LAUNCH_SECURITY): \"sev\" is none of: \"\", s390-pv, sev-snp, tdx"},
		{"-cpu", "0", "option -cpu (LIBVIRT_CPU): 0 is not between 1 and 4096"},
	};
	for (size_t i = 0; i < array_size(rows); i++)
		check_options(rows[i].flag, rows[i].value, rows[i].message);
	/* The table is as long as its number says. */
	assert_non_null(libvirt_option_table[LIBVIRT_OPTION_COUNT - 1].name);
}

static void test_uri(void **state)
{
	(void)state;
	static const struct {
		const char *uri, *prepared;
		bool local, test, unverified;
		const char *socket;
	} rows[] = {
		{"qemu:///system", "qemu:///system", true, false, false,
			"/run/libvirt/libvirt-sock"},
		{"qemu+unix:///system?socket=/a/b", "qemu+unix:///system?socket=/a/b", true, false,
			false, "/a/b"},
		{"qemu:///session", "qemu:///session", true, false, false, NULL},
		{"test:///default", "test:///default", true, true, false, NULL},
		{"qemu+ssh://root@192.0.2.1/system?no_verify=1",
			"qemu+ssh://root@192.0.2.1/system?no_verify=1&no_tty=1", false, false, true,
			NULL},
		{"qemu+ssh://h/system", "qemu+ssh://h/system?no_tty=1", false, false, false, NULL},
		{"qemu+ssh://h/system?no_tty=1&keyfile=/k",
			"qemu+ssh://h/system?no_tty=1&keyfile=/k", false, false, false, NULL},
		{"qemu+tls://h/system", "qemu+tls://h/system", false, false, false, NULL},
		{"qemu+tcp://127.0.0.1/system", "qemu+tcp://127.0.0.1/system", false, false, false,
			NULL},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		struct uri_facts facts;
		char *prepared = uri_prepare(rows[i].uri, &facts, NULL);
		assert_string_equal(prepared, rows[i].prepared);
		assert_int_equal(facts.local, rows[i].local);
		assert_int_equal(facts.test, rows[i].test);
		assert_int_equal(facts.unverified_ssh, rows[i].unverified);
		assert_string_equal(facts.socket ? facts.socket : "",
			rows[i].socket ? rows[i].socket : "");
		free(prepared);
		free(facts.socket);
	}
	cleanup_error err = ERROR_INIT;
	struct uri_facts facts;
	assert_null(uri_prepare("/var/run/libvirt", &facts, &err));
	assert_string_equal(err.message,
		"\"/var/run/libvirt\" is no connection URI: use for example qemu:///system or "
		"qemu+ssh://user@host/system");
}

/* ---- the ISO --------------------------------------------------------------------------------------- */

static void test_iso_refuses_what_it_cannot_hold(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	struct buf out = BUF_INIT;
	const struct iso9660_file bad_name = {"User Data", "", 0}, slash = {"a/b", "", 0};
	const struct iso9660_file unsorted[] = {{"b", "", 0}, {"a", "", 0}};
	const struct iso9660_file huge = {"a", "", (size_t)1 << 40};
	assert_int_equal(iso9660_write("cidata", &bad_name, 1, &out, &err), -1);
	assert_string_equal(err.message,
		"ISO file name \"User Data\": 1 to 30 of a-z, 0-9, dash, dot, underscore");
	assert_int_equal(iso9660_write("cidata", &slash, 1, &out, &err), -1);
	assert_int_equal(iso9660_write("cidata", unsorted, 2, &out, &err), -1);
	assert_int_equal(err.kind, ERROR_INTERNAL);
	assert_int_equal(iso9660_write("cidata", &huge, 1, &out, &err), -1);
	assert_string_equal(err.message, "ISO file a: 1099511627776 bytes are more than 67108864");
	assert_int_equal(iso9660_write("a label that has more than 32 letters", &huge, 0, &out,
				 &err),
		-1);
	assert_int_equal(iso9660_write("cidata", &huge, 9, &out, &err), -1);
	assert_int_equal(out.len, 0);
}

static void test_iso_is_small_and_depends_on_its_content_only(void **state)
{
	(void)state;
	const struct iso9660_file files[] = {{"meta-data", "instance-id: x\n", 15},
		{"user-data", "#cloud-config\n", 14}, {"vendor-data", "", 0}};
	struct buf one = BUF_INIT, two = BUF_INIT;
	assert_int_equal(iso9660_write("cidata", files, 3, &one, NULL), 0);
	assert_int_equal(iso9660_write("cidata", files, 3, &two, NULL), 0);
	assert_int_equal(one.len, 23 * ISO9660_SECTOR);
	assert_int_equal(one.len, two.len);
	assert_memory_equal(one.data, two.data, one.len);
	assert_memory_equal(one.data + 16 * ISO9660_SECTOR, "\1CD001\1", 7);
	assert_memory_equal(one.data + 16 * ISO9660_SECTOR + 40, "cidata  ", 8);
	assert_memory_equal(one.data + 21 * ISO9660_SECTOR, "instance-id: x\n", 15);
	assert_memory_equal(one.data + 22 * ISO9660_SECTOR, "#cloud-config\n", 14);
	buf_free(&one);
	buf_free(&two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uuid_is_version_5_and_follows_from_the_token),
		cmocka_unit_test(test_mac_differs_by_nic_and_salt),
		cmocka_unit_test(test_domain_name_is_one_dns_label),
		cmocka_unit_test(test_volume_and_reservation_names_tell_the_uuid),
		cmocka_unit_test(test_cpuset),
		cmocka_unit_test(test_capacity_does_not_overflow),
		cmocka_unit_test(test_instance_types),
		cmocka_unit_test(test_options_that_do_not_fit),
		cmocka_unit_test(test_uri),
		cmocka_unit_test(test_iso_refuses_what_it_cannot_hold),
		cmocka_unit_test(test_iso_is_small_and_depends_on_its_content_only),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
