/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvirt_xml_test.c - the XML of every kind of pod VM, compared with tests/unit/libvirt/<variant>.xml
 *
 * UPDATE_GOLDEN=1 writes the files anew. tests/integration/test_libvirt.py puts each of them before virt-xml-validate,
 * SEV-SNP and TDX with the schema of a libvirt that knows them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/file.h"
#include "providers/libvirt/domain.h"
#include "providers/libvirt/launch.h"

#define FOLDER "tests/unit/libvirt/"

static const unsigned char digest[48] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17,
	18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
	41, 42, 43, 44, 45, 46, 47, 48};

/* Options as a variant's flags set them, and a host. */
struct variant {
	const char *name;
	const char *flags[12]; /* -flag, value, ... */
	enum arch arch;
	bool kvm;
	enum net_mode mode;
	unsigned launch_offered; /* mask */
	size_t digest_len;
	size_t nics, disks;
	bool isolated, odd_names, elsewhere;
	enum disk_kind root_kind;
};

#define SNP (1u << LAUNCH_SEV_SNP)
#define TDX (1u << LAUNCH_TDX)
#define PV (1u << LAUNCH_S390_PV)

static const struct variant variants[] = {
	{"bios", {"-firmware", "bios"}, .isolated = true},
	{"bios-kvm", {"-firmware", "", "-cpuset", "0-1"}, .kvm = true},
	{"uefi-default", {NULL}},
	{"uefi-auto", {"-firmware", "auto"}},
	{"uefi-explicit", {"-firmware", "/srv/firmware/MY_CODE.fd"}},
	{"uefi-combined", {"-firmware", "/srv/firmware/OVMF.fd"}},
	{"secure-boot", {"-secure-boot=true", "-firmware", "auto"}, .kvm = true},
	{"secure-boot-explicit", {"-secure-boot=true", "-firmware", "/srv/OVMF_CODE_4M.ms.fd"},
		.kvm = true},
	{"kernel", {"-kernel", "/srv/vmlinuz", "-initrd", "/srv/initrd", "-cmdline",
			   "console=ttyS0 a=\"b\" <c> & d"}},
	{"kernel-bridge", {"-kernel", "/srv/vmlinuz"}, .mode = NET_BRIDGE},
	{"kernel-direct", {"-kernel", "/srv/vmlinuz"}, .mode = NET_DIRECT},
	{"kernel-user", {"-kernel", "/srv/vmlinuz"}, .mode = NET_USER},
	{"kernel-two-nics", {"-kernel", "/srv/vmlinuz"}, .nics = 2},
	{"kernel-data-disks", {"-kernel", "/srv/vmlinuz"}, .disks = 2},
	{"cidata-virtio", {"-firmware", "bios", "-cidata-bus", "virtio"}, .disks = 1},
	{"cidata-sata", {"-firmware", "bios", "-cidata-bus", "sata", "-root-bus", "sata"}},
	{"cidata-ide",
		{"-firmware", "bios", "-cidata-bus", "ide", "-machine", "pc", "-root-bus", "scsi"}},
	{"cidata-fwcfg", {"-firmware", "bios", "-cidata-bus", "fwcfg", "-vsock=true"}},
	{"escaping", {"-firmware", "bios", "-console-log", "off"}, .odd_names = true},
	{"pool-volume", {"-firmware", "bios"}, .root_kind = DISK_VOLUME},
	{"pool-block", {"-firmware", "bios"}, .root_kind = DISK_BLOCK},
	{"aarch64", {NULL}, .arch = ARCH_AARCH64, .kvm = true},
	{"aarch64-emulated", {"-kernel", "/srv/vmlinuz"}, .arch = ARCH_AARCH64, .elsewhere = true},
	{"s390x", {NULL}, .arch = ARCH_S390X, .kvm = true},
	{"s390-pv", {"-disable-cvm=false"}, .arch = ARCH_S390X, .kvm = true, .launch_offered = PV,
		.digest_len = 48, .disks = 1},
	{"sev-snp", {"-disable-cvm=false", "-firmware", "/srv/OVMF.amdsev.fd"}, .kvm = true,
		.launch_offered = SNP, .digest_len = 32},
	{"sev-snp-kernel",
		{"-disable-cvm=false", "-kernel", "/srv/vmlinuz", "-snp-policy", "0xb0000"},
		.kvm = true, .launch_offered = SNP | TDX, .digest_len = 20},
	{"tdx",
		{"-disable-cvm=false", "-launch-security", "tdx", "-firmware", "/srv/OVMF.tdx.fd",
			"-tdx-qgs", "/var/run/tdx-qgs/qgs.socket"},
		.kvm = true, .launch_offered = SNP | TDX, .digest_len = 48},
};

static const char *no_environment(const char *name)
{
	(void)name;
	return NULL;
}

/* Parses the flags; the values must outlive the plan. */
static void parse(const struct variant *v, struct option_set *set)
{
	int count = 0;
	while (count < (int)array_size(v->flags) && v->flags[count])
		count++;
	bool help;
	cleanup_error err = ERROR_INIT;
	if (options_parse(set, 1, count, (char *const *)v->flags, no_environment, &help, &err) < 0)
		fail_msg("%s: %s", v->name, error_message(&err));
	if (libvirt_options_check(set->values, &err) < 0)
		fail_msg("%s: %s", v->name, error_message(&err));
}

static void plan_make(const struct variant *v, const struct libvirt_options *o, struct host *host,
	struct domain_plan *plan)
{
	static char *loaders[] = {(char *)LIBVIRT_FIRMWARE_DEFAULT, NULL};
	static const char *const machines[] = {"q35", "virt", "s390-ccw-virtio"};
	static const char *const sources[] = {"peerpod", "br0", "eth0", ""};
	*host = (struct host){
		.arch = v->arch,
		.type = v->kvm ? DOMAIN_KVM : DOMAIN_QEMU,
		.machine = (char *)(*o->machine ? o->machine : machines[v->arch]),
		.emulator = v->elsewhere ? (char *)"/usr/bin/qemu-system-aarch64" : NULL,
		.emulated_elsewhere = v->elsewhere,
		.firmware_auto = true,
		.loaders = loaders,
		.launch = v->launch_offered,
		.sev_cbitpos = v->launch_offered & SNP ? 51 : 0,
		.sev_reduced_bits = v->launch_offered & SNP ? 1 : 0,
	};
	*plan = (struct domain_plan){
		.options = o,
		.host = host,
		.type = host->type,
		.identity = {"22c3a34a-acda-5b57-b243-3212b9e99e9b", "podvm-web-01234567"},
		.record = {.cluster = (char *)"c1",
			.node = (char *)"n1",
			.pod_namespace = (char *)"default",
			.pod = (char *)"web",
			.sandbox = (char *)"0123456789abcdef",
			.token = (char *)"0123",
			.pool = (char *)"default",
			.created = 1767225600,
			.volumes = {(char *)"v-root.qcow2", (char *)"v-cloudinit.iso"},
			.volume_count = 2},
		.vcpus = o->vcpus,
		.memory_mib = 512,
		.cidata_bus = cidata_bus_choose(o, host),
		.root = {v->root_kind, "default",
			v->root_kind == DISK_VOLUME ? "v-root" : "/pool/v-root.qcow2",
			v->root_kind ? "raw" : "qcow2", NULL},
		.cidata = {v->root_kind, "default",
			v->root_kind == DISK_VOLUME ? "v-cidata" : "/pool/v-cloudinit.iso", "raw",
			NULL},
		.console_log = strcmp(o->console_log, "off")
				       ? "/var/log/libvirt/qemu/podvm-web-01234567-serial.log"
				       : NULL,
		.nic_count = v->nics ? v->nics : 1,
	};
	if (v->odd_names) {
		plan->record.pod = (char *)"<web> & \"co\" 'x' \xc3\xa4\xe2\x82\xac";
		plan->record.pod_namespace = (char *)"a]]>b";
	}
	for (size_t i = 0; i < plan->nic_count; i++) {
		plan->nics[i] = (struct nic){.mode = v->mode,
			.source = sources[v->mode],
			.isolated = v->isolated};
		mac_of_token("0123", (unsigned)i, 0, plan->nics[i].mac);
	}
	for (size_t i = 0; i < v->disks; i++)
		plan->data[plan->data_count++] =
			i ? (struct disk){DISK_BLOCK, NULL, "/dev/vg/pv2", "raw", "pv2"}
			  : (struct disk){DISK_FILE, NULL, "/data/pv1.img", "raw", "pv1"};
	cleanup_error err = ERROR_INIT;
	if (launch_choose(plan, TEE_DEFAULT, digest, v->digest_len, &err) < 0 ||
		firmware_choose(plan, &err) < 0)
		fail_msg("%s: %s", v->name, error_message(&err));
}

static void test_every_variant_is_as_its_golden_file(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(variants); i++) {
		struct libvirt_options options = {0};
		struct option_set set = {"Options", libvirt_option_table, LIBVIRT_OPTION_COUNT,
			&options};
		struct host host;
		struct domain_plan plan;
		parse(&variants[i], &set);
		plan_make(&variants[i], &options, &host, &plan);
		cleanup_error err = ERROR_INIT;
		cleanup(free_ptr) char *xml = domain_xml(&plan, &err);
		if (!xml)
			fail_msg("%s: %s", variants[i].name, error_message(&err));
		options_free(&set, 1);

		char path[256];
		cleanup(buf_free) struct buf golden = BUF_INIT, text = BUF_INIT;
		snprintf(path, sizeof(path), FOLDER "%s.xml", variants[i].name);
		buf_printf(&text, "%s\n", xml);
		if (getenv("UPDATE_GOLDEN"))
			assert_int_equal(file_write(path, 0644, text.data, text.len, NULL), 0);
		if (file_read(path, 1 << 20, &golden, &err) < 0)
			fail_msg("%s (UPDATE_GOLDEN=1 writes it)", error_message(&err));
		if (strcmp(buf_text(&golden), buf_text(&text)) != 0)
			fail_msg("%s differs; the driver now writes:\n%s", path, buf_text(&text));
	}
}

static struct domain_plan plan_on(const struct variant *v, struct option_set *set,
	struct host *host)
{
	struct domain_plan plan;
	parse(v, set);
	plan_make(v, set->values, host, &plan);
	return plan;
}

static void test_a_confidential_vm_is_never_downgraded(void **state)
{
	(void)state;
	static const struct {
		unsigned offered;
		enum domain_type type;
		enum instance_tee tee;
		size_t digest_len;
		const char *message;
	} rows[] = {
		{0, DOMAIN_KVM, TEE_SNP, 0,
			"a confidential VM of kind sev-snp is asked for, but libvirt on this host cannot start one: it needs the "
			"hardware, the kernel's support, and libvirt 10.5 or later"},
		{SNP, DOMAIN_KVM, TEE_TDX, 0,
			"a confidential VM of kind tdx is asked for, but libvirt on this host cannot start one: it needs the "
			"hardware, the kernel's support, and libvirt 11.6 or later"},
		{TDX, DOMAIN_QEMU, TEE_TDX, 0,
			"a confidential VM needs KVM, but the domain type is qemu (chosen)"},
		{SNP, DOMAIN_KVM, TEE_SNP, 48,
			"the initdata digest has 48 bytes, sev-snp measures 32: use algorithm sha256"},
		{0, DOMAIN_KVM, TEE_NONE, 32, NULL},
		{SNP, DOMAIN_KVM, TEE_DEFAULT, 32, NULL},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		struct variant v = {"refused", {NULL}, .kvm = true};
		struct libvirt_options options = {0};
		struct option_set set = {"Options", libvirt_option_table, LIBVIRT_OPTION_COUNT,
			&options};
		struct host host;
		struct domain_plan plan = plan_on(&v, &set, &host);
		cleanup_error err = ERROR_INIT;
		host.launch = rows[i].offered;
		plan.type = rows[i].type;
		int result = launch_choose(&plan, rows[i].tee, digest, rows[i].digest_len, &err);
		if (rows[i].message) {
			assert_int_equal(result, -1);
			assert_int_equal(err.kind, ERROR_INVALID);
			assert_string_equal(err.message, rows[i].message);
		} else {
			assert_int_equal(result, 0);
			assert_int_equal(plan.launch, LAUNCH_NONE);
		}
		options_free(&set, 1);
	}
}

static void test_disable_cvm_false_without_such_a_host_is_refused(void **state)
{
	(void)state;
	struct variant v = {"refused", {NULL}, .kvm = true};
	struct libvirt_options options = {0};
	struct option_set set = {"Options", libvirt_option_table, LIBVIRT_OPTION_COUNT, &options};
	struct host host;
	struct domain_plan plan = plan_on(&v, &set, &host);
	cleanup_error err = ERROR_INIT;
	options.disable_cvm = false;
	assert_int_equal(launch_choose(&plan, TEE_DEFAULT, NULL, 0, &err), -1);
	assert_string_equal(err.message,
		"a confidential VM is asked for (DISABLECVM=false), but this libvirt host offers neither SEV-SNP nor TDX; "
		"use a host that does, or set DISABLECVM=true");
	options_free(&set, 1);
}

static void test_firmware_of_another_distribution_is_found(void **state)
{
	(void)state;
	static char *elsewhere[] = {(char *)"/usr/share/edk2/ovmf/OVMF_CODE.fd", NULL};
	struct variant v = {"uefi-default", {NULL}};
	struct libvirt_options options = {0};
	struct option_set set = {"Options", libvirt_option_table, LIBVIRT_OPTION_COUNT, &options};
	struct host host;
	struct domain_plan plan = plan_on(&v, &set, &host);
	assert_int_equal(plan.firmware, FIRMWARE_PATH);
	host.loaders = elsewhere;
	assert_int_equal(firmware_choose(&plan, NULL), 0);
	assert_int_equal(plan.firmware, FIRMWARE_AUTO);
	options_free(&set, 1);
}

static void test_a_serial_too_long_is_refused(void **state)
{
	(void)state;
	struct variant v = {"bios", {"-firmware", "bios"}, .disks = 1};
	struct libvirt_options options = {0};
	struct option_set set = {"Options", libvirt_option_table, LIBVIRT_OPTION_COUNT, &options};
	struct host host;
	struct domain_plan plan = plan_on(&v, &set, &host);
	cleanup_error err = ERROR_INIT;
	plan.data[0].serial = "a-serial-of-21-letter";
	assert_null(domain_xml(&plan, &err));
	assert_string_equal(err.message,
		"serial \"a-serial-of-21-letter\" of data disk /data/pv1.img: at most 20 printable characters");
	options_free(&set, 1);
}

static void test_all_data_disks_may_have_long_paths(void **state)
{
	(void)state;
	struct variant v = {"bios", {"-firmware", "bios"}};
	struct libvirt_options options = {0};
	struct option_set set = {"Options", libvirt_option_table, LIBVIRT_OPTION_COUNT, &options};
	struct host host;
	struct domain_plan plan = plan_on(&v, &set, &host);
	cleanup_error err = ERROR_INIT;
	char path[201] = "/";
	memset(path + 1, 'v', sizeof(path) - 2);
	while (plan.data_count < DATA_DISKS_MAX)
		plan.data[plan.data_count++] = (struct disk){DISK_FILE, NULL, path, "raw", "pv"};
	cleanup(free_ptr) char *xml = domain_xml(&plan, &err);
	assert_non_null(xml);
	cleanup(record_free) struct record record = {0};
	assert_int_equal(record_read("the domain", xml, &record, &err), 0);
	options_free(&set, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_variant_is_as_its_golden_file),
		cmocka_unit_test(test_a_confidential_vm_is_never_downgraded),
		cmocka_unit_test(test_disable_cvm_false_without_such_a_host_is_refused),
		cmocka_unit_test(test_firmware_of_another_distribution_is_found),
		cmocka_unit_test(test_a_serial_too_long_is_refused),
		cmocka_unit_test(test_all_data_disks_may_have_long_paths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
