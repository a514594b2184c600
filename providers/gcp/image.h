/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - what images are like, asked once and kept
 */
#ifndef PEERPOD_GCP_IMAGE_H
#define PEERPOD_GCP_IMAGE_H

#include <jansson.h>
#include "providers/gcp/compute.h"
#include "providers/provider.h"

struct image_facts {
	char *path; /* of the very image, also where a family was asked for */
	char *status, *architecture;
	char **features; /* guestOsFeatures */
	int64_t disk_gib;
};

struct images;
struct images *images_new(struct compute *c);
void images_free(struct images *images);

/* A copy of what is known. path: as image_path has it. ERROR_INVALID where there is no such image. */
int image_look(struct images *images, const char *path, struct image_facts *out,
	const struct bound *bound, struct error *err);

/* Whether it can boot such a VM; says what is missing. */
int image_check(const struct image_facts *facts, enum instance_tee tee, struct error *err);

int image_read(const json_t *object, struct image_facts *out, struct error *err);
void image_facts_free(struct image_facts *facts);
#define cleanup_image cleanup(image_facts_free) struct image_facts

#endif
