/* SPDX-License-Identifier: Apache-2.0 */
/*
 * name.h - what the resources of an instance are called, derived from its wish for a name and its token
 *
 * The VM is podvm-<pod>-<8 of the sandbox id>, as upstream's. Eight digits are not many: where somebody else's VM has
 * that name, the second candidate has eight digits of the token's hash behind it. The same request gives the same
 * candidates, so that a creation is found again after a crash.
 *
 * The OS disk cannot be given tags when it is made. Its name tells whose it is: behind the VM's name are hashes of
 * cluster and node.
 */
#ifndef PEERPOD_AZURE_NAME_H
#define PEERPOD_AZURE_NAME_H

#include <stdbool.h>
#include "base/error.h"
#include "providers/provider.h"

#define VM_NAME_SIZE 64   /* Azure: 64 characters for Linux; a host name has 63 */
#define DISK_NAME_SIZE 81 /* Azure: 80 characters */
#define NAME_CANDIDATES 2

int vm_name_make(const struct instance_request *r, unsigned candidate, char name[VM_NAME_SIZE],
	struct error *err);

/* "<vm>-os-<6 of the cluster's hash><6 of the node's hash>" */
int disk_name_make(const char *vm_name, const char *cluster, const char *node,
	char name[DISK_NAME_SIZE], struct error *err);

/* Is this the OS disk that we would have given the VM, whatever cluster and node? Names are compared without case. */
bool disk_name_is_of(const char *disk, const char *vm_name);

/* The VM's name in a disk's of ours; false: it is none. */
bool disk_name_split(const char *disk, char vm_name[VM_NAME_SIZE]);

/* Was it made for this cluster ("": any) and node ("": any)? */
bool disk_name_matches(const char *disk, const char *cluster, const char *node);

#endif
