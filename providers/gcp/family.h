/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family.h - what machine families can do that the API does not tell: confidential VMs, boot disks
 */
#ifndef PEERPOD_GCP_FAMILY_H
#define PEERPOD_GCP_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include "providers/provider.h"

#define FAMILY_SIZE 32

/* Upstream's default, which no confidential VM can have. */
#define TYPE_OF_UPSTREAM "e2-medium"

/* "n2d" of "n2d-standard-2". */
void family_of(const char *type, char out[FAMILY_SIZE]);

/* Of enum choice_tee. */
unsigned family_tees(const char *type);
bool family_can(const char *type, enum instance_tee tee);

/* The smallest type that can; NULL for TEE_NONE and TEE_DEFAULT. */
const char *family_smallest(enum instance_tee tee);

/* What to take instead, for messages. */
const char *family_advice(enum instance_tee tee);

/* The boot disk: `wanted`, unless that is pd-standard and the family takes no such disk. */
const char *family_disk(const char *type, const char *wanted);

/* "SEV_SNP" and the like; "" for those that are none. */
const char *family_tee_name(enum instance_tee tee);
enum instance_tee family_tee(const char *name); /* TEE_DEFAULT: none of them */

/* What an image must say it can (guestOsFeatures). */
const char *family_image_feature(enum instance_tee tee);

#endif
