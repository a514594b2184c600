/* SPDX-License-Identifier: Apache-2.0 */
/* image.c - see image.h */
#include "providers/azure/image.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "providers/azure/arm_id.h"
#include "providers/azure/vm.h"

#define KEPT_MAX 64
#define LOCK_STEP_NS (10 * NS_PER_MS)

struct kept {
	char *image;
	struct image_facts facts;
};

struct images {
	struct arm *arm;
	const struct azure_options *options;
	pthread_mutex_t fetching;   /* one at a time; taken before lock */
	pthread_mutex_t lock;       /* what is below */
	struct kept kept[KEPT_MAX]; /* the oldest is overwritten */
	unsigned next;
};

struct images *images_new(struct arm *arm, const struct azure_options *o)
{
	struct images *images = calloc(1, sizeof(*images));
	if (!images)
		return NULL;
	images->arm = arm;
	images->options = o;
	pthread_mutex_init(&images->fetching, NULL);
	pthread_mutex_init(&images->lock, NULL);
	return images;
}

void images_free(struct images *images)
{
	if (!images)
		return;
	for (size_t i = 0; i < KEPT_MAX; i++)
		free(images->kept[i].image);
	pthread_mutex_destroy(&images->fetching);
	pthread_mutex_destroy(&images->lock);
	free(images);
}

static void keep_text(char *to, size_t size, const char *text)
{
	snprintf(to, size, "%s", text);
}

void image_facts_read(const json_t *definition, struct image_facts *facts)
{
	*facts = (struct image_facts){0};
	keep_text(facts->architecture, sizeof(facts->architecture),
		text_of(definition, "properties", "architecture", NULL));
	keep_text(facts->generation, sizeof(facts->generation),
		text_of(definition, "properties", "hyperVGeneration", NULL));
	size_t i;
	const json_t *feature;
	json_array_foreach(json_object_get(json_object_get(definition, "properties"), "features"),
		i, feature)
	{
		const char *name = text_of(feature, "name", NULL),
			   *value = text_of(feature, "value", NULL);
		if (!strcasecmp(name, "SecurityType"))
			keep_text(facts->security, sizeof(facts->security), value);
		if (!strcasecmp(name, "DiskControllerTypes"))
			keep_text(facts->controllers, sizeof(facts->controllers), value);
	}
}

const char *image_not_confidential(const struct image_facts *facts)
{
	if (!strcasecmp(facts->generation, "V1"))
		return "it is of generation 1, confidential VMs need generation 2";
	if (*facts->security && !strcasestr(facts->security, "Confidential"))
		return "its definition has no confidential security feature";
	return NULL;
}

/* Of a gallery's image, without its version: "" where there is no definition to ask for. */
static void definition_path(const struct images *images, const char *image, enum image_form form,
	char *path, size_t size)
{
	char gallery[ARM_PART_MAX], name[ARM_PART_MAX];
	*path = '\0';
	switch (form) {
	case IMAGE_MANAGED:
		return;
	case IMAGE_GALLERY: {
		const char *version = strcasestr(image, "/versions/");
		snprintf(path, size, "%.*s?api-version=%s",
			(int)(version ? (size_t)(version - image) : strlen(image)), image,
			VERSION_GALLERY);
		return;
	}
	case IMAGE_SHARED:
	case IMAGE_COMMUNITY:
		snprintf(path, size,
			"/subscriptions/%s/providers/Microsoft.Compute/locations/%s/%s/%s/images/%s?api-version=%s",
			images->options->subscription, images->options->region,
			form == IMAGE_SHARED ? "sharedGalleries" : "communityGalleries",
			path_part(image, 1, gallery, sizeof(gallery)),
			path_part(image, 3, name, sizeof(name)), VERSION_GALLERY);
		return;
	}
}

static bool kept_find(struct images *images, const char *image, struct image_facts *facts)
{
	bool found = false;
	pthread_mutex_lock(&images->lock);
	for (size_t i = 0; i < KEPT_MAX && !found; i++) {
		found = images->kept[i].image && !strcasecmp(images->kept[i].image, image);
		if (found)
			*facts = images->kept[i].facts;
	}
	pthread_mutex_unlock(&images->lock);
	return found;
}

static void keep(struct images *images, const char *image, const struct image_facts *facts)
{
	char *name = strdup(image);
	if (!name)
		return; /* asked again next time */
	pthread_mutex_lock(&images->lock);
	struct kept *to = &images->kept[images->next++ % KEPT_MAX];
	free(to->image);
	*to = (struct kept){name, *facts};
	pthread_mutex_unlock(&images->lock);
}

/* By the one who holds the right to fetch. */
static int fetch(struct images *images, const char *image, const char *path,
	struct image_facts *facts, const struct bound *bound, struct error *err)
{
	if (kept_find(images, image, facts))
		return 0;
	cleanup_json *definition =
		arm_get(images->arm, "look at the image", bound, err, "%s", path);
	if (!definition)
		return -1;
	image_facts_read(definition, facts);
	keep(images, image, facts);
	return 0;
}

int image_facts_get(struct images *images, const char *image, struct image_facts *facts,
	const struct bound *bound, struct error *err)
{
	enum image_form form;
	char path[1024];
	*facts = (struct image_facts){0};
	if (image_form_of("image", image, &form, err) < 0)
		return -1;
	definition_path(images, image, form, path, sizeof(path));
	if (!*path || kept_find(images, image, facts))
		return 0;
	while (pthread_mutex_trylock(&images->fetching) != 0) {
		if (bound_sleep(bound, LOCK_STEP_NS, "look at the image", err) < 0)
			return -1;
	}
	int result = fetch(images, image, path, facts, bound, err);
	pthread_mutex_unlock(&images->fetching);
	return result;
}

int image_look(struct images *images, const char *image, const struct bound *bound,
	struct error *err)
{
	enum image_form form;
	char path[1024], version[ARM_PART_MAX];
	if (image_form_of("image", image, &form, err) < 0)
		return -1;
	definition_path(images, image, form, path, sizeof(path));
	switch (form) {
	case IMAGE_MANAGED:
		snprintf(path, sizeof(path), "%s?api-version=%s", image, VERSION_VM);
		break;
	case IMAGE_GALLERY:
		snprintf(path, sizeof(path), "%s?api-version=%s", image, VERSION_GALLERY);
		break;
	case IMAGE_SHARED:
	case IMAGE_COMMUNITY:
		if (*path_part(image, 5, version, sizeof(version))) {
			char *query = strchr(path, '?');
			size_t at = (size_t)(query - path);
			snprintf(path + at, sizeof(path) - at, "/versions/%s?api-version=%s",
				version, VERSION_GALLERY);
		}
		break;
	}
	cleanup_json *found = arm_get(images->arm, "look at the image", bound, err, "%s", path);
	return found ? 0 : -1;
}
