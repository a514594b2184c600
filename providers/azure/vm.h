/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.h - virtual machines, NICs, addresses and disks as the API tells them
 *
 * Resources stay JSON; these are questions about them. Strings that are returned are the resource's own, never NULL.
 */
#ifndef PEERPOD_AZURE_VM_H
#define PEERPOD_AZURE_VM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "providers/provider.h"

/* The text at a path of members: text_of(vm, "properties", "provisioningState", NULL). "" where there is none. */
const char *text_of(const json_t *value, ...) __attribute__((sentinel));

const char *resource_id(const json_t *resource);
const char *resource_name(const json_t *resource);

enum vm_state { VM_COMING, VM_READY, VM_FAILED, VM_GOING };
enum vm_state vm_state(const json_t *vm);

/* Unix time; 0: unknown. */
int64_t time_parse(const char *text);
int64_t resource_created(const json_t *resource);

/* The NIC's first private address, "" where there is none yet or it is 0.0.0.0. */
const char *nic_address(const json_t *nic);
/* The id of the public address that the NIC has, "". */
const char *nic_public_ip(const json_t *nic);
/* Azure gives a NIC its MAC when the VM has been put on a host and started for the first time. */
bool nic_is_on_a_host(const json_t *nic);
/* The id of the VM that has it, "". */
const char *nic_vm(const json_t *nic);

/*
 * Where the VM's NICs are known: *instance gets one address a NIC, the primary's first; public_ip is put in place of
 * the first private one where it is not NULL, and no address is told while it is "". Ends at the first NIC without.
 */
int addresses_give(const json_t *nics, const char *public_ip, struct instance *instance,
	struct error *err);

/* Everything but addresses. id, name: those of the VM, which may have gone. */
int instance_give(const char *id, const char *name, const json_t *tagged, struct instance *instance,
	struct error *err);

/* Why it failed, as the API shows it with $expand=instanceView. Always -1. */
int vm_failure(const json_t *vm, struct error *err);

#endif
