/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue.c - see catalogue.h
 *
 * Types are asked for by a filter, so that one that does not exist spoils nothing. Entries are never changed or freed
 * before the catalogue is, so pointers into them may be handed out. Two threads that ask for the same at once both
 * ask the API; the second answer is dropped.
 */
#include "providers/aws/catalogue.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define TYPES_PER_CALL 100
#define EVERY_TEE (CHOICE_TEE_SNP | CHOICE_TEE_TDX | CHOICE_TEE_SEV)

struct catalogue {
	struct ec2 *ec2;
	pthread_mutex_t lock;
	struct type_entry *types,
		*unknown; /* unknown: stand-ins where the API could not be asked */
	struct image_entry *images;
};

void type_entry_clear(struct type_entry *e)
{
	free(e->name);
	free(e->family);
	*e = (struct type_entry){0};
}

void image_entry_clear(struct image_entry *e)
{
	free(e->id);
	free(e->root_device);
	free(e->boot_mode);
	free(e->architecture);
	free(e->state);
	*e = (struct image_entry){0};
}

struct catalogue *catalogue_new(struct ec2 *ec2)
{
	struct catalogue *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->ec2 = ec2;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

static void types_free(struct type_entry *list)
{
	while (list) {
		struct type_entry *next = list->next;
		type_entry_clear(list);
		free(list);
		list = next;
	}
}

void catalogue_free(struct catalogue *c)
{
	if (!c)
		return;
	types_free(c->types);
	types_free(c->unknown);
	while (c->images) {
		struct image_entry *next = c->images->next;
		image_entry_clear(c->images);
		free(c->images);
		c->images = next;
	}
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* ---- instance types ---------------------------------------------------------------------------------------- */

static bool type_name(struct type_entry *e, char *name)
{
	e->name = name;
	e->family = name ? strndup(name, strcspn(name, ".")) : NULL;
	e->offering.type = e->name;
	e->offering.family = e->family;
	e->offering.zone = "";
	return e->name && e->family;
}

bool type_read(xmlNode *item, struct type_entry *e)
{
	*e = (struct type_entry){0};
	if (!type_name(e, xml_text(item, "instanceType"))) {
		type_entry_clear(e);
		return false;
	}
	struct offering *o = &e->offering;
	o->vcpus = xml_number(item, "vCpuInfo/defaultVCpus", 0);
	o->memory_mib = xml_number(item, "memoryInfo/sizeInMiB", 0);
	o->max_nics = xml_number(item, "networkInfo/maximumNetworkInterfaces", 0);
	o->max_volumes = xml_number(item, "ebsInfo/maximumEbsAttachments", 0);
	for (xmlNode *gpu = xml_first_item(item, "gpuInfo/gpus"); gpu; gpu = xml_next_item(gpu)) {
		int64_t count = xml_number(gpu, "count", 0);
		o->gpus += count < 1024 ? count : 0;
	}
	for (xmlNode *f = xml_first_item(item, "processorInfo/supportedFeatures"); f;
		f = xml_next_item(f)) {
		cleanup(free_ptr) char *text = xml_text(f, "");
		if (text && !strcmp(text, "amd-sev-snp"))
			o->tees |= CHOICE_TEE_SNP;
	}
	return true;
}

/* Under the lock. */
static struct type_entry *type_find(struct type_entry *list, const char *name)
{
	while (list && strcmp(list->name, name) != 0)
		list = list->next;
	return list;
}

static void types_keep(struct catalogue *c, xmlNode *root)
{
	pthread_mutex_lock(&c->lock);
	for (xmlNode *i = xml_first_item(root, "instanceTypeSet"); i; i = xml_next_item(i)) {
		struct type_entry *e = calloc(1, sizeof(*e));
		if (!e || !type_read(i, e) || type_find(c->types, e->name)) {
			if (e)
				type_entry_clear(e);
			free(e);
			continue;
		}
		e->next = c->types;
		c->types = e;
	}
	pthread_mutex_unlock(&c->lock);
}

static int types_fetch(struct catalogue *c, const char *const *names, const struct bound *bound,
	struct error *err)
{
	cleanup(free_ptr) char *next = NULL;
	do {
		cleanup_query query = {0};
		cleanup_xml *reply = NULL;
		query_start(&query, "DescribeInstanceTypes", EC2_VERSION);
		query_filter(&query, 1, "instance-type", names);
		if (next)
			query_add(&query, next, "NextToken");
		if (ec2_call(c->ec2, EC2_READ, &query, &reply, bound, err) < 0)
			return -1;
		types_keep(c, xmlDocGetRootElement(reply));
		free(next);
		next = xml_text(xmlDocGetRootElement(reply), "nextToken");
	} while (next);
	return 0;
}

/* Under the lock. */
static struct type_entry *stand_in(struct catalogue *c, const char *name)
{
	struct type_entry *e = type_find(c->unknown, name);
	if (e)
		return e;
	e = calloc(1, sizeof(*e));
	if (!e || !type_name(e, strdup(name))) {
		free(e);
		return NULL;
	}
	e->offering.tees = EVERY_TEE;
	e->next = c->unknown;
	c->unknown = e;
	return e;
}

int catalogue_types(struct catalogue *c, char *const *types, struct type_facts **facts,
	size_t *count, const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	const char *missing[TYPES_PER_CALL + 1];
	size_t total = 0;
	*count = 0;
	while (types[total])
		total++;
	for (size_t i = 0; i < total && why.kind == ERROR_NONE;) {
		size_t n = 0;
		pthread_mutex_lock(&c->lock);
		for (; i < total && n < TYPES_PER_CALL; i++) {
			if (!type_find(c->types, types[i]))
				missing[n++] = types[i];
		}
		pthread_mutex_unlock(&c->lock);
		missing[n] = NULL;
		if (n && types_fetch(c, missing, bound, &why) < 0 &&
			(why.kind == ERROR_TIMEOUT || why.kind == ERROR_CANCELED))
			return error_move(err, &why);
	}
	if (why.kind != ERROR_NONE)
		log_warn("aws: what the instance types can do is not known: %s",
			error_message(&why));
	*facts = calloc(total + 1, sizeof(**facts));
	if (!*facts)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < total; i++) {
		struct type_entry *e = type_find(c->types, types[i]);
		bool known = e;
		if (!e && why.kind != ERROR_NONE)
			e = stand_in(c, types[i]);
		else if (!e)
			log_warn("aws: there is no instance type %s in this region", types[i]);
		if (e)
			(*facts)[(*count)++] = (struct type_facts){e->offering, known};
	}
	pthread_mutex_unlock(&c->lock);
	return 0;
}

/* ---- images ------------------------------------------------------------------------------------------------ */

static char *text_or_empty(xmlNode *node, const char *path)
{
	char *text = xml_text(node, path);
	return text ? text : strdup("");
}

bool image_read(xmlNode *item, struct image_entry *e)
{
	*e = (struct image_entry){
		.id = xml_text(item, "imageId"),
		.root_device = text_or_empty(item, "rootDeviceName"),
		.boot_mode = text_or_empty(item, "bootMode"),
		.architecture = text_or_empty(item, "architecture"),
		.state = text_or_empty(item, "imageState"),
	};
	if (!e->id || !e->root_device || !e->boot_mode || !e->architecture || !e->state) {
		image_entry_clear(e);
		return false;
	}
	for (xmlNode *m = xml_first_item(item, "blockDeviceMapping"); m; m = xml_next_item(m)) {
		cleanup(free_ptr) char *device = xml_text(m, "deviceName");
		if (device && !strcmp(device, e->root_device))
			e->root_gib = xml_number(m, "ebs/volumeSize", 0);
	}
	return true;
}

static struct image_entry *image_find(struct catalogue *c, const char *id)
{
	pthread_mutex_lock(&c->lock);
	struct image_entry *e = c->images;
	while (e && strcmp(e->id, id) != 0)
		e = e->next;
	pthread_mutex_unlock(&c->lock);
	return e;
}

static int image_fetch(struct catalogue *c, const char *image, struct image_entry **entry,
	const struct bound *bound, struct error *err)
{
	cleanup_query query = {0};
	cleanup_xml *reply = NULL;
	query_start(&query, "DescribeImages", EC2_VERSION);
	query_add(&query, image, "ImageId.1");
	if (ec2_call(c->ec2, EC2_READ, &query, &reply, bound, err) < 0)
		return error_prefix(err, "image %s", image);
	xmlNode *item = xml_first_item(xmlDocGetRootElement(reply), "imagesSet");
	struct image_entry *e = calloc(1, sizeof(*e));
	if (!e)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (!item || !image_read(item, e) || !*e->root_device || strcmp(e->id, image) != 0) {
		image_entry_clear(e);
		free(e);
		return error_set(err, ERROR_INVALID, "image %s: %s", image,
			item ? "it has no root device"
			     : "there is none that this account can use in this region");
	}
	pthread_mutex_lock(&c->lock);
	e->next = c->images;
	c->images = e;
	pthread_mutex_unlock(&c->lock);
	*entry = e;
	return 0;
}

int catalogue_image(struct catalogue *c, const char *image, struct image_facts *facts,
	const struct bound *bound, struct error *err)
{
	struct image_entry *e = image_find(c, image);
	if (!e && image_fetch(c, image, &e, bound, err) < 0)
		return -1;
	*facts = (struct image_facts){e->root_device, e->boot_mode, e->architecture, e->state,
		e->root_gib};
	return 0;
}
