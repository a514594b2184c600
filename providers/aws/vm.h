/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.h - an EC2 instance as the API tells it
 */
#ifndef PEERPOD_AWS_VM_H
#define PEERPOD_AWS_VM_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "providers/aws/tags.h"
#include "providers/aws/xml.h"
#include "providers/provider.h"

#define VM_NICS_MAX 8

/* A network interface, at its device index. */
struct vm_nic {
	char *id, *address, *subnet, *attachment; /* NULL: not there (yet) */
	bool lasts;                               /* not deleted when the instance ends */
};

struct vm {
	char *id, *state, *reason_code, *reason, *snp, *public_ip;
	char *type, *zone; /* also of one that ended */
	bool spot;
	struct vm_nic nics[VM_NICS_MAX];
	char *groups; /* of the first NIC, with commas; NULL: not told */
	struct tags tags;
	int64_t launched;
};

/* An item of an instancesSet. ERROR_RETRY where it has no id. */
int vm_read(xmlNode *item, struct vm *vm, struct error *err);
void vm_free(struct vm *vm);
#define cleanup_vm cleanup(vm_free) struct vm

/* Terminated, or about to be. */
bool vm_is_dead(const struct vm *vm);

/*
 * Moves what there is to an instance. With public_ip the first address is the public one, and there is no address
 * before it is known. Addresses end at the first NIC that has none yet.
 */
int vm_give(struct vm *vm, bool public_ip, struct instance *instance, struct error *err);

#endif
