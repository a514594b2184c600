/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - see image.h
 *
 * An image never changes; which one a family means does, so a family is asked for again after some minutes.
 */
#include "providers/gcp/image.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "providers/gcp/family.h"
#include "providers/gcp/names.h"

#define FAMILY_NS (5 * 60 * NS_PER_S)

struct entry {
	char *asked;
	struct image_facts facts;
	uint64_t until_ns;
	struct entry *next;
};

struct images {
	struct compute *compute;
	pthread_mutex_t lock;
	struct entry *first;
};

struct images *images_new(struct compute *c)
{
	struct images *images = calloc(1, sizeof(*images));
	if (!images)
		return NULL;
	images->compute = c;
	pthread_mutex_init(&images->lock, NULL);
	return images;
}

static void entry_free(struct entry *e)
{
	free(e->asked);
	image_facts_free(&e->facts);
	free(e);
}

void images_free(struct images *images)
{
	if (!images)
		return;
	while (images->first) {
		struct entry *gone = images->first;
		images->first = gone->next;
		entry_free(gone);
	}
	pthread_mutex_destroy(&images->lock);
	free(images);
}

void image_facts_free(struct image_facts *f)
{
	free(f->path);
	free(f->status);
	free(f->architecture);
	list_free(f->features);
	*f = (struct image_facts){0};
}

static int read_features(const json_t *object, struct image_facts *out)
{
	const json_t *list = json_object_get(object, "guestOsFeatures");
	size_t i, count = 0;
	json_t *feature;
	out->features = calloc(json_array_size(list) + 1, sizeof(char *));
	if (!out->features)
		return -1;
	json_array_foreach(list, i, feature)
	{
		const char *type = json_string_value(json_object_get(feature, "type"));
		if (type && !(out->features[count++] = strdup(type)))
			return -1;
	}
	return 0;
}

int image_read(const json_t *object, struct image_facts *out, struct error *err)
{
	cleanup(free_ptr) char *link = NULL, *size = NULL;
	*out = (struct image_facts){0};
	if (json_read_string(object, "image", "selfLink", JSON_REQUIRED, &link, err) < 0 ||
		json_read_string(object, "image", "diskSizeGb", JSON_OPTIONAL, &size, err) < 0 ||
		json_read_string(object, "image", "status", JSON_OPTIONAL, &out->status, err) < 0 ||
		json_read_string(object, "image", "architecture", JSON_OPTIONAL, &out->architecture,
			err) < 0) {
		image_facts_free(out);
		return -1;
	}
	out->disk_gib = size ? strtoll(size, NULL, 10) : 0;
	if (out->disk_gib < 0 || out->disk_gib > 1 << 20)
		out->disk_gib = 0;
	out->path = image_path("p", link, err);
	if (!out->path || read_features(object, out) < 0) {
		if (out->path)
			error_set(err, ERROR_CAPACITY, "out of memory");
		image_facts_free(out);
		return -1;
	}
	return 0;
}

static int copy_facts(const struct image_facts *from, struct image_facts *to, struct error *err)
{
	*to = (struct image_facts){.path = strdup(from->path),
		.status = from->status ? strdup(from->status) : NULL,
		.architecture = from->architecture ? strdup(from->architecture) : NULL,
		.features = calloc(list_count(from->features) + 1, sizeof(char *)),
		.disk_gib = from->disk_gib};
	bool good = to->path && to->features;
	for (size_t i = 0; good && from->features[i]; i++)
		good = (to->features[i] = strdup(from->features[i]));
	if (good)
		return 0;
	image_facts_free(to);
	return error_set(err, ERROR_CAPACITY, "out of memory");
}

/* 1 copied, 0 not known, -1 no memory. */
static int look_kept(struct images *images, const char *path, struct image_facts *out,
	struct error *err)
{
	int result = 0;
	pthread_mutex_lock(&images->lock);
	for (struct entry *e = images->first; e && !result; e = e->next) {
		if (!strcmp(e->asked, path) && clock_ns() < e->until_ns)
			result = copy_facts(&e->facts, out, err) < 0 ? -1 : 1;
	}
	pthread_mutex_unlock(&images->lock);
	return result;
}

static void keep(struct images *images, const char *path, const struct image_facts *facts)
{
	struct entry *e = calloc(1, sizeof(*e));
	if (!e || !(e->asked = strdup(path)) || copy_facts(facts, &e->facts, NULL) < 0) {
		if (e)
			entry_free(e);
		return;
	}
	e->until_ns = strstr(path, "/images/family/") ? deadline_in(FAMILY_NS) : DEADLINE_NEVER;
	pthread_mutex_lock(&images->lock);
	/* One that is over makes room. */
	for (struct entry **at = &images->first; *at; at = &(*at)->next) {
		if (!strcmp((*at)->asked, path)) {
			struct entry *old = *at;
			*at = old->next;
			entry_free(old);
			break;
		}
	}
	e->next = images->first;
	images->first = e;
	pthread_mutex_unlock(&images->lock);
}

int image_look(struct images *images, const char *path, struct image_facts *out,
	const struct bound *bound, struct error *err)
{
	cleanup_json *reply = NULL;
	cleanup_error why = ERROR_INIT;
	int known = look_kept(images, path, out, err);
	if (known)
		return known < 0 ? -1 : 0;
	bool family = strstr(path, "/images/family/");
	if (compute_get(images->compute, family ? "images.getFromFamily" : "images.get", path,
		    &reply, bound, &why) < 0) {
		if (why.kind == ERROR_GONE)
			why.kind = ERROR_INVALID;
		error_move(err, &why);
		return error_prefix(err, "image %s", path);
	}
	if (image_read(reply, out, err) < 0)
		return error_prefix(err, "image %s", path);
	/* What is still being made will be another thing soon. */
	if (!out->status || !strcmp(out->status, "READY"))
		keep(images, path, out);
	return 0;
}

int image_check(const struct image_facts *f, enum instance_tee tee, struct error *err)
{
	const char *feature = family_image_feature(tee);
	if (f->status && strcmp(f->status, "READY") != 0)
		return error_set(err, ERROR_INVALID, "image %s is %s, not READY", f->path,
			f->status);
	if (!*feature)
		return 0;
	if (!list_holds(f->features, feature))
		return error_set(err, ERROR_INVALID,
			"image %s cannot boot a confidential VM of type %s: it lacks the guest OS feature %s "
			"(gcloud compute images create --guest-os-features=UEFI_COMPATIBLE,%s)",
			f->path, family_tee_name(tee), feature, feature);
	if (!list_holds(f->features, "UEFI_COMPATIBLE"))
		return error_set(err, ERROR_INVALID,
			"image %s cannot boot a confidential VM: it lacks the guest OS feature UEFI_COMPATIBLE",
			f->path);
	return 0;
}
