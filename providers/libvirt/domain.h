/* SPDX-License-Identifier: Apache-2.0 */
/*
 * domain.h - a pod VM as a libvirt domain: the plan of it, and the plan as XML
 *
 * A plan is complete: the same plan always gives the same XML, which asks nobody. Tests compare it with
 * tests/unit/libvirt/<variant>.xml.
 */
#ifndef PEERPOD_LIBVIRT_DOMAIN_H
#define PEERPOD_LIBVIRT_DOMAIN_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "providers/libvirt/host.h"
#include "providers/libvirt/names.h"
#include "providers/libvirt/options.h"
#include "providers/libvirt/record.h"
#include "providers/libvirt/xml.h"

enum firmware {
	FIRMWARE_NONE, /* BIOS, direct kernel boot, s390x */
	FIRMWARE_AUTO, /* libvirt finds UEFI */
	FIRMWARE_PATH, /* UEFI from a path */
};

enum cidata_bus { CIDATA_SCSI, CIDATA_SATA, CIDATA_VIRTIO, CIDATA_IDE, CIDATA_FWCFG };

enum net_mode { NET_NETWORK, NET_BRIDGE, NET_DIRECT, NET_USER };

struct nic {
	enum net_mode mode;
	const char *source; /* network, bridge or device; "" for NET_USER */
	char mac[MAC_TEXT_LEN + 1];
	bool isolated; /* keep it apart from other isolated ports of the bridge */
};

enum disk_kind { DISK_FILE, DISK_BLOCK, DISK_VOLUME };

struct disk {
	enum disk_kind kind;
	const char *pool;   /* DISK_VOLUME */
	const char *source; /* path, or the volume's name */
	const char *format; /* "qcow2", "raw" */
	const char *serial; /* NULL or "": none */
};

#define NICS_MAX 2
#define DATA_DISKS_MAX 16

struct domain_plan {
	const struct libvirt_options *options;
	const struct host *host;
	enum domain_type type; /* host->type, or DOMAIN_QEMU when KVM turned out not to work */
	struct identity identity;
	struct record record; /* strings borrowed */
	int64_t vcpus, memory_mib;

	enum firmware firmware;
	const char *firmware_path;
	enum launch launch;
	char launch_data[80]; /* base64 of the initdata digest, padded; "": none */

	struct disk root;
	enum cidata_bus cidata_bus;
	struct disk cidata;
	struct disk data[DATA_DISKS_MAX];
	size_t data_count;
	struct nic nics[NICS_MAX];
	size_t nic_count;
	const char *console_log; /* file on the libvirt host; NULL: none */
};

/* The delivery of the user data for this host. */
enum cidata_bus cidata_bus_choose(const struct libvirt_options *options, const struct host *host);

/* Fills firmware and firmware_path from options, host and plan->launch. */
int firmware_choose(struct domain_plan *plan, struct error *err);

/* <domain> as text. New string. */
char *domain_xml(const struct domain_plan *plan, struct error *err);

/* <devices>, in devices.c. */
int devices_write(xmlNode *domain, const struct domain_plan *plan, struct error *err);
/* <launchSecurity>, in launch.c. */
void launch_write(xmlNode *domain, const struct domain_plan *plan);
/* Must every virtio device use the guest's own memory protection (iommu='on')? */
bool iommu_needed(const struct domain_plan *plan);

#endif
