/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvirt_test.c - the libvirt driver without libvirt: names, sizes, error kinds, the ISO, address choice, metadata
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <libvirt/virterror.h>

#include "base/buf.h"
#include "providers/libvirt/console.h"
#include "providers/libvirt/failure.h"
#include "providers/libvirt/host.h"
#include "providers/libvirt/iso9660.h"
#include "providers/libvirt/names.h"
#include "providers/libvirt/network.h"
#include "providers/libvirt/options.h"
#include "providers/libvirt/record.h"
#include "providers/libvirt/uri.h"
#include "providers/libvirt/volume.h"

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

/* ---- errors of libvirt ------------------------------------------------------------------------------ */

static void test_errors_of_libvirt_become_kinds(void **state)
{
	(void)state;
	static const struct {
		int code, domain;
		const char *text;
		enum error_kind kind;
		bool loss;
	} rows[] = {
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_RPC, "internal error: client socket is closed",
			ERROR_RETRY, true},
		{VIR_ERR_SYSTEM_ERROR, VIR_FROM_RPC,
			"Failed to connect socket to '/run/x': Connection refused", ERROR_RETRY,
			true},
		{VIR_ERR_RPC, VIR_FROM_RPC, "", ERROR_RETRY, true},
		{VIR_ERR_OPERATION_TIMEOUT, VIR_FROM_QEMU, "cannot acquire state change lock",
			ERROR_RETRY, false},
		{VIR_ERR_RESOURCE_BUSY, VIR_FROM_QEMU, "", ERROR_RETRY, false},
		{VIR_ERR_AUTH_FAILED, VIR_FROM_RPC, "authentication failed", ERROR_DENIED, false},
		{VIR_ERR_ACCESS_DENIED, VIR_FROM_ACCESS, "", ERROR_DENIED, false},
		{VIR_ERR_NO_CONNECT, 0, "", ERROR_INVALID, false},
		{VIR_ERR_XML_ERROR, VIR_FROM_DOMAIN, "", ERROR_INVALID, false},
		{VIR_ERR_XML_INVALID_SCHEMA, VIR_FROM_XML, "", ERROR_INVALID, false},
		{VIR_ERR_CONFIG_UNSUPPORTED, VIR_FROM_QEMU, "unable to open vhost-vsock device",
			ERROR_INVALID, false},
		{VIR_ERR_NO_DOMAIN, VIR_FROM_QEMU, "", ERROR_GONE, false},
		{VIR_ERR_NO_STORAGE_VOL, VIR_FROM_STORAGE, "", ERROR_GONE, false},
		{VIR_ERR_NO_NETWORK, VIR_FROM_NETWORK, "", ERROR_GONE, false},
		{VIR_ERR_STORAGE_VOL_EXIST, VIR_FROM_STORAGE, "", ERROR_EXISTS, false},
		{VIR_ERR_OPERATION_FAILED, VIR_FROM_DOMAIN,
			"operation failed: domain 'a' already exists with uuid b", ERROR_EXISTS,
			false},
		{VIR_ERR_SYSTEM_ERROR, VIR_FROM_STORAGE, "cannot write: No space left on device",
			ERROR_CAPACITY, false},
		{VIR_ERR_SYSTEM_ERROR, VIR_FROM_STORAGE, "cannot write: Disk quota exceeded",
			ERROR_CAPACITY, false},
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_NONE,
			"Child process (/sbin/lvcreate) unexpected exit status 5: Volume group \"vg\" has insufficient free space (255 extents): 2560 required.",
			ERROR_CAPACITY, false},
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_STORAGE, "no large enough free extent",
			ERROR_CAPACITY, false},
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_NONE,
			"Child process (zfs create) unexpected exit status 1: cannot create 'a/b': out of space",
			ERROR_CAPACITY, false},
		{VIR_ERR_SYSTEM_ERROR, VIR_FROM_STORAGE, "no file: No such file or directory",
			ERROR_INVALID, false},
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU,
			"qemu unexpectedly closed the monitor: cannot set up guest memory 'pc.ram': Cannot allocate memory",
			ERROR_CAPACITY, false},
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU,
			"process exited: error: failed to set MSR 0x10a, kvm.c", ERROR_INVALID,
			false},
		{VIR_ERR_NO_SUPPORT, VIR_FROM_TEST, "", ERROR_UNSUPPORTED, false},
		{VIR_ERR_ARGUMENT_UNSUPPORTED, VIR_FROM_QEMU, "QEMU guest agent is not configured",
			ERROR_UNSUPPORTED, false},
		{VIR_ERR_NO_DOMAIN_METADATA, VIR_FROM_DOMAIN, "", ERROR_GONE, false},
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_STORAGE, "something new", ERROR_INTERNAL, false},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		enum error_kind kind = failure_kind(rows[i].code, rows[i].domain, rows[i].text);
		if (kind != rows[i].kind)
			print_error("row %zu: %s\n", i, error_kind_name(kind));
		assert_int_equal(kind, rows[i].kind);
		assert_int_equal(failure_is_loss(rows[i].code, rows[i].domain), rows[i].loss);
	}
	assert_true(failure_is_kvm(VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU,
		"target/i386/kvm/kvm.c:3000"));
	assert_false(failure_is_kvm(VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU, "no disk"));
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

/* ---- addresses ----------------------------------------------------------------------------------------- */

#define RANGE(a, b) .managed = true, .gateway = 0xc0a89601, .range_start = (a), .range_end = (b)

static void test_address_choice_avoids_what_is_taken(void **state)
{
	(void)state;
	struct dhcp_host hosts[] = {{.mac = "52:54:00:00:00:01", .ip = 0xc0a8960a}};
	struct lease leases[] = {{.mac = "52:54:00:00:00:02", .ip = 0xc0a8960b}};
	struct network_facts facts = {RANGE(0xc0a8960a, 0xc0a8960c), .hosts = hosts,
		.host_count = 1};
	char mac[MAC_TEXT_LEN + 1], usual[MAC_TEXT_LEN + 1];
	uint32_t ip;
	mac_of_token(TOKEN, 0, 0, usual);
	for (unsigned attempt = 0; attempt < 5; attempt++) {
		assert_true(address_choose(&facts, leases, 1, TOKEN, 0, attempt, mac, &ip));
		assert_int_equal(ip, 0xc0a8960c);
		assert_string_equal(mac, usual);
	}
	/* The gateway is never given out, although some ranges contain it. */
	facts = (struct network_facts){RANGE(0xc0a89601, 0xc0a89602)};
	for (unsigned attempt = 0; attempt < 5; attempt++) {
		assert_true(address_choose(&facts, NULL, 0, TOKEN, 0, attempt, mac, &ip));
		assert_int_equal(ip, 0xc0a89602);
	}
}

static void test_address_choice_takes_over_stale_leases_with_their_mac(void **state)
{
	(void)state;
	struct lease leases[] = {
		{.mac = "52:54:00:00:00:02", .ip = 0xc0a8960a},
		{.mac = "52:54:00:00:00:03", .ip = 0xc0a8960b, .stale = true},
	};
	struct network_facts facts = {RANGE(0xc0a8960a, 0xc0a8960b)};
	char mac[MAC_TEXT_LEN + 1];
	uint32_t ip;
	assert_true(address_choose(&facts, leases, 2, TOKEN, 0, 0, mac, &ip));
	assert_int_equal(ip, 0xc0a8960b);
	assert_string_equal(mac, "52:54:00:00:00:03");
	leases[1].stale = false;
	assert_false(address_choose(&facts, leases, 2, TOKEN, 0, 0, mac, &ip));
}

static void test_address_choice_salts_a_mac_that_is_taken(void **state)
{
	(void)state;
	struct dhcp_host host = {.ip = 0xc0a8960a};
	mac_of_token(TOKEN, 0, 0, host.mac);
	struct network_facts facts = {RANGE(0xc0a8960a, 0xc0a896fa), .hosts = &host,
		.host_count = 1};
	char mac[MAC_TEXT_LEN + 1], salted[MAC_TEXT_LEN + 1];
	uint32_t ip;
	mac_of_token(TOKEN, 0, 1, salted);
	assert_true(address_choose(&facts, NULL, 0, TOKEN, 0, 0, mac, &ip));
	assert_string_equal(mac, salted);
}

static void test_network_xml(void **state)
{
	(void)state;
	struct network_facts facts;
	assert_int_equal(
		network_xml_read("n",
			"<network><name>n</name><forward mode='nat'/><bridge name='virbr7'/>"
			"<ip family='ipv6' address='fd00::1' prefix='64'><dhcp><range start='fd00::2' end='fd00::9'/></dhcp></ip>"
			"<ip address='192.168.150.1' netmask='255.255.255.0'><dhcp>"
			"<range start='192.168.150.10' end='192.168.150.20'/>"
			"<host mac='52:54:00:00:00:01' name='printer' ip='192.168.150.10'/>"
			"<host mac='52:54:00:00:00:02' name='podvm0-22c3a34a-acda-5b57-b243-3212b9e99e9b-10' ip='192.168.150.11'/>"
			"<host name='x'/></dhcp></ip></network>",
			&facts, NULL),
		0);
	assert_true(facts.managed);
	assert_string_equal(facts.bridge, "virbr7");
	assert_int_equal(facts.gateway, 0xc0a89601);
	assert_int_equal(facts.range_start, 0xc0a8960a);
	assert_int_equal(facts.range_end, 0xc0a89614);
	assert_int_equal(facts.host_count, 3);
	assert_string_equal(facts.hosts[0].uuid, "");
	assert_string_equal(facts.hosts[1].uuid, "22c3a34a-acda-5b57-b243-3212b9e99e9b");
	assert_int_equal(facts.hosts[1].created, 16);
	network_facts_free(&facts);

	assert_int_equal(
		network_xml_read("n",
			"<network><name>n</name><forward mode='bridge'/><bridge name='br0'/></network>",
			&facts, NULL),
		0);
	assert_false(facts.managed);
	assert_int_equal(facts.range_start, 0);
	network_facts_free(&facts);

	cleanup_error err = ERROR_INIT;
	assert_int_equal(network_xml_read("network n", "<network>", &facts, &err), -1);
	assert_string_equal(err.message, "the XML of network n is not well-formed");
	assert_int_equal(network_xml_read("network n",
				 "<!DOCTYPE a [<!ENTITY b 'c'>]><network>&b;</network>", &facts,
				 &err),
		-1);
	assert_string_equal(err.message, "the XML of network n has a DTD");
}

/* ---- metadata -------------------------------------------------------------------------------------------- */

static void test_metadata_comes_back_as_it_was(void **state)
{
	(void)state;
	struct record record =
			      {
				      .cluster = (char *)"c1",
				      .node = (char *)"n<1>",
				      .pod_namespace = (char *)"a&b",
				      .pod = (char *)"web \"quoted\" 'x' \xc3\xa4\xe2\x82\xac",
				      .sandbox = (char *)"s",
				      .token = (char *)TOKEN,
				      .created = 1795317116,
				      .volumes = {(char *)"one", (char *)"two"},
				      .volume_count = 2,
			      },
		      read;
	xmlDoc *doc = xmlNewDoc((const xmlChar *)"1.0");
	xmlNode *domain = xmlNewNode(NULL, (const xmlChar *)"domain");
	xmlDocSetRootElement(doc, domain);
	assert_int_equal(record_write(domain, &record, "pv1", NULL), 0);
	char *text = xml_write(doc);
	assert_int_equal(record_read("d", text, &read, NULL), 0);
	assert_string_equal(read.cluster, record.cluster);
	assert_string_equal(read.node, record.node);
	assert_string_equal(read.pod_namespace, record.pod_namespace);
	assert_string_equal(read.pod, record.pod);
	assert_string_equal(read.sandbox, record.sandbox);
	assert_string_equal(read.token, record.token);
	assert_int_equal(read.created, record.created);
	assert_int_equal(read.volume_count, 2);
	assert_string_equal(read.volumes[1], "two");
	record_free(&read);
	free(text);

	cleanup_error err = ERROR_INIT;
	record.pod = (char *)"a\001b";
	assert_int_equal(record_write(domain, &record, NULL, &err), -1);
	assert_string_equal(err.message, "pod holds a control character or is not UTF-8");
	record.pod = (char *)"\xff";
	assert_int_equal(record_write(domain, &record, NULL, &err), -1);
	xmlFreeDoc(doc);

	assert_int_equal(record_read("domain x", "<domain><metadata/></domain>", &read, &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
	assert_string_equal(err.message, "domain x carries no metadata of ours");
}

static void test_volume_xml(void **state)
{
	(void)state;
	char *path, *format;
	uint64_t capacity, physical;
	int64_t changed;
	assert_int_equal(
		volume_xml_read("v",
			"<volume type='file'><name>v</name><capacity unit='bytes'>104857600</capacity><physical unit='bytes'>77</physical>"
			"<target><path>/p/v</path><format type='qcow2'/><timestamps><mtime>1700000000.123</mtime></timestamps></target>"
			"</volume>",
			&path, &format, &capacity, &physical, &changed, NULL),
		0);
	assert_string_equal(path, "/p/v");
	assert_string_equal(format, "qcow2");
	assert_int_equal(capacity, 104857600);
	assert_int_equal(physical, 77);
	assert_int_equal(changed, 1700000000);
	free(path);
	free(format);
	cleanup_error err = ERROR_INIT;
	assert_int_equal(volume_xml_read("volume v",
				 "<volume><capacity unit='KiB'>1</capacity></volume>", &path,
				 &format, &capacity, &physical, &changed, &err),
		-1);
	assert_string_equal(err.message, "volume v: its capacity is told in KiB, not in bytes");
}

static void put_big(unsigned char *p, int bytes, uint64_t value)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (unsigned char)(value >> (8 * (bytes - 1 - i)));
}

static void test_qcow2_head(void **state)
{
	(void)state;
	static unsigned char head[4 * 65536];
	cleanup_error err = ERROR_INIT;
	memcpy(head, "QFI\xfb", 4);
	put_big(head + 4, 4, 3);
	put_big(head + 20, 4, 16);
	put_big(head + 24, 8, UINT64_C(1) << 30);
	put_big(head + 36, 4, 2);
	put_big(head + 40, 8, 3 * 65536);
	put_big(head + 48, 8, 65536);
	put_big(head + 3 * 65536, 8, UINT64_C(0x8000000000000000) | 4 * 65536);
	assert_int_equal(qcow2_head_check(head, sizeof(head), 5 * 65536, &err), 0);
	assert_int_equal(qcow2_head_check(head, sizeof(head), 4 * 65536, &err), -1);
	assert_string_equal(err.message,
		"it is truncated: 262144 bytes, but a table begins at 262144");
	assert_int_equal(qcow2_head_check(head, sizeof(head), 2 * 65536, &err), -1);
	assert_string_equal(err.message, "it is truncated: 131072 bytes, but its tables go beyond");
	assert_int_equal(qcow2_head_check(head, 20, 20, &err), -1);
	assert_string_equal(err.message, "it does not begin as a qcow2 image does");
	put_big(head + 20, 4, 40);
	assert_int_equal(qcow2_head_check(head, sizeof(head), 5 * 65536, &err), -1);
	assert_string_equal(err.message, "its qcow2 header is damaged");
}

/* ---- the host ------------------------------------------------------------------------------------------------ */

static void test_capabilities(void **state)
{
	(void)state;
	static const char capabilities[] =
		"<capabilities><host><cpu><arch>x86_64</arch></cpu><secmodel><model>apparmor</model></secmodel>"
		"<secmodel><model>dac</model><baselabel type='kvm'>+64055:+107</baselabel>"
		"<baselabel type='qemu'>+64055:+107</baselabel></secmodel></host>"
		"<guest><arch name='x86_64'><emulator>/usr/bin/qemu-system-x86_64</emulator><domain type='qemu'/></arch></guest>"
		"</capabilities>";
	struct libvirt_options options = {.domain_type = (char *)"auto",
		.arch = (char *)"",
		.machine = (char *)""};
	struct host host;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(host_capabilities_read(capabilities, &options, true, &host, &err), 0);
	assert_int_equal(host.type, DOMAIN_QEMU);
	assert_string_equal(host.machine, "q35");
	assert_true(host.qemu_user_known);
	assert_int_equal(host.qemu_uid, 64055);
	assert_int_equal(host.qemu_gid, 107);
	host_free(&host);

	options.arch = (char *)"aarch64";
	assert_int_equal(host_capabilities_read(capabilities, &options, true, &host, &err), -1);
	assert_string_equal(err.message,
		"the libvirt host has no QEMU for aarch64: install qemu-system-arm there");
	host_free(&host);

	/* The same question to a newer and to an older libvirt. */
	host = (struct host){0};
	assert_int_equal(
		host_domain_capabilities_read(
			"<domainCapabilities><vcpu max='288'/><os><enum name='firmware'><value>efi</value></enum>"
			"<loader><value>/a.fd</value><value>/b.fd</value></loader></os><features><sev supported='yes'>"
			"<cbitpos>51</cbitpos><reducedPhysBits>1</reducedPhysBits></sev>"
			"<launchSecurity supported='yes'><enum name='sectype'><value>sev</value><value>sev-snp</value>"
			"<value>tdx</value></enum></launchSecurity></features></domainCapabilities>",
			&host, &err),
		0);
	assert_int_equal(host.max_vcpus, 288);
	assert_true(host.firmware_auto);
	assert_string_equal(host.loaders[1], "/b.fd");
	assert_int_equal(host.launch, 1u << LAUNCH_SEV_SNP | 1u << LAUNCH_TDX);
	assert_int_equal(host.sev_cbitpos, 51);
	assert_int_equal(host.sev_reduced_bits, 1);
	host_free(&host);
	assert_int_equal(
		host_domain_capabilities_read(
			"<domainCapabilities><features><s390-pv supported='yes'/></features></domainCapabilities>",
			&host, &err),
		0);
	assert_int_equal(host.launch, 1u << LAUNCH_S390_PV);
	host_free(&host);
}

static void test_console_text_is_fit_to_print(void **state)
{
	(void)state;
	static const char raw[] = "cut\n\033[1;31mred\033[0m\r\nnul\0\tbell\a end\xff\n";
	char *text = console_tidy(raw, sizeof(raw) - 1, true);
	assert_string_equal(text, "red\nnul\tbell? end?\n");
	free(text);
	text = console_tidy("", 0, false);
	assert_string_equal(text, "");
	free(text);
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
		cmocka_unit_test(test_errors_of_libvirt_become_kinds),
		cmocka_unit_test(test_iso_refuses_what_it_cannot_hold),
		cmocka_unit_test(test_iso_is_small_and_depends_on_its_content_only),
		cmocka_unit_test(test_address_choice_avoids_what_is_taken),
		cmocka_unit_test(test_address_choice_takes_over_stale_leases_with_their_mac),
		cmocka_unit_test(test_address_choice_salts_a_mac_that_is_taken),
		cmocka_unit_test(test_network_xml),
		cmocka_unit_test(test_metadata_comes_back_as_it_was),
		cmocka_unit_test(test_volume_xml),
		cmocka_unit_test(test_qcow2_head),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_console_text_is_fit_to_print),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
