/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.c - see host.h
 *
 * "KVM works" has no single source: libvirt believes in KVM as soon as /dev/kvm opens, also where the processor lacks
 * virtualization and every ordinary guest fails (kernels with a software KVM). So for a local host the CPU flags are
 * asked too; for a remote one its capabilities have to do, and a start that fails because of KVM is repeated
 * without it (create.c).
 */
#include "providers/libvirt/host.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "providers/libvirt/xml.h"

static const struct {
	const char *name, *machine;
} archs[ARCH_COUNT] = {
	[ARCH_X86_64] = {"x86_64", "q35"},
	[ARCH_AARCH64] = {"aarch64", "virt"},
	[ARCH_S390X] = {"s390x", "s390-ccw-virtio"},
};

const char *arch_name(enum arch arch)
{
	return archs[arch].name;
}

const char *domain_type_name(enum domain_type type)
{
	switch (type) {
	case DOMAIN_KVM:
		return "kvm";
	case DOMAIN_QEMU:
		return "qemu";
	case DOMAIN_TEST:
		return "test";
	}
	return "";
}

static const char *const launch_names[LAUNCH_COUNT] = {"none", "sev-snp", "tdx", "s390-pv"};

const char *launch_name(enum launch launch)
{
	return launch_names[launch];
}

bool cpu_virtualizes(const char *cpuinfo_path)
{
#if defined(__x86_64__)
	FILE *f = fopen(cpuinfo_path, "re");
	if (!f)
		return true; /* unknown: let libvirt decide */
	char *line = NULL;
	size_t room = 0;
	bool found = false;
	while (!found && getline(&line, &room, f) > 0) {
		if (!strncmp(line, "flags", 5))
			found = strstr(line, " vmx") || strstr(line, " svm");
	}
	free(line);
	fclose(f);
	return found;
#else
	(void)cpuinfo_path;
	return true;
#endif
}

static int arch_choose(xmlDoc *doc, const struct libvirt_options *o, struct host *host,
	struct error *err)
{
	cleanup(free_ptr) char *own = xml_text(doc, NULL, "/capabilities/host/cpu/arch");
	const char *wanted = *o->arch ? o->arch : own ? own : "";
	host->emulated_elsewhere = own && strcmp(wanted, own) != 0;
	for (size_t i = 0; i < ARCH_COUNT; i++) {
		if (!strcmp(wanted, archs[i].name)) {
			host->arch = (enum arch)i;
			return 0;
		}
	}
	return error_set(err, ERROR_INVALID,
		"the libvirt host is of architecture \"%s\"; pod VMs are made for x86_64, aarch64 and s390x (LIBVIRT_ARCH)",
		wanted);
}

static void type_choose(xmlDoc *doc, const struct libvirt_options *o, bool local, struct host *host)
{
	char path[128];
	snprintf(path, sizeof(path), "/capabilities/guest/arch[@name='%s']/domain[@type='kvm']",
		arch_name(host->arch));
	host->type_chosen = strcmp(o->domain_type, "auto") != 0;
	if (host->type_chosen) {
		host->type = !strcmp(o->domain_type, "kvm") ? DOMAIN_KVM : DOMAIN_QEMU;
		host->type_reason = host->type == DOMAIN_QEMU ? "LIBVIRT_DOMAIN_TYPE=qemu" : NULL;
	} else if (!xml_has(doc, NULL, path)) {
		host->type = DOMAIN_QEMU;
		host->type_reason =
			"libvirt offers no KVM for it (no /dev/kvm, or another architecture)";
	} else if (local && !cpu_virtualizes("/proc/cpuinfo")) {
		host->type = DOMAIN_QEMU;
		host->type_reason = "the CPU shows neither vmx nor svm";
	}
}

int host_capabilities_read(const char *text, const struct libvirt_options *o, bool local,
	struct host *host, struct error *err)
{
	*host = (struct host){.type = DOMAIN_KVM};
	cleanup_xml *doc = xml_parse("the host's capabilities", text, err);
	if (!doc)
		return -1;
	if (xml_has(doc, NULL, "/capabilities/guest/arch/domain[@type='test']")) {
		host->type = DOMAIN_TEST;
		host->type_chosen = true;
	} else if (arch_choose(doc, o, host, err) < 0) {
		return -1;
	} else {
		char path[128];
		snprintf(path, sizeof(path), "/capabilities/guest/arch[@name='%s']/emulator",
			arch_name(host->arch));
		host->emulator = xml_text(doc, NULL, path);
		if (!host->emulator)
			return error_set(err, ERROR_INVALID,
				"the libvirt host has no QEMU for %s: install qemu-system-%s there",
				arch_name(host->arch),
				host->arch == ARCH_X86_64    ? "x86"
				: host->arch == ARCH_AARCH64 ? "arm"
							     : "misc");
		type_choose(doc, o, local, host);
	}
	host->machine = strdup(*o->machine ? o->machine : archs[host->arch].machine);
	if (!host->machine)
		return error_set(err, ERROR_CAPACITY, "out of memory");

	/* "+64055:+107": the user that QEMU runs as. */
	cleanup(free_ptr) char *label = xml_text(doc, NULL,
		"/capabilities/host/secmodel[model='dac']/baselabel[@type='qemu']");
	unsigned long long uid, gid;
	if (label && sscanf(label, "+%llu:+%llu", &uid, &gid) == 2) {
		host->qemu_user_known = true;
		host->qemu_uid = uid;
		host->qemu_gid = gid;
	}
	return 0;
}

struct loaders {
	struct host *host;
	size_t count;
	bool failed;
};

static void loader_add(xmlDoc *doc, xmlNode *node, void *opaque)
{
	struct loaders *list = opaque;
	char *path = xml_text(doc, node, "string(.)");
	char **larger = reallocarray(list->host->loaders, list->count + 2, sizeof(*larger));
	if (!path || !larger) {
		free(path);
		list->failed = true;
	}
	if (larger)
		list->host->loaders = larger;
	if (path && larger) {
		larger[list->count++] = path;
		larger[list->count] = NULL;
	}
}

int host_domain_capabilities_read(const char *text, struct host *host, struct error *err)
{
	cleanup_xml *doc = xml_parse("the domain capabilities", text, err);
	if (!doc)
		return -1;
	uint64_t max;
	if (xml_number(doc, NULL, "/domainCapabilities/vcpu/@max", &max) && max <= 1u << 20)
		host->max_vcpus = (unsigned)max;
	host->firmware_auto =
		xml_has(doc, NULL, "/domainCapabilities/os/enum[@name='firmware']/value[.='efi']");
	struct loaders list = {.host = host};
	xml_each(doc, "/domainCapabilities/os/loader/value", loader_add, &list);

	/* libvirt 10.5 and later list the kinds; before, each had an element of its own. */
	static const char sectype[] =
		"/domainCapabilities/features/launchSecurity[@supported='yes']/enum[@name='sectype']/value[.='%s']";
	for (int launch = LAUNCH_SEV_SNP; launch < LAUNCH_COUNT; launch++) {
		char path[256];
		snprintf(path, sizeof(path), sectype, launch_names[launch]);
		if (xml_has(doc, NULL, path))
			host->launch |= 1u << launch;
	}
	if (xml_has(doc, NULL, "/domainCapabilities/features/s390-pv[@supported='yes']"))
		host->launch |= 1u << LAUNCH_S390_PV;
	xml_number(doc, NULL, "/domainCapabilities/features/sev/cbitpos", &host->sev_cbitpos);
	xml_number(doc, NULL, "/domainCapabilities/features/sev/reducedPhysBits",
		&host->sev_reduced_bits);
	if (list.failed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return 0;
}

int host_read(struct call *call, const struct libvirt_options *o, const struct uri_facts *uri,
	struct host *host, struct error *err)
{
	*host = (struct host){0};
	cleanup(free_ptr) char *capabilities = virConnectGetCapabilities(call->conn);
	if (!capabilities)
		return call_failed(call, err, "read the host's capabilities");
	if (host_capabilities_read(capabilities, o, uri->local, host, err) < 0)
		return -1;
	virNodeInfo node;
	if (virNodeGetInfo(call->conn, &node) < 0)
		return call_failed(call, err, "read the host's size");
	host->memory_kib = node.memory;
	host->cpus = VIR_NODEINFO_MAXCPUS(node);
	if (host->type == DOMAIN_TEST)
		return 0;
	cleanup(free_ptr) char *domain = virConnectGetDomainCapabilities(call->conn, host->emulator,
		arch_name(host->arch), host->machine, domain_type_name(host->type), 0);
	if (!domain)
		return call_failed(call, err,
			"read what a domain of type %s on machine %s can have",
			domain_type_name(host->type), host->machine);
	return host_domain_capabilities_read(domain, host, err);
}

void host_free(struct host *host)
{
	free(host->machine);
	free(host->emulator);
	for (char **p = host->loaders; p && *p; p++)
		free(*p);
	free(host->loaders);
	*host = (struct host){0};
}
