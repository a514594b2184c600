/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - what AMIs are like, asked once and kept
 */
#ifndef PEERPOD_AWS_IMAGE_H
#define PEERPOD_AWS_IMAGE_H

#include "providers/aws/ec2.h"

struct images;

struct images *images_new(struct ec2 *ec2);
void images_free(struct images *images);

/* Strings are those of the struct images, never NULL, and stay. */
struct image_facts {
	const char *root_device, *boot_mode, *architecture, *state;
	const char *
		kept_devices; /* EBS volumes beside the root that the AMI says outlive the instance: "/dev/sdb,..." */
	int64_t root_gib;
	bool keeps_root; /* the same of the root volume */
};
#define IMAGE_FACTS_NONE ((struct image_facts){"", "", "", "", "", 0, false})

/* ERROR_INVALID where there is no such image or it has no root device. */
int image_look_up(struct images *images, const char *image, struct image_facts *facts,
	const struct bound *bound, struct error *err);

/* Reader of an answer's item; strings are new. false: not usable. */
struct image_entry {
	char *id, *root_device, *boot_mode, *architecture, *state, *kept_devices;
	int64_t root_gib;
	bool keeps_root;
	struct image_entry *next;
};
bool image_read(xmlNode *item, struct image_entry *entry);
void image_entry_clear(struct image_entry *entry);

/* Can an instance be made of it, with SEV-SNP or without? ERROR_INVALID, with what to do, where it cannot. */
int image_check(const struct image_facts *facts, const char *image, bool snp, struct error *err);

#endif
