/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - what VMs and their parts are like just now: many that ask share one list a kind
 *
 * Only of the configured resource group. Answers are the caller's (json_decref).
 */
#ifndef PEERPOD_AZURE_WATCH_H
#define PEERPOD_AZURE_WATCH_H

#include <jansson.h>
#include "providers/azure/arm.h"

struct watch;

struct watch *watch_new(struct arm *arm, const struct azure_options *o);
void watch_free(struct watch *w);

/* The VM of this name, or of this token's tag. ERROR_GONE where the list shows none. */
int watch_vm(struct watch *w, const char *name, json_t **vm, const struct bound *bound,
	struct error *err);
int watch_vm_of_token(struct watch *w, const char *token, json_t **vm, const struct bound *bound,
	struct error *err);

/* What a VM has beside itself. */
enum part { PART_NIC, PART_IP, PART_DISK };
#define PARTS 3

/*
 * Those that were made for the VM of this name, or with this token, as an array, which may be empty: by tag; NICs also by
 * the VM that has them; OS disks also by their name.
 */
int watch_parts(struct watch *w, enum part part, const char *vm_name, json_t **list,
	const struct bound *bound, struct error *err);
int watch_parts_of_token(struct watch *w, enum part part, const char *token, json_t **list,
	const struct bound *bound, struct error *err);

/* The path of the list of all of a kind in a group. */
void part_path(enum part part, const char *subscription, const char *group, char *path,
	size_t size);
void vms_path(const char *subscription, const char *group, char *path, size_t size);

/* Was this part made for the VM of this name? */
bool part_is_of(enum part part, const json_t *resource, const char *vm_name);

/* The name of the VM that this part was made for, "" where it is none of ours. vm_name: VM_NAME_SIZE bytes. */
const char *part_vm(enum part part, const json_t *resource, char *vm_name);

const char *part_name(enum part part);      /* "NIC", "public address", "disk" */
const char *part_list_what(enum part part); /* "list NICs": for messages */
const char *part_version(enum part part);

#endif
