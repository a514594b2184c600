/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - what an image can do, from its gallery's definition
 */
#ifndef PEERPOD_AZURE_IMAGE_H
#define PEERPOD_AZURE_IMAGE_H

#include "providers/azure/arm.h"

/* What is not told is "" and counts as possible. */
struct image_facts {
	char architecture[16]; /* "x64", "Arm64" */
	char generation[8];    /* "V1", "V2" */
	char security[64];     /* feature SecurityType, "TrustedLaunchAndConfidentialVmSupported" */
	char controllers[32];  /* feature DiskControllerTypes, "SCSI, NVMe" */
};

void image_facts_read(const json_t *definition, struct image_facts *facts);

/* Why a confidential VM cannot be made of it; NULL: it can, as far as is known. */
const char *image_not_confidential(const struct image_facts *facts);

struct images;
struct images *images_new(struct arm *arm, const struct azure_options *o);
void images_free(struct images *images);

/* Asked once for each image and kept. An image without a definition (managed images) has no facts. */
int image_facts_get(struct images *images, const char *image, struct image_facts *facts,
	const struct bound *bound, struct error *err);

/* GETs the image itself: does it exist, may we see it? */
int image_look(struct images *images, const char *image, const struct bound *bound,
	struct error *err);

#endif
