/* SPDX-License-Identifier: Apache-2.0 */
/*
 * domain.c - see domain.h
 *
 * What is the same everywhere: a pod VM that powers off, reboots or crashes is a dead pod, so all three destroy the
 * domain; its memory stays out of core dumps; no display, no USB, no balloon.
 */
#include "providers/libvirt/domain.h"

#include <string.h>

#include "base/buf.h"

enum cidata_bus cidata_bus_choose(const struct libvirt_options *o, const struct host *host)
{
	static const struct {
		const char *name;
		enum cidata_bus bus;
	} buses[] = {
		{"scsi", CIDATA_SCSI},
		{"sata", CIDATA_SATA},
		{"virtio", CIDATA_VIRTIO},
		{"ide", CIDATA_IDE},
		{"fwcfg", CIDATA_FWCFG},
	};
	for (size_t i = 0; i < array_size(buses); i++) {
		if (!strcmp(o->cidata_bus, buses[i].name))
			return buses[i].bus;
	}
	/* virtio-scsi leaves vdb, vdc ... to data disks; s390x has no CD-ROM; the i440fx has IDE. */
	return host->arch == ARCH_S390X ? CIDATA_VIRTIO : CIDATA_SCSI;
}

static bool loader_known(const struct host *host, const char *path)
{
	for (char **p = host->loaders; p && *p; p++) {
		if (!strcmp(*p, path))
			return true;
	}
	return false;
}

int firmware_choose(struct domain_plan *plan, struct error *err)
{
	const struct libvirt_options *o = plan->options;
	const struct host *host = plan->host;
	bool by_default = !strcmp(o->firmware, LIBVIRT_FIRMWARE_DEFAULT);
	bool none = !*o->firmware || !strcmp(o->firmware, "bios");
	bool measured = plan->launch == LAUNCH_SEV_SNP || plan->launch == LAUNCH_TDX;

	plan->firmware = FIRMWARE_NONE;
	plan->firmware_path = NULL;
	if (host->arch == ARCH_S390X || host->type == DOMAIN_TEST)
		return 0;
	if (measured && none)
		return error_set(err, ERROR_INVALID,
			"a %s VM needs UEFI firmware built for it: set LIBVIRT_EFI_FIRMWARE to its path or to auto",
			launch_name(plan->launch));
	/* A kernel that is booted directly needs firmware only where it is measured or asked for. */
	if (*o->kernel && !measured && (by_default || none || host->arch == ARCH_AARCH64))
		return 0;
	if (none && host->arch == ARCH_X86_64)
		return 0;
	plan->firmware = FIRMWARE_AUTO;
	if (host->arch == ARCH_AARCH64 || !strcmp(o->firmware, "auto"))
		return 0;
	/*
	 * The default is one distribution's path, and for ordinary VMs: where the host has it not, or where that is not
	 * what is wanted, libvirt finds what is there.
	 */
	if (by_default &&
		(measured || o->secure_boot ||
			(host->firmware_auto && host->loaders && !loader_known(host, o->firmware))))
		return 0;
	plan->firmware = FIRMWARE_PATH;
	plan->firmware_path = o->firmware;
	return 0;
}

/* ".../OVMF_CODE_4M.fd" -> ".../OVMF_VARS_4M.fd"; NULL where the name does not say CODE. */
static char *vars_template(const char *code)
{
	const char *slash = strrchr(code, '/');
	const char *at = NULL;
	for (const char *p = slash ? slash : code; (p = strstr(p, "CODE")); p++)
		at = p;
	if (!at)
		return NULL;
	char *vars = strdup(code);
	if (vars)
		memcpy(vars + (at - code), "VARS", 4);
	return vars;
}

static int os_write(xmlNode *domain, const struct domain_plan *plan, struct error *err)
{
	const struct libvirt_options *o = plan->options;
	bool secure = o->secure_boot && plan->host->arch == ARCH_X86_64;
	bool measured = plan->launch == LAUNCH_SEV_SNP || plan->launch == LAUNCH_TDX;
	xmlNode *os = xml_child(domain, "os", "firmware",
		plan->firmware == FIRMWARE_AUTO ? "efi" : (const char *)NULL, NULL);
	xmlNode *type = xml_child_text(os, "type", "hvm");
	if (plan->host->type != DOMAIN_TEST) {
		xml_attribute(type, "arch", arch_name(plan->host->arch));
		xml_attribute(type, "machine", plan->host->machine);
	}
	if (plan->firmware == FIRMWARE_AUTO && measured) {
		xml_child(os, "loader", "stateless", "yes", NULL);
	} else if (plan->firmware == FIRMWARE_AUTO && plan->host->arch == ARCH_X86_64) {
		/* Without this line Debian's libvirt takes firmware that refuses unsigned images. */
		xmlNode *firmware = xml_child(os, "firmware", NULL);
		if (secure)
			xml_child(firmware, "feature", "enabled", "yes", "name", "enrolled-keys",
				NULL);
		xml_child(firmware, "feature", "enabled", secure ? "yes" : "no", "name",
			"secure-boot", NULL);
		if (secure)
			xml_child(os, "loader", "secure", "yes", NULL);
	} else if (plan->firmware == FIRMWARE_PATH) {
		cleanup(free_ptr) char *vars = vars_template(plan->firmware_path);
		xmlNode *loader = xml_child_text(os, "loader", plan->firmware_path);
		if (measured || !vars) {
			xml_attribute(loader, "type", "rom");
			if (measured) {
				xml_attribute(loader, "format", "raw");
				xml_attribute(loader, "stateless", "yes");
			}
		} else {
			xml_attribute(loader, "readonly", "yes");
			if (secure)
				xml_attribute(loader, "secure", "yes");
			xml_attribute(loader, "type", "pflash");
			xml_child(os, "nvram", "template", vars, NULL);
		}
	}
	if (!*o->kernel)
		return 0;
	if (!xml_text_valid(o->cmdline))
		return error_set(err, ERROR_INVALID, "LIBVIRT_CMDLINE holds a control character");
	xml_child_text(os, "kernel", o->kernel);
	if (*o->initrd)
		xml_child_text(os, "initrd", o->initrd);
	if (*o->cmdline)
		xml_child_text(os, "cmdline", o->cmdline);
	return 0;
}

static void features_write(xmlNode *domain, const struct domain_plan *plan)
{
	xmlNode *features;
	switch (plan->host->arch) {
	case ARCH_X86_64:
		features = xml_child(domain, "features", NULL);
		xml_child(features, "acpi", NULL);
		xml_child(features, "apic", NULL);
		xml_child(features, "vmport", "state", "off", NULL);
		if (plan->options->secure_boot)
			xml_child(features, "smm", "state", "on", NULL);
		break;
	case ARCH_AARCH64:
		if (plan->firmware != FIRMWARE_NONE) /* libvirt: ACPI needs UEFI there */
			xml_child(xml_child(domain, "features", NULL), "acpi", NULL);
		break;
	case ARCH_S390X:
	case ARCH_COUNT:
		break;
	}
}

static void cpu_write(xmlNode *domain, const struct domain_plan *plan)
{
	switch (plan->type) {
	case DOMAIN_KVM:
		if (plan->host->arch == ARCH_S390X)
			xml_child(domain, "cpu", "mode", "host-model", NULL);
		else
			xml_child(domain, "cpu", "mode", "host-passthrough", "migratable",
				plan->host->arch == ARCH_X86_64 ? "off" : (const char *)NULL, NULL);
		break;
	case DOMAIN_QEMU:
		xml_child(domain, "cpu", "mode", "maximum", NULL);
		break;
	case DOMAIN_TEST:
		break;
	}
}

/* The user data as a fw_cfg item: a file, never text, which would stand in QEMU's arguments. */
static void fwcfg_write(xmlNode *domain, const struct domain_plan *plan)
{
	xmlNode *sysinfo = xml_child(domain, "sysinfo", "type", "fwcfg", NULL);
	xml_child(sysinfo, "entry", "name", "opt/org.peerpod/user-data", "file",
		plan->cidata.source, NULL);
}

static char *title_make(const struct record *record)
{
	char *title;
	if (asprintf(&title, "%s/%s", record->pod_namespace, record->pod) < 0)
		return NULL;
	for (char *p = title; *p; p++) {
		if ((unsigned char)*p < ' ')
			*p = '?'; /* libvirt takes one line */
	}
	return title;
}

char *domain_xml(const struct domain_plan *plan, struct error *err)
{
	cleanup_xml *doc = xmlNewDoc((const xmlChar *)"1.0");
	xmlNode *domain = doc ? xmlNewNode(NULL, (const xmlChar *)"domain") : NULL;
	cleanup(free_ptr) char *title = title_make(&plan->record);
	if (!domain || !title) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	xmlDocSetRootElement(doc, domain);
	xml_attribute(domain, "type", domain_type_name(plan->type));
	xml_child_text(domain, "name", plan->identity.name);
	xml_child_text(domain, "uuid", plan->identity.uuid);
	if (xml_text_valid(title))
		xml_child_text(domain, "title", title);

	cleanup(buf_free) struct buf data = BUF_INIT;
	for (size_t i = 0; i < plan->data_count; i++)
		buf_printf(&data, "%s%s", i ? " " : "", plan->data[i].source);
	if (record_write(domain, &plan->record, buf_text(&data), err) < 0)
		return NULL;

	xmlNode *memory = xml_child_format(domain, "memory", "%lld", (long long)plan->memory_mib);
	xml_attribute(memory, "unit", "MiB");
	xml_attribute(memory, "dumpCore", "off");
	xmlNode *vcpu = xml_child_format(domain, "vcpu", "%lld", (long long)plan->vcpus);
	xml_attribute(vcpu, "placement", "static");
	if (*plan->options->cpuset)
		xml_attribute(vcpu, "cpuset", plan->options->cpuset);
	if (plan->cidata_bus == CIDATA_FWCFG)
		fwcfg_write(domain, plan);
	if (os_write(domain, plan, err) < 0)
		return NULL;
	features_write(domain, plan);
	cpu_write(domain, plan);
	xml_child(domain, "clock", "offset", "utc", NULL);
	xml_child_text(domain, "on_poweroff", "destroy");
	xml_child_text(domain, "on_reboot", "destroy");
	xml_child_text(domain, "on_crash", "destroy");
	if (devices_write(domain, plan, err) < 0)
		return NULL;
	launch_write(domain, plan);
	char *text = xml_write(doc);
	if (!text)
		error_set(err, ERROR_CAPACITY, "out of memory");
	return text;
}
