/* SPDX-License-Identifier: Apache-2.0 */
/* family.c - see family.h */
#include "providers/gcp/family.h"

#include <string.h>

#include "base/cleanup.h"

/* One kind of protection, in every form that it has here. */
static const struct {
	enum instance_tee tee;
	unsigned choice;
	const char *name, *image_feature, *smallest, *advice;
} tees[] = {
	{TEE_SNP, CHOICE_TEE_SNP, "SEV_SNP", "SEV_SNP_CAPABLE", "n2d-standard-2",
		"n2d types (n2d-standard-2)"},
	{TEE_TDX, CHOICE_TEE_TDX, "TDX", "TDX_CAPABLE", "c3-standard-4",
		"c3-standard types (c3-standard-4)"},
	{TEE_SEV, CHOICE_TEE_SEV, "SEV", "SEV_CAPABLE", "n2d-standard-2",
		"n2d, c2d, c3d or c4d types (n2d-standard-2)"},
};

/* Types that can be confidential: by the start of their names. */
static const struct {
	const char *start;
	unsigned tees;
} confidential[] = {
	{"n2d-", CHOICE_TEE_SEV | CHOICE_TEE_SNP},
	{"c2d-", CHOICE_TEE_SEV},
	{"c3d-", CHOICE_TEE_SEV},
	{"c4d-", CHOICE_TEE_SEV},
	{"g4-standard-48", CHOICE_TEE_SEV},
	{"c3-standard-", CHOICE_TEE_TDX},
	{"a3-highgpu-1g", CHOICE_TEE_TDX},
};

/* Families without pd-standard, and the simplest disk that they boot from. */
static const struct {
	const char *family, *disk;
} disks[] = {
	{"c3", "pd-balanced"},
	{"c3d", "pd-balanced"},
	{"a3", "pd-balanced"},
	{"g2", "pd-balanced"},
	{"h3", "pd-balanced"},
	{"c4", "hyperdisk-balanced"},
	{"c4a", "hyperdisk-balanced"},
	{"c4d", "hyperdisk-balanced"},
	{"n4", "hyperdisk-balanced"},
	{"n4d", "hyperdisk-balanced"},
	{"g4", "hyperdisk-balanced"},
};

void family_of(const char *type, char out[FAMILY_SIZE])
{
	size_t len = strcspn(type, "-");
	if (len >= FAMILY_SIZE)
		len = FAMILY_SIZE - 1;
	memcpy(out, type, len);
	out[len] = '\0';
}

unsigned family_tees(const char *type)
{
	for (size_t i = 0; i < array_size(confidential); i++) {
		const char *start = confidential[i].start;
		size_t len = strlen(start);
		bool whole = start[len - 1] != '-';
		if (!strncmp(type, start, len) && (!whole || !type[len]))
			return confidential[i].tees;
	}
	return 0;
}

bool family_can(const char *type, enum instance_tee tee)
{
	for (size_t i = 0; i < array_size(tees); i++) {
		if (tees[i].tee == tee)
			return family_tees(type) & tees[i].choice;
	}
	return true;
}

const char *family_smallest(enum instance_tee tee)
{
	for (size_t i = 0; i < array_size(tees); i++) {
		if (tees[i].tee == tee)
			return tees[i].smallest;
	}
	return NULL;
}

const char *family_advice(enum instance_tee tee)
{
	for (size_t i = 0; i < array_size(tees); i++) {
		if (tees[i].tee == tee)
			return tees[i].advice;
	}
	return "";
}

const char *family_disk(const char *type, const char *wanted)
{
	char family[FAMILY_SIZE];
	family_of(type, family);
	for (size_t i = 0; !strcmp(wanted, "pd-standard") && i < array_size(disks); i++) {
		if (!strcmp(family, disks[i].family))
			return disks[i].disk;
	}
	return wanted;
}

const char *family_tee_name(enum instance_tee tee)
{
	for (size_t i = 0; i < array_size(tees); i++) {
		if (tees[i].tee == tee)
			return tees[i].name;
	}
	return "";
}

enum instance_tee family_tee(const char *name)
{
	for (size_t i = 0; i < array_size(tees); i++) {
		if (!strcmp(tees[i].name, name))
			return tees[i].tee;
	}
	return TEE_DEFAULT;
}

const char *family_image_feature(enum instance_tee tee)
{
	for (size_t i = 0; i < array_size(tees); i++) {
		if (tees[i].tee == tee)
			return tees[i].image_feature;
	}
	return "";
}
