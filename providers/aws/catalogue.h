/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue.h - what instance types are like and cost, asked once and kept
 *
 * What EC2 has told is also kept on disk (providers/choice/catalogue_file.h): where it cannot be asked, that serves.
 */
#ifndef PEERPOD_AWS_CATALOGUE_H
#define PEERPOD_AWS_CATALOGUE_H

#include "providers/aws/ec2.h"
#include "providers/choice/choice.h"
#include "providers/choice/prices.h"

struct catalogue;

/* Prices become the catalogue's; folder: "" for none. NULL: no memory, prices are freed. */
struct catalogue *catalogue_new(struct ec2 *ec2, const char *folder, struct prices *prices);
void catalogue_free(struct catalogue *c);

enum { TYPE_X86 = 1, TYPE_ARM = 2 };
enum { TYPE_BIOS = 1, TYPE_UEFI = 2 };

/* A type as EC2 tells it, or as it was remembered. */
struct type_entry {
	char *name, *family;
	struct offering offering; /* zone, spot and price are left empty */
	unsigned architectures, boots;
	bool spot; /* there are spot instances of it */
	struct type_entry *next;
};

struct type_facts {
	const struct type_entry *type; /* the catalogue's, and stays */
	bool known; /* false: nothing tells, sizes are 0 and everything counts as possible */
};

/*
 * What is known of these types, in their order; a type that the region lacks is left out, with a log line.
 * *facts is new. Fails for lack of memory and at the bound only.
 */
int catalogue_types(struct catalogue *c, char *const *types, struct type_facts **facts,
	size_t *count, const struct bound *bound, struct error *err);

/* Sees to it that EC2 has told of those of them that there are. */
int catalogue_ask(struct catalogue *c, char *const *types, const struct bound *bound,
	struct error *err);

/* Sets the prices of what the region's table knows. */
void catalogue_price(struct catalogue *c, struct offering *list, size_t count,
	const struct bound *bound);

/*
 * Every x86-64 type of the region in every zone that has it, on-demand and spot, with prices; where EC2 cannot be asked,
 * what was remembered, zone "". The array is new, the strings are the catalogue's.
 */
int catalogue_offerings(struct catalogue *c, struct offering **list, size_t *count,
	const struct bound *bound, struct error *err);

const struct prices *catalogue_prices(const struct catalogue *c);

/* Reader of an answer's item; strings are new. false: not usable. */
bool type_read(xmlNode *item, struct type_entry *entry);
void type_entry_clear(struct type_entry *entry);

#endif
