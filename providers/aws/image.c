/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - see image.h
 *
 * Entries are never changed or freed before the whole is, so pointers into them may be handed out. Two threads that
 * ask for the same at once both ask the API; both answers are kept, the later one is found.
 */
#include "providers/aws/image.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct images {
	struct ec2 *ec2;
	pthread_mutex_t lock;
	struct image_entry *first;
};

void image_entry_clear(struct image_entry *e)
{
	free(e->id);
	free(e->root_device);
	free(e->boot_mode);
	free(e->architecture);
	free(e->state);
	free(e->kept_devices);
	*e = (struct image_entry){0};
}

struct images *images_new(struct ec2 *ec2)
{
	struct images *images = calloc(1, sizeof(*images));
	if (!images)
		return NULL;
	images->ec2 = ec2;
	pthread_mutex_init(&images->lock, NULL);
	return images;
}

void images_free(struct images *images)
{
	if (!images)
		return;
	while (images->first) {
		struct image_entry *next = images->first->next;
		image_entry_clear(images->first);
		free(images->first);
		images->first = next;
	}
	pthread_mutex_destroy(&images->lock);
	free(images);
}

static char *text_or_empty(xmlNode *node, const char *path)
{
	char *text = xml_text(node, path);
	return text ? text : strdup("");
}

/* The root volume's facts, and the devices that are kept. NULL: no memory. */
static char *read_mappings(xmlNode *item, struct image_entry *e)
{
	cleanup(buf_free) struct buf kept = BUF_INIT;
	for (xmlNode *m = xml_first_item(item, "blockDeviceMapping"); m; m = xml_next_item(m)) {
		cleanup(free_ptr) char *device = xml_text(m, "deviceName"),
				       *goes = xml_text(m, "ebs/deleteOnTermination");
		bool stays = goes && !strcmp(goes, "false");
		if (device && !strcmp(device, e->root_device)) {
			e->root_gib = xml_number(m, "ebs/volumeSize", 0);
			e->keeps_root = stays;
		} else if (device && stays && !strchr(device, ',')) {
			buf_printf(&kept, "%s%s", kept.len ? "," : "", device);
		}
	}
	return kept.failed ? NULL : strdup(buf_text(&kept));
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
	if (e->id && e->root_device)
		e->kept_devices = read_mappings(item, e);
	if (e->id && e->root_device && e->boot_mode && e->architecture && e->state &&
		e->kept_devices)
		return true;
	image_entry_clear(e);
	return false;
}

static bool is_settled(const struct image_entry *e)
{
	return !*e->state || !strcmp(e->state, "available");
}

/* What is still being made will be another thing soon: it is asked for again. */
static struct image_entry *image_find(struct images *images, const char *id)
{
	pthread_mutex_lock(&images->lock);
	struct image_entry *e = images->first;
	while (e && (strcmp(e->id, id) != 0 || !is_settled(e)))
		e = e->next;
	pthread_mutex_unlock(&images->lock);
	return e;
}

static int image_fetch(struct images *images, const char *image, struct image_entry **entry,
	const struct bound *bound, struct error *err)
{
	cleanup_query query = {0};
	cleanup_xml *reply = NULL;
	query_start(&query, "DescribeImages", EC2_VERSION);
	query_add(&query, image, "ImageId.1");
	if (ec2_call(images->ec2, EC2_READ, &query, &reply, bound, err) < 0)
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
	pthread_mutex_lock(&images->lock);
	e->next = images->first;
	images->first = e;
	pthread_mutex_unlock(&images->lock);
	*entry = e;
	return 0;
}

int image_look_up(struct images *images, const char *image, struct image_facts *facts,
	const struct bound *bound, struct error *err)
{
	struct image_entry *e = image_find(images, image);
	if (!e && image_fetch(images, image, &e, bound, err) < 0)
		return -1;
	*facts = (struct image_facts){e->root_device, e->boot_mode, e->architecture, e->state,
		e->kept_devices, e->root_gib, e->keeps_root};
	return 0;
}

int image_check(const struct image_facts *facts, const char *image, bool snp, struct error *err)
{
	if (*facts->state && strcmp(facts->state, "available") != 0)
		return error_set(err, ERROR_INVALID, "image %s is %s, not available", image,
			facts->state);
	if (snp && *facts->architecture && strcmp(facts->architecture, "x86_64") != 0)
		return error_set(err, ERROR_INVALID, "image %s is for %s: SEV-SNP needs x86_64",
			image, facts->architecture);
	if (snp && strcmp(facts->boot_mode, "uefi") != 0 &&
		strcmp(facts->boot_mode, "uefi-preferred") != 0)
		return error_set(err, ERROR_INVALID,
			"image %s %s: SEV-SNP needs UEFI (register it with --boot-mode uefi), or set "
			"DISABLECVM=true",
			image, *facts->boot_mode ? "boots by BIOS" : "has no boot mode");
	return 0;
}
