/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - see options.h */
#include "providers/libvirt/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static const char *const domain_types[] = {"auto", "kvm", "qemu", NULL};
static const char *const archs[] = {"", "x86_64", "aarch64", "s390x", NULL};
static const char *const net_modes[] = {"network", "bridge", "direct", "user", NULL};
static const char *const ip_sources[] = {"auto", "reserve", "lease", "agent", "neigh", NULL};
static const char *const cidata_buses[] = {"auto", "scsi", "sata", "virtio", "ide", "fwcfg", NULL};
static const char *const root_buses[] = {"virtio", "scsi", "sata", "ide", NULL};
static const char *const caches[] = {"none", "writeback", "writethrough", "directsync", "unsafe",
	NULL};
static const char *const launch_kinds[] = {"", "s390-pv", "sev-snp", "tdx", NULL};

#define AT(member) offsetof(struct libvirt_options, member)

const struct option libvirt_option_table[LIBVIRT_OPTION_COUNT] = {
	{"uri", "LIBVIRT_URI", "qemu+ssh://root@192.168.122.1/system?no_verify=1",
		"connection URI of libvirt", AT(uri), OPTION_STRING, .required = true},
	{"pool-name", "LIBVIRT_POOL", "default",
		"storage pool of the base image and of all volumes", AT(pool), OPTION_STRING,
		.required = true},
	{"network-name", "LIBVIRT_NET", "default",
		"libvirt network of the pod VMs; the bridge or device in other network modes",
		AT(network), OPTION_STRING, .required = true},
	{"vol-name", "LIBVIRT_VOL_NAME", "podvm-base.qcow2", "base image: a volume of the pool",
		AT(base_volume), OPTION_STRING, .required = true},
	{"launch-security", "LIBVIRT_LAUNCH_SECURITY", "",
		"kind of confidential VM; empty: what the host can do", AT(launch_security),
		OPTION_ENUM, .choices = launch_kinds},
	{"firmware", "LIBVIRT_EFI_FIRMWARE", LIBVIRT_FIRMWARE_DEFAULT,
		"UEFI firmware: a path on the libvirt host, auto (libvirt chooses) or bios (none)",
		AT(firmware), OPTION_STRING},
	{"cpu", "LIBVIRT_CPU", "2", "vCPUs where the pod asks for none", AT(vcpus), OPTION_INT,
		.min = 1, .max = 4096},
	{"memory", "LIBVIRT_MEMORY", "8192", "MiB where the pod asks for none", AT(memory_mib),
		OPTION_INT, .min = 64, .max = INT64_C(64) << 20},
	{"cpuset", "LIBVIRT_CPUSET", "", "host CPUs that the vCPUs may use, like 0-3,8", AT(cpuset),
		OPTION_STRING},
	{"root-disk-size", "LIBVIRT_ROOT_DISK_SIZE", "10",
		"GiB of the root disk, 0 for 10; never below the base image's size",
		AT(root_disk_gib), OPTION_INT, .min = 0, .max = INT64_MAX},
	{"data-dir", NULL, "/var/lib/libvirt/images", "accepted; has no effect", AT(data_dir),
		OPTION_STRING},
	{"disable-cvm", "DISABLECVM", "true", "no confidential VMs", AT(disable_cvm), OPTION_BOOL},

	{"domain-type", "LIBVIRT_DOMAIN_TYPE", "auto",
		"kvm, qemu (emulation), or auto: KVM where it works", AT(domain_type), OPTION_ENUM,
		.choices = domain_types},
	{"arch", "LIBVIRT_ARCH", "", "architecture of the pod VMs; empty: the host's", AT(arch),
		OPTION_ENUM, .choices = archs},
	{"machine", "LIBVIRT_MACHINE", "", "machine type; empty: q35, virt or s390-ccw-virtio",
		AT(machine), OPTION_STRING},
	{"instance-types", "LIBVIRT_INSTANCE_TYPES", "",
		"sizes by name, vCPUs x MiB: small=2x2048,large=8x16384", AT(instance_types),
		OPTION_STRING},
	{"net-mode", "LIBVIRT_NET_MODE", "network",
		"what network-name is: a libvirt network, a bridge, a device (direct: macvtap), or user",
		AT(net_mode), OPTION_ENUM, .choices = net_modes},
	{"network-ext-name", "LIBVIRT_NET_EXT", "",
		"the same for the second NIC, where a pod has one", AT(network_ext), OPTION_STRING},
	{"ip-source", "LIBVIRT_IP_SOURCE", "auto",
		"how an address is found: reserve, lease, agent, neigh, or auto: all that apply",
		AT(ip_source), OPTION_ENUM, .choices = ip_sources},
	{"cidata-bus", "LIBVIRT_CIDATA_BUS", "auto",
		"how the user data reaches the VM: a CD-ROM on this bus, or fwcfg", AT(cidata_bus),
		OPTION_ENUM, .choices = cidata_buses},
	{"root-bus", "LIBVIRT_ROOT_BUS", "virtio", "bus of the root disk", AT(root_bus),
		OPTION_ENUM, .choices = root_buses},
	{"disk-cache", "LIBVIRT_DISK_CACHE", "none", "cache mode of the root disk", AT(disk_cache),
		OPTION_ENUM, .choices = caches},
	{"console-log", "LIBVIRT_CONSOLE_LOG", "on",
		"serial console: on (/var/log/libvirt/qemu), off, or a folder on the libvirt host",
		AT(console_log), OPTION_STRING},
	{"vsock", "LIBVIRT_VSOCK", "false", "give the VM a vsock device", AT(vsock), OPTION_BOOL},
	{"kernel", "LIBVIRT_KERNEL", "", "boot this kernel directly: a path on the libvirt host",
		AT(kernel), OPTION_STRING},
	{"initrd", "LIBVIRT_INITRD", "", "its initial ramdisk", AT(initrd), OPTION_STRING},
	{"cmdline", "LIBVIRT_CMDLINE", "", "its command line", AT(cmdline), OPTION_STRING},
	{"secure-boot", "LIBVIRT_SECURE_BOOT", "false", "UEFI secure boot with enrolled keys",
		AT(secure_boot), OPTION_BOOL},
	{"snp-policy", "LIBVIRT_SNP_POLICY", "0x30000", "guest policy of SEV-SNP, hexadecimal",
		AT(snp_policy), OPTION_STRING},
	{"tdx-qgs", "LIBVIRT_TDX_QGS", "",
		"Unix socket of the TDX quote generation service; empty: none", AT(tdx_qgs),
		OPTION_STRING},
};

/* Digits only, at most max; moves *text behind them. */
static bool number_read(const char **text, uint64_t max, uint64_t *value)
{
	if (**text < '0' || **text > '9')
		return false;
	char *end;
	errno = 0;
	*value = strtoull(*text, &end, 10);
	*text = end;
	return !errno && *value <= max;
}

int cpuset_check(const char *cpuset, unsigned cpus, struct error *err)
{
	const char *p = cpuset;
	for (;;) {
		uint64_t first, last;
		if (!number_read(&p, 65535, &first))
			break;
		last = first;
		if (*p == '-' && (p++, !number_read(&p, 65535, &last)))
			break;
		if (last < first)
			return error_set(err, ERROR_INVALID,
				"cpuset \"%s\": the range %llu-%llu runs backwards", cpuset,
				(unsigned long long)first, (unsigned long long)last);
		if (cpus && last >= cpus)
			return error_set(err, ERROR_INVALID,
				"cpuset \"%s\": the host has CPUs 0-%u only", cpuset, cpus - 1);
		if (!*p)
			return 0;
		if (*p++ != ',')
			break;
	}
	return error_set(err, ERROR_INVALID, "cpuset \"%s\" is not of the form N[-M](,N[-M])*",
		cpuset);
}

/* "2x2048", up to the end or a comma. */
static bool size_read(const char *text, int64_t *vcpus, int64_t *memory_mib)
{
	uint64_t count, mib;
	if (!number_read(&text, 4096, &count) || *text++ != 'x' ||
		!number_read(&text, UINT64_C(64) << 20, &mib))
		return false;
	if ((*text && *text != ',') || !count || mib < 64)
		return false;
	*vcpus = (int64_t)count;
	*memory_mib = (int64_t)mib;
	return true;
}

int instance_type_size(const char *types, const char *type, int64_t *vcpus, int64_t *memory_mib,
	struct error *err)
{
	size_t len = strlen(type);
	for (const char *p = types; *p;) {
		if (!strncmp(p, type, len) && p[len] == '=' &&
			size_read(p + len + 1, vcpus, memory_mib))
			return 0;
		p += strcspn(p, ",");
		p += *p == ',';
	}
	if (!strchr(type, ',') && size_read(type, vcpus, memory_mib))
		return 0;
	return error_set(err, ERROR_INVALID,
		"instance type \"%s\" is neither one of LIBVIRT_INSTANCE_TYPES (%s) nor a size like 2x2048",
		type, *types ? types : "none set");
}

static int instance_types_check(const char *types, struct error *err)
{
	for (const char *p = types; *p;) {
		size_t len = strcspn(p, ",");
		const char *equals = memchr(p, '=', len);
		int64_t vcpus, mib;
		if (!equals || equals == p || !size_read(equals + 1, &vcpus, &mib))
			return error_set(err, ERROR_INVALID,
				"LIBVIRT_INSTANCE_TYPES: \"%.*s\" is not of the form name=2x2048",
				(int)len, p);
		p += len;
		p += *p == ',';
	}
	return 0;
}

int capacity_bytes(int64_t gib, uint64_t *bytes, struct error *err)
{
	/* qcow2 and libvirt count bytes in 63 bits. */
	if (gib < 0 || gib > INT64_MAX >> 30)
		return error_set(err, ERROR_INVALID,
			"a root disk of %lld GiB is more than can be counted", (long long)gib);
	*bytes = (uint64_t)gib << 30;
	return 0;
}

static int absolute(const char *path, const char *name, struct error *err)
{
	if (!*path || *path == '/')
		return 0;
	return error_set(err, ERROR_INVALID,
		"%s: \"%s\" must be an absolute path on the libvirt host", name, path);
}

static int policy_check(const char *policy, struct error *err)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(policy, &end, 0);
	if (!*policy || *end || errno || *policy == '-')
		return error_set(err, ERROR_INVALID,
			"LIBVIRT_SNP_POLICY: \"%s\" is no number of 64 bits", policy);
	/* SEV-SNP ABI, guest policy: bit 17 is reserved and must be one. */
	if (!(value & (1u << 17)))
		return error_set(err, ERROR_INVALID,
			"LIBVIRT_SNP_POLICY: \"%s\" lacks bit 17 (0x20000), which must be set",
			policy);
	return 0;
}

int libvirt_options_check(const struct libvirt_options *o, struct error *err)
{
	uint64_t bytes;
	if (*o->cpuset && cpuset_check(o->cpuset, 0, err) < 0)
		return error_prefix(err, "LIBVIRT_CPUSET");
	if (capacity_bytes(o->root_disk_gib, &bytes, err) < 0)
		return error_prefix(err, "LIBVIRT_ROOT_DISK_SIZE");
	if (strcmp(o->console_log, "on") && strcmp(o->console_log, "off") &&
		absolute(o->console_log, "LIBVIRT_CONSOLE_LOG (on, off or a folder)", err) < 0)
		return -1;
	if (strcmp(o->firmware, "auto") && strcmp(o->firmware, "bios") &&
		absolute(o->firmware, "LIBVIRT_EFI_FIRMWARE (auto, bios or a path)", err) < 0)
		return -1;
	if (absolute(o->kernel, "LIBVIRT_KERNEL", err) < 0 ||
		absolute(o->initrd, "LIBVIRT_INITRD", err) < 0 ||
		absolute(o->tdx_qgs, "LIBVIRT_TDX_QGS", err) < 0)
		return -1;
	if (!*o->kernel && (*o->initrd || *o->cmdline))
		return error_set(err, ERROR_INVALID, "%s needs LIBVIRT_KERNEL",
			*o->initrd ? "LIBVIRT_INITRD" : "LIBVIRT_CMDLINE");
	if (o->secure_boot && (*o->kernel || !strcmp(o->firmware, "bios") || !*o->firmware))
		return error_set(err, ERROR_INVALID,
			"LIBVIRT_SECURE_BOOT needs UEFI: not with LIBVIRT_KERNEL, and not with firmware bios");
	if (policy_check(o->snp_policy, err) < 0)
		return -1;
	return instance_types_check(o->instance_types, err);
}
