/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices.c - the devices of a pod VM
 *
 * Order matters to the guest: NICs are eth0, eth1 in order; virtio disks are vda (root), then the data disks, and last
 * the user data where that is a virtio disk too, since the forwarder counts data disks by letter.
 */
#include "providers/libvirt/domain.h"

#include <string.h>

bool iommu_needed(const struct domain_plan *plan)
{
	/* aarch64 as upstream has it; a confidential guest shares with devices only what it chose to. */
	return plan->launch != LAUNCH_NONE || plan->host->arch == ARCH_AARCH64;
}

static const char *iommu(const struct domain_plan *plan)
{
	return iommu_needed(plan) ? "on" : NULL;
}

/* Letters given out so far, by the prefix of the device's name. */
struct letters {
	unsigned vd, sd, hd;
};

static void target_write(xmlNode *disk, const char *bus, struct letters *letters)
{
	bool virtio = !strcmp(bus, "virtio"), ide = !strcmp(bus, "ide");
	unsigned *next = virtio ? &letters->vd : ide ? &letters->hd : &letters->sd;
	xmlNode *target = xml_child(disk, "target", NULL);
	xml_attribute_format(target, "dev", "%s%c",
		virtio ? "vd"
		: ide  ? "hd"
		       : "sd",
		(char)('a' + (*next)++));
	xml_attribute(target, "bus", bus);
}

static xmlNode *disk_write(xmlNode *devices, const struct disk *disk, const char *device,
	const char *cache, const char *discard, const char *virtio_iommu)
{
	static const struct {
		const char *type, *attribute;
	} kinds[] = {
		[DISK_FILE] = {"file", "file"},
		[DISK_BLOCK] = {"block", "dev"},
		[DISK_VOLUME] = {"volume", "volume"},
	};
	xmlNode *node =
		xml_child(devices, "disk", "type", kinds[disk->kind].type, "device", device, NULL);
	xmlNode *driver = xml_child(node, "driver", "name", "qemu", "type", disk->format, NULL);
	if (cache)
		xml_attribute(driver, "cache", cache);
	if (discard)
		xml_attribute(driver, "discard", discard);
	if (virtio_iommu)
		xml_attribute(driver, "iommu", virtio_iommu);
	xmlNode *source = xml_child(node, "source", NULL);
	if (disk->kind == DISK_VOLUME)
		xml_attribute(source, "pool", disk->pool);
	xml_attribute(source, kinds[disk->kind].attribute, disk->source);
	return node;
}

static void root_write(xmlNode *devices, const struct domain_plan *plan, struct letters *letters)
{
	const struct libvirt_options *o = plan->options;
	bool virtio = !strcmp(o->root_bus, "virtio");
	xmlNode *node = disk_write(devices, &plan->root, "disk", o->disk_cache, "unmap",
		virtio ? iommu(plan) : NULL);
	target_write(node, o->root_bus, letters);
	if (!*o->kernel)
		xml_child(node, "boot", "order", "1", NULL);
}

static void cidata_write(xmlNode *devices, const struct domain_plan *plan, struct letters *letters)
{
	static const char *const buses[] = {
		[CIDATA_SCSI] = "scsi",
		[CIDATA_SATA] = "sata",
		[CIDATA_VIRTIO] = "virtio",
		[CIDATA_IDE] = "ide",
	};
	bool virtio = plan->cidata_bus == CIDATA_VIRTIO;
	xmlNode *node = disk_write(devices, &plan->cidata, virtio ? "disk" : "cdrom", NULL, NULL,
		virtio ? iommu(plan) : NULL);
	target_write(node, buses[plan->cidata_bus], letters);
	xml_child(node, "readonly", NULL);
}

static int disks_write(xmlNode *devices, const struct domain_plan *plan, struct error *err)
{
	struct letters letters = {0};
	root_write(devices, plan, &letters);
	for (size_t i = 0; i < plan->data_count; i++) {
		const struct disk *data = &plan->data[i];
		/* virtio-blk: a serial has 20 characters. */
		if (data->serial && (strlen(data->serial) > 20 || !xml_text_valid(data->serial)))
			return error_set(err, ERROR_INVALID,
				"serial \"%s\" of data disk %s: at most 20 printable characters",
				data->serial, data->source);
		xmlNode *node = disk_write(devices, data, "disk", "none", NULL, iommu(plan));
		target_write(node, "virtio", &letters);
		if (data->serial && *data->serial)
			xml_child_text(node, "serial", data->serial);
	}
	if (plan->cidata_bus != CIDATA_FWCFG)
		cidata_write(devices, plan, &letters);
	if (plan->cidata_bus == CIDATA_SCSI || !strcmp(plan->options->root_bus, "scsi")) {
		xmlNode *controller = xml_child(devices, "controller", "type", "scsi", "index", "0",
			"model", "virtio-scsi", NULL);
		if (iommu(plan))
			xml_child(controller, "driver", "iommu", "on", NULL);
	}
	return 0;
}

static void nic_write(xmlNode *devices, const struct domain_plan *plan, const struct nic *nic)
{
	static const struct {
		const char *type, *attribute;
	} modes[] = {
		[NET_NETWORK] = {"network", "network"},
		[NET_BRIDGE] = {"bridge", "bridge"},
		[NET_DIRECT] = {"direct", "dev"},
		[NET_USER] = {"user", NULL},
	};
	xmlNode *node = xml_child(devices, "interface", "type", modes[nic->mode].type, NULL);
	xml_child(node, "mac", "address", nic->mac, NULL);
	if (modes[nic->mode].attribute) {
		xmlNode *source =
			xml_child(node, "source", modes[nic->mode].attribute, nic->source, NULL);
		if (nic->mode == NET_DIRECT)
			xml_attribute(source, "mode", "bridge");
	}
	xml_child(node, "model", "type", "virtio", NULL);
	if (iommu(plan))
		xml_child(node, "driver", "iommu", "on", NULL);
	if (nic->isolated)
		xml_child(node, "port", "isolated", "yes", NULL);
	if (plan->host->arch != ARCH_S390X)
		xml_child(node, "rom", "enabled", "no", NULL); /* no network boot */
}

static void console_write(xmlNode *devices, const struct domain_plan *plan)
{
	xmlNode *first, *console;
	if (plan->host->arch == ARCH_S390X) {
		first = console = xml_child(devices, "console", "type", "pty", NULL);
	} else {
		first = xml_child(devices, "serial", "type", "pty", NULL);
		console = xml_child(devices, "console", "type", "pty", NULL);
	}
	if (plan->console_log)
		xml_child(first, "log", "file", plan->console_log, "append", "off", NULL);
	if (plan->host->arch == ARCH_S390X) {
		xml_child(console, "target", "type", "sclp", "port", "0", NULL);
	} else {
		xml_child(first, "target", "port", "0", NULL);
		xml_child(console, "target", "type", "serial", "port", "0", NULL);
	}
}

static void agent_channel_write(xmlNode *devices, const struct domain_plan *plan)
{
	if (strcmp(plan->options->ip_source, "agent") != 0 &&
		(strcmp(plan->options->ip_source, "auto") != 0 ||
			plan->nics[0].mode == NET_NETWORK))
		return;
	xmlNode *channel = xml_child(devices, "channel", "type", "unix", NULL);
	xml_child(channel, "target", "type", "virtio", "name", "org.qemu.guest_agent.0", NULL);
	if (iommu(plan)) {
		xmlNode *controller = xml_child(devices, "controller", "type", "virtio-serial",
			"index", "0", NULL);
		xml_child(controller, "driver", "iommu", "on", NULL);
	}
}

int devices_write(xmlNode *domain, const struct domain_plan *plan, struct error *err)
{
	xmlNode *devices = xml_child(domain, "devices", NULL);
	/* Named where the architecture is not the host's own, whose emulator libvirt finds by itself. */
	if (plan->host->emulator && plan->host->emulated_elsewhere)
		xml_child_text(devices, "emulator", plan->host->emulator);
	if (disks_write(devices, plan, err) < 0)
		return -1;
	if (plan->host->arch != ARCH_S390X && plan->host->type != DOMAIN_TEST)
		xml_child(devices, "controller", "type", "usb", "model", "none", NULL);
	for (size_t i = 0; i < plan->nic_count; i++)
		nic_write(devices, plan, &plan->nics[i]);
	console_write(devices, plan);
	agent_channel_write(devices, plan);
	xmlNode *rng = xml_child(devices, "rng", "model", "virtio", NULL);
	xml_child_text(rng, "backend", "/dev/urandom");
	xml_attribute(rng->last, "model", "random");
	if (iommu(plan))
		xml_child(rng, "driver", "iommu", "on", NULL);
	xml_child(devices, "memballoon", "model", "none", NULL);
	if (plan->host->arch == ARCH_S390X)
		xml_child(devices, "panic", "model", "s390", NULL);
	if (plan->options->vsock)
		xml_child(xml_child(devices, "vsock", "model", "virtio", NULL), "cid", "auto",
			"yes", NULL);
	return 0;
}
