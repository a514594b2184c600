/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.h - an instance as Compute Engine tells it
 */
#ifndef PEERPOD_GCP_VM_H
#define PEERPOD_GCP_VM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "providers/gcp/names.h"
#include "providers/provider.h"

#define VM_NICS_MAX 8

/* The fields of an instance that vm_read looks at, for the parameter `fields`. */
#define VM_FIELDS                                                                 \
	"name,id,zone,status,statusMessage,creationTimestamp,labels,description," \
	"networkInterfaces(networkIP,accessConfigs(natIP)),confidentialInstanceConfig"

struct vm {
	char *name, *zone, *status, *status_message;
	char *numeric_id;
	enum instance_tee tee;        /* TEE_NONE where it is not confidential */
	char *addresses[VM_NICS_MAX]; /* private ones in the order of the NICs; NULL: none yet */
	size_t nics;
	char *public_ip;                                      /* of the first NIC */
	char *token;                                          /* label; NULL: not ours */
	char *cluster, *node, *pod_namespace, *pod, *sandbox; /* NULL: not told */
	int64_t created;
};

/* ERROR_RETRY where it has no name, zone or status. */
int vm_read(const json_t *item, struct vm *vm, struct error *err);
void vm_free(struct vm *vm);
#define cleanup_vm cleanup(vm_free) struct vm

bool vm_is_ours(const struct vm *vm);
/* It will not run (again). */
bool vm_is_dead(const struct vm *vm);
/* The zone had room for it: what may still go wrong is not capacity. */
bool vm_is_placed(const struct vm *vm);

/*
 * Moves what there is to an instance; the id is the bare name. With public_ip the first address is the public one, and
 * there is none before it is known; the private ones of other NICs follow, and that of the first one comes last.
 * Addresses end at the first NIC without.
 */
int vm_give(struct vm *vm, bool public_ip, struct instance *instance, struct error *err);

/* Whose it is, as the description holds it: text that label values have no room for. New string, NULL: no memory. */
char *vm_description(const struct instance_owner *owner);

#endif
