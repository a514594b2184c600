/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - what can be set about the libvirt driver
 *
 * Names, variables and defaults of the first block are upstream's; the others are ours.
 */
#ifndef PEERPOD_LIBVIRT_OPTIONS_H
#define PEERPOD_LIBVIRT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/option.h"

/* Upstream's default; also what tells "not set" from a path that somebody chose. */
#define LIBVIRT_FIRMWARE_DEFAULT "/usr/share/OVMF/OVMF_CODE_4M.fd"

struct libvirt_options {
	char *uri, *pool, *network, *base_volume, *launch_security, *firmware, *cpuset, *data_dir;
	int64_t vcpus, memory_mib, root_disk_gib;
	bool disable_cvm;

	char *domain_type, *arch, *machine, *net_mode, *network_ext, *ip_source, *cidata_bus,
		*root_bus;
	char *disk_cache, *console_log, *kernel, *initrd, *cmdline, *snp_policy, *tdx_qgs;
	char *instance_types;
	bool secure_boot, vsock;
};

#define LIBVIRT_OPTION_COUNT 30
extern const struct option libvirt_option_table[LIBVIRT_OPTION_COUNT];

/* What the table cannot say: values that must fit together, patterns. The first fault found. */
int libvirt_options_check(const struct libvirt_options *o, struct error *err);

/*
 * "0-3,8": host CPUs. ERROR_INVALID for another form, for a range that runs backwards, and for a CPU that
 * the host lacks (cpus: how many it has, 0: unknown).
 */
int cpuset_check(const char *cpuset, unsigned cpus, struct error *err);

/*
 * The size of an instance type: one of LIBVIRT_INSTANCE_TYPES ("small=2x2048,large=8x16384": vCPUs x MiB),
 * or such a size itself.
 */
int instance_type_size(const char *types, const char *type, int64_t *vcpus, int64_t *memory_mib,
	struct error *err);

/* GiB to bytes; ERROR_INVALID where that is more than 64 bits hold. */
int capacity_bytes(int64_t gib, uint64_t *bytes, struct error *err);

#endif
