/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue.h - what instance types and images are like, asked once and kept
 */
#ifndef PEERPOD_AWS_CATALOGUE_H
#define PEERPOD_AWS_CATALOGUE_H

#include "providers/aws/ec2.h"
#include "providers/choice/choice.h"

struct catalogue;

struct catalogue *catalogue_new(struct ec2 *ec2);
void catalogue_free(struct catalogue *c);

/* A type; name and family are the catalogue's and stay. zone, spot and price are left empty. */
struct type_facts {
	struct offering offering;
	bool known; /* false: the API could not be asked, sizes are 0 and everything counts as possible */
};

/*
 * What is known of these types, in their order; a type that the region lacks is left out, with a log line.
 * *facts is new. Fails for lack of memory and at the bound only.
 */
int catalogue_types(struct catalogue *c, char *const *types, struct type_facts **facts,
	size_t *count, const struct bound *bound, struct error *err);

struct image_facts {
	const char *root_device, *boot_mode, *architecture,
		*state; /* the catalogue's, never NULL */
	int64_t root_gib;
};

/* ERROR_INVALID where there is no such image or it has no root device. */
int catalogue_image(struct catalogue *c, const char *image, struct image_facts *facts,
	const struct bound *bound, struct error *err);

/* Readers of the answers' items; strings are new. false: not usable. */
struct type_entry {
	char *name, *family;
	struct offering offering;
	struct type_entry *next;
};
struct image_entry {
	char *id, *root_device, *boot_mode, *architecture, *state;
	int64_t root_gib;
	struct image_entry *next;
};
bool type_read(xmlNode *item, struct type_entry *entry);
bool image_read(xmlNode *item, struct image_entry *entry);
void type_entry_clear(struct type_entry *entry);
void image_entry_clear(struct image_entry *entry);

#endif
