/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.h - what the libvirt host is and can do, read from its capabilities
 */
#ifndef PEERPOD_LIBVIRT_HOST_H
#define PEERPOD_LIBVIRT_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "providers/libvirt/connection.h"
#include "providers/libvirt/options.h"
#include "providers/libvirt/uri.h"

enum arch { ARCH_X86_64, ARCH_AARCH64, ARCH_S390X, ARCH_COUNT };
enum domain_type { DOMAIN_KVM, DOMAIN_QEMU, DOMAIN_TEST };

/* Kinds of confidential VM; a set of them is a bit mask of 1 << kind. */
enum launch { LAUNCH_NONE, LAUNCH_SEV_SNP, LAUNCH_TDX, LAUNCH_S390_PV, LAUNCH_COUNT };

struct host {
	enum arch arch; /* of the pod VMs */
	enum domain_type type;
	bool type_chosen;        /* by option, not by us: no falling back */
	const char *type_reason; /* why not KVM; NULL where it is */
	char *machine;           /* owned */
	char *emulator;          /* owned; NULL: libvirt's choice */
	bool emulated_elsewhere; /* another architecture than the host's */
	uint64_t memory_kib;
	unsigned cpus, max_vcpus; /* max_vcpus 0: unknown */
	bool qemu_user_known;
	uint64_t qemu_uid, qemu_gid;
	unsigned launch;    /* confidential VMs the host can start: mask */
	bool firmware_auto; /* <os firmware='efi'> is understood */
	char **loaders;     /* firmware paths it knows; NULL-terminated, owned, may be NULL */
	uint64_t sev_cbitpos, sev_reduced_bits; /* 0: unknown */
};

const char *arch_name(enum arch arch);
const char *domain_type_name(enum domain_type type);
const char *launch_name(enum launch launch);

/* Asks the host, applies the options. Blocks on a few calls. */
int host_read(struct call *call, const struct libvirt_options *options, const struct uri_facts *uri,
	struct host *host, struct error *err);
void host_free(struct host *host);

/* The parts that read XML, for tests and the fuzzer. */
int host_capabilities_read(const char *text, const struct libvirt_options *options, bool local,
	struct host *host, struct error *err);
int host_domain_capabilities_read(const char *text, struct host *host, struct error *err);

/* x86: does this machine's CPU show vmx or svm? Elsewhere: true. */
bool cpu_virtualizes(const char *cpuinfo_path);

#endif
