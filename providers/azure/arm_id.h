/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arm_id.h - names of resources: /subscriptions/S/resourceGroups/G/providers/Microsoft.X/kinds/N
 *
 * Compared without case throughout, as Azure Resource Manager does.
 */
#ifndef PEERPOD_AZURE_ARM_ID_H
#define PEERPOD_AZURE_ARM_ID_H

#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"

#define ARM_PART_MAX 128 /* a group's name has at most 90 characters, a resource's 80 */

struct arm_id {
	char subscription[ARM_PART_MAX], group[ARM_PART_MAX], name[ARM_PART_MAX];
};

#define KIND_VM "Microsoft.Compute/virtualMachines"
#define KIND_DISK "Microsoft.Compute/disks"
#define KIND_NIC "Microsoft.Network/networkInterfaces"
#define KIND_IP "Microsoft.Network/publicIPAddresses"
#define KIND_NSG "Microsoft.Network/networkSecurityGroups"
#define KIND_DES "Microsoft.Compute/diskEncryptionSets"
#define KIND_IDENTITY "Microsoft.ManagedIdentity/userAssignedIdentities"

/* kind: one of the above. ERROR_INVALID names `what` and what such an id looks like. */
int arm_id_parse(const char *what, const char *text, const char *kind, struct arm_id *id,
	struct error *err);

/* /subscriptions/S/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/V/subnets/N */
int arm_subnet_check(const char *what, const char *text, struct error *err);

/* What an image's id is, by its form. */
enum image_form { IMAGE_MANAGED, IMAGE_GALLERY, IMAGE_SHARED, IMAGE_COMMUNITY };
int image_form_of(const char *what, const char *text, enum image_form *form, struct error *err);

/* The index-th part of a path: "/a/b" has "a" and "b". "" where there is none. */
const char *path_part(const char *path, unsigned index, char *part, size_t size);

/* Letters, digits and the few signs that names of resources have: safe in the path of a URL. */
bool is_arm_name(const char *text);

/* Is the location of an answer this region? "East US" is eastus. */
bool is_region(const char *location, const char *region);

#endif
