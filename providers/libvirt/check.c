/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - checks the configuration against the libvirt host
 *
 * Everything that is wrong is reported at once. Pools and networks that are there but
 * not started are started; nothing is made.
 */
#include <grp.h>
#include <libvirt/virterror.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/log.h"
#include "providers/libvirt/driver.h"
#include "providers/libvirt/failure.h"
#include "providers/libvirt/launch.h"
#include "providers/libvirt/network.h"
#include "providers/libvirt/volume.h"

#define OPEN_TIME_NS (10 * NS_PER_S)
#define LIBVIRT_OLDEST 9000000 /* 9.0.0, which the driver is built for and tested with */

/* ---- /dev/kvm ---------------------------------------------------------------------------------------------- */

/* /dev/kvm as the daemon sees it: it may run in another mount namespace or container. */
static bool kvm_stat(const struct uri_facts *uri, struct stat *st)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	cleanup(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && uri->socket && strlen(uri->socket) < sizeof(address.sun_path)) {
		char path[64];
		memcpy(address.sun_path, uri->socket, strlen(uri->socket) + 1);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
			getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
			snprintf(path, sizeof(path), "/proc/%d/root/dev/kvm", (int)peer.pid) > 0 &&
			stat(path, st) == 0)
			return true;
	}
	return stat("/dev/kvm", st) == 0;
}

/* NULL: nobody has this number. The strings are in text. */
static const struct passwd *user_of(uint64_t uid, struct passwd *entry, char *text, size_t size)
{
	struct passwd *found = NULL;
	return getpwuid_r((uid_t)uid, entry, text, size, &found) == 0 ? found : NULL;
}

static bool in_group(uint64_t uid, uint64_t gid, gid_t wanted)
{
	gid_t groups[64];
	int count = array_size(groups);
	char text[1024];
	struct passwd entry;
	const struct passwd *user = user_of(uid, &entry, text, sizeof(text));
	if (gid == wanted)
		return true;
	if (!user || getgrouplist(user->pw_name, (gid_t)gid, groups, &count) < 0)
		return false;
	for (int i = 0; i < count; i++) {
		if (groups[i] == wanted)
			return true;
	}
	return false;
}

static bool may_open(const struct stat *st, uint64_t uid, uint64_t gid)
{
	mode_t needed = 06; /* read and write */
	if (uid == 0)
		return true;
	if (st->st_uid == uid)
		return (st->st_mode >> 6 & needed) == needed;
	if (in_group(uid, gid, st->st_gid))
		return (st->st_mode >> 3 & needed) == needed;
	return (st->st_mode & needed) == needed;
}

/*
 * libvirt probes QEMU as root, sees KVM, finds that QEMU's own user cannot open the node, throws the result away and
 * probes again, for every definition: about 72 s each.
 */
static void check_kvm_node(const struct provider *p, const struct host *host,
	struct check_report *r)
{
	struct stat st;
	if (!p->uri.local || p->uri.test || !host->qemu_user_known || !kvm_stat(&p->uri, &st) ||
		may_open(&st, host->qemu_uid, host->qemu_gid))
		return;
	char names[1024];
	struct passwd entry;
	const struct passwd *user = user_of(host->qemu_uid, &entry, names, sizeof(names));
	check_wrong(r, ERROR_INVALID, "/dev/kvm",
		"either run: chgrp kvm /dev/kvm && chmod 0660 /dev/kvm, or set user = \"root\" and group = \"root\" "
		"in /etc/libvirt/qemu.conf and restart libvirtd",
		"/dev/kvm (mode %04o, owner %u:%u) cannot be opened by QEMU's user %s (%llu:%llu): every VM would take more "
		"than a minute to define",
		(unsigned)st.st_mode & 07777, st.st_uid, st.st_gid, user ? user->pw_name : "",
		(unsigned long long)host->qemu_uid, (unsigned long long)host->qemu_gid);
}

/* ---- the rest ------------------------------------------------------------------------------------------------ */

static void check_version(struct call *call, struct check_report *r)
{
	unsigned long version = 0;
	if (virConnectGetLibVersion(call->conn, &version) < 0)
		return;
	unsigned long parts[] = {version / 1000000, version / 1000 % 1000, version % 1000};
	if (version >= LIBVIRT_OLDEST)
		check_right(r, "libvirt", "version %lu.%lu.%lu", parts[0], parts[1], parts[2]);
	else
		check_wrong(r, ERROR_INVALID, "libvirt", NULL,
			"libvirt on the host is %lu.%lu.%lu; 9.0.0 is the oldest that is supported",
			parts[0], parts[1], parts[2]);
}

static void check_pool(const struct provider *p, struct call *call, struct base_image *base,
	struct pool_facts *facts, struct check_report *r)
{
	const struct libvirt_options *o = p->options;
	cleanup_error err = ERROR_INIT;
	uint64_t root = 0;
	cleanup_pool pool = pool_open(call, o->pool, facts, &err);
	if (!pool) {
		check_failure(r, "storage pool", NULL, &err);
		return;
	}
	cleanup_volume volume = NULL;
	if (base_image_find(call, pool, o->base_volume, base, &volume, &err) < 0) {
		check_failure(r, "base image", NULL, &err);
	} else if (!p->uri.test && base_image_probe(call, volume, base, &err) < 0) {
		error_prefix(&err, "base image %s is unusable", o->base_volume);
		check_failure(r, "base image", NULL, &err);
	} else {
		check_right(r, "base image", "%s", o->base_volume);
	}
	if (capacity_bytes(o->root_disk_gib ? o->root_disk_gib : 10, &root, &err) < 0) {
		check_failure(r, "root disk", NULL, &err);
		return;
	}
	if (base->capacity > root)
		log_warn(
			"base image %s is larger (%llu MiB) than LIBVIRT_ROOT_DISK_SIZE: root disks get its size",
			o->base_volume, (unsigned long long)base->capacity >> 20);
	if (facts->available < root) /* overlays are thin: it may do for a while */
		log_warn("storage pool %s has %llu MiB left, less than one full root disk", o->pool,
			(unsigned long long)facts->available >> 20);
	/* A full pool fails every VM at once. */
	if (!p->uri.test && facts->available < (uint64_t)16 << 20)
		check_wrong(r, ERROR_CAPACITY, "storage pool", "delete volumes or enlarge it",
			"storage pool %s is full: %llu KiB are left", o->pool,
			(unsigned long long)facts->available >> 10);
	else
		check_right(r, "storage pool", "%s, %llu MiB available", o->pool,
			(unsigned long long)facts->available >> 20);
}

static void check_network(const struct provider *p, struct call *call, const char *name,
	struct check_report *r)
{
	cleanup_error err = ERROR_INIT;
	cleanup(network_facts_free) struct network_facts facts = {0};
	if (strcmp(p->options->net_mode, "network") != 0)
		return;
	cleanup_network network = network_open(call, name, &facts, &err);
	if (!network) {
		check_failure(r, "network", NULL, &err);
		return;
	}
	bool needs_dhcp = !strcmp(p->options->ip_source, "reserve") ||
			  !strcmp(p->options->ip_source, "lease");
	if (needs_dhcp && !facts.range_start)
		check_wrong(r, ERROR_INVALID, "network", "add one, or use agent or neigh",
			"network %s has no DHCP range, which LIBVIRT_IP_SOURCE=%s needs", name,
			p->options->ip_source);
	else
		check_right(r, "network", "%s", name);
}

static void check_sizes(const struct provider *p, const struct host *host, struct check_report *r)
{
	const struct libvirt_options *o = p->options;
	cleanup_error err = ERROR_INIT;
	if (host->max_vcpus && o->vcpus > host->max_vcpus)
		check_wrong(r, ERROR_INVALID, "LIBVIRT_CPU", NULL,
			"%lld vCPUs, machine %s has at most %u", (long long)o->vcpus, host->machine,
			host->max_vcpus);
	if (host->memory_kib && (uint64_t)o->memory_mib > host->memory_kib / 1024)
		check_wrong(r, ERROR_INVALID, "LIBVIRT_MEMORY", NULL,
			"%lld MiB, the libvirt host has %llu in all", (long long)o->memory_mib,
			(unsigned long long)host->memory_kib / 1024);
	if (*o->cpuset && cpuset_check(o->cpuset, host->cpus, &err) < 0)
		check_failure(r, "CPU set", NULL, &err);
}

/* A VM as it would be defined, turned into QEMU's arguments: what libvirt refuses shows here. */
static void check_domain(const struct provider *p, struct call *call, const struct host *host,
	const struct base_image *base, struct check_report *r)
{
	const struct libvirt_options *o = p->options;
	cleanup_error err = ERROR_INIT;
	struct domain_plan plan = {
		.options = o,
		.host = host,
		.type = host->type,
		.record = {.cluster = (char *)"",
			.node = (char *)"",
			.pod_namespace = (char *)"",
			.pod = (char *)"check",
			.sandbox = (char *)"",
			.token = (char *)"check",
			.pool = o->pool},
		.vcpus = 1,
		.memory_mib = 256,
		.cidata_bus = cidata_bus_choose(o, host),
		.root = {DISK_FILE, NULL, base->path, base->format, NULL},
		.cidata = {DISK_FILE, NULL, base->path, "raw", NULL},
		.nic_count = 1,
	};
	/* Without the network: translating would ask for a port of it. */
	plan.nics[0] = (struct nic){.mode = NET_USER, .source = ""};
	mac_of_token("check", 0, 0, plan.nics[0].mac);
	uuid_of_token("check", plan.identity.uuid);
	domain_name_make("podvm-check", "check", 0, plan.identity.name);
	if (launch_choose(&plan, TEE_DEFAULT, NULL, 0, &err) < 0 ||
		firmware_choose(&plan, &err) < 0) {
		check_failure(r, "domain", NULL, &err);
		return;
	}
	if (plan.firmware == FIRMWARE_PATH && host->loaders && p->uri.local) {
		struct stat st;
		if (stat(plan.firmware_path, &st) < 0) {
			error_set(&err, ERROR_INVALID,
				"LIBVIRT_EFI_FIRMWARE: %s is not there (install ovmf, or use auto or bios)",
				plan.firmware_path);
			check_failure(r, "domain", NULL, &err);
			return;
		}
	}
	if (host->type == DOMAIN_TEST || !base->path)
		return;
	cleanup(free_ptr) char *xml = domain_xml(&plan, &err);
	if (!xml) {
		check_failure(r, "domain", NULL, &err);
		return;
	}
	cleanup(free_ptr) char *native =
		virConnectDomainXMLToNative(call->conn, "qemu-argv", xml, 0);
	if (!native && failure_code() != VIR_ERR_NO_SUPPORT) {
		call_failed(call, &err, "libvirt refuses the VMs that would be made");
		check_failure(r, "domain", NULL, &err);
		return;
	}
	check_right(r, "domain", "libvirt takes the VMs that would be made");
}

int driver_check(struct provider *p, struct check_report *report, const struct bound *bound,
	struct error *err)
{
	struct bound open_bound = bound_within(bound, OPEN_TIME_NS);
	cleanup_call call = CALL_INIT;
	if (call_begin(p->status, &call, &open_bound, err) < 0)
		return -1;

	cleanup(host_free) struct host host = {0};
	cleanup(base_image_free) struct base_image base = {0};
	cleanup(pool_facts_free) struct pool_facts pool = {0};
	cleanup_error failure = ERROR_INIT;
	check_version(&call, report);
	/* First what is asked without probing QEMU: with an unusable /dev/kvm that takes minutes. */
	cleanup(free_ptr) char *capabilities = virConnectGetCapabilities(call.conn);
	bool known = capabilities && host_capabilities_read(capabilities, p->options, p->uri.local,
					     &host, &failure) == 0;
	if (!capabilities)
		call_failed(&call, &failure, "read the host's capabilities");
	if (!known)
		check_failure(report, "libvirt host", NULL, &failure);
	size_t before = report->wrong;
	if (known)
		check_kvm_node(p, &host, report);
	bool trapped = report->wrong > before;
	check_pool(p, &call, &base, &pool, report);
	check_network(p, &call, p->options->network, report);
	if (*p->options->network_ext)
		check_network(p, &call, p->options->network_ext, report);
	if (known && !trapped) {
		host_free(&host);
		if (host_read(&call, p->options, &p->uri, &host, &failure) < 0) {
			check_failure(report, "libvirt host", NULL, &failure);
		} else {
			check_sizes(p, &host, report);
			check_domain(p, &call, &host, &base, report);
			check_right(report, "libvirt host", "%s: VMs of type %s%s%s%s on %s",
				p->uri_text, domain_type_name(host.type),
				host.type_reason ? " (" : "",
				host.type_reason ? host.type_reason : "",
				host.type_reason ? ")" : "", host.machine);
		}
	}
	return check_conclude(report, err);
}
