/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.h - an EC2 instance as the API tells it
 */
#ifndef PEERPOD_AWS_VM_H
#define PEERPOD_AWS_VM_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "providers/aws/xml.h"
#include "providers/provider.h"

#define VM_NICS_MAX 8

struct vm {
	char *id, *state, *reason_code, *reason, *snp, *public_ip, *name;
	char *addresses[VM_NICS_MAX]; /* private ones by device index; NULL: none yet */
	char *token, *cluster, *node, *pod_namespace, *pod, *sandbox; /* tags; NULL: not there */
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
