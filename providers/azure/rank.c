/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rank.c - which sizes, in which zones, may serve a request, in order; see driver.h
 *
 * The allowed sizes, and what the pod asks for so that it is told why it cannot have it, times the zones. A size on which
 * the image cannot run, which cannot do what the options ask for, or which the subscription or the zone does not have, is
 * ranked, too, with the reason.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "providers/azure/driver.h"
#include "providers/azure/launch.h"

void ranking_free(struct ranking *r)
{
	choice_free(&r->choice);
	free(r->list);
	list_free(r->zones);
	list_free(r->sizes);
	list_free(r->allowed);
	*r = (struct ranking){0};
}

static char **candidates(const struct azure_options *o, const char *asked)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	const char *allowed = *o->sizes ? o->sizes : o->size;
	buf_printf(&text, "%s,%s", allowed, asked);
	return list_split(buf_text(&text));
}

/* Why this size cannot run the image; NULL: it can, as far as is known. */
static const char *why_not_image(const struct size *s, const struct image_facts *image)
{
	if (*s->architecture && *image->architecture &&
		strcasecmp(s->architecture, image->architecture) != 0)
		return "the image is for another architecture";
	if (!s->generation_2 && !strcasecmp(image->generation, "V2"))
		return "the image is of generation 2, which the size does not take";
	if (*s->controllers && !strcasestr(s->controllers, "SCSI") && *image->controllers &&
		!strcasestr(image->controllers, "NVMe"))
		return "the size has NVMe disks only, and the image's definition does not have NVMe";
	return NULL;
}

static bool in_zone(const struct size *s, const char *zone)
{
	if (!*zone || !s->zones_known)
		return true;
	for (size_t i = 0; i < ZONES_MAX && *s->zones[i]; i++) {
		if (!strcmp(s->zones[i], zone))
			return true;
	}
	return false;
}

/* Why it cannot be had there, whatever the image; NULL: it can. */
static const char *why_not_here(const struct size *s, const struct azure_options *o,
	const char *zone)
{
	const char *why_not = size_why_not(s, o);
	if (s->refused)
		return *s->refusal ? s->refusal : "this subscription may not have it";
	if (why_not)
		return why_not;
	return in_zone(s, zone) ? NULL : "not offered in this zone";
}

/* Every zone, in the markets that are wanted. */
static void multiply(struct ranking *r, const struct size *s, const struct azure_options *o,
	const char *unfit)
{
	static char *anywhere[] = {(char *)"", NULL};
	const bool wanted[] = {r->on_demand, r->spot};
	for (char **zone = *r->zones ? r->zones : anywhere; *zone; zone++) {
		for (size_t spot = 0; spot < array_size(wanted); spot++) {
			if (!wanted[spot])
				continue;
			struct offering *one = &r->list[r->count++];
			*one = s->facts;
			one->zone = *zone;
			one->spot = spot;
			one->unfit = unfit ? unfit : why_not_here(s, o, *zone);
		}
	}
}

/* The name as Azure writes it, where the list has it; the operator's own otherwise. */
static const char *proper(const struct size **sizes, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (!strcasecmp(sizes[i]->name, name))
			return sizes[i]->name;
	}
	return name;
}

static int proper_list(const struct size **sizes, size_t count, char **list, struct error *err)
{
	for (; list && *list; list++) {
		char *copy = strdup(proper(sizes, count, *list));
		if (!copy)
			return error_set(err, ERROR_CAPACITY, "out of memory");
		free(*list);
		*list = copy;
	}
	return 0;
}

/* What is asked for and is not in the list: a mistake, or a list that could not be had. */
static int add_unknown(struct provider *p, struct ranking *r, const struct size **sizes,
	size_t count, bool known, struct error *err)
{
	for (char **name = r->sizes; *name; name++) {
		bool found = false;
		for (size_t i = 0; i < count; i++)
			found |= !strcasecmp(sizes[i]->name, *name);
		if (found)
			continue;
		const struct size *s = catalogue_stand_in(p->catalogue, *name);
		if (!s)
			return error_set(err, ERROR_CAPACITY, "out of memory");
		multiply(r, s, p->options, known ? "there is no such size in this region" : NULL);
	}
	return 0;
}

static int collect(struct provider *p, const char *image, unsigned tees, const struct size **sizes,
	size_t count, bool known, struct ranking *r, const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	struct image_facts facts = {0};
	size_t zones = list_count(r->zones);
	/* A definition that may not be seen stops nobody: Azure itself refuses what does not go together. */
	if (image_facts_get(p->images, image, &facts, bound, &why) < 0)
		log_debug("azure: what the image can do is not known: %s", error_message(&why));
	const char *not_confidential = tees ? image_not_confidential(&facts) : NULL;
	if (not_confidential)
		return error_set(err, ERROR_INVALID,
			"image %s cannot run in a confidential VM: %s; take another image, or set DISABLECVM=true",
			image, not_confidential);
	r->list = calloc((count + list_count(r->sizes)) * (zones ? zones : 1) * 2 + 1,
		sizeof(*r->list));
	if (!r->list)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (size_t i = 0; i < count; i++)
		multiply(r, sizes[i], p->options, why_not_image(sizes[i], &facts));
	return add_unknown(p, r, sizes, count, known, err);
}

int ranking_make(struct provider *p, const struct instance_request *request, unsigned tees,
	const char *zone, struct ranking *r, const struct bound *bound, struct error *err)
{
	const struct azure_options *o = p->options;
	cleanup(free_ptr) const struct size **sizes = NULL;
	size_t count = 0;
	bool known = false;
	azure_options_markets(o, request->market, &r->spot, &r->on_demand);
	r->zones = list_split(o->zones);
	r->sizes = candidates(o, request->instance_type);
	r->allowed = list_split(o->sizes);
	if (!r->zones || !r->sizes || !r->allowed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (*zone && *r->zones && !list_holds(r->zones, zone))
		return error_set(err, ERROR_INVALID,
			"the volumes are in zone %s, which is not in -zone %s", zone, o->zones);
	if (*zone) {
		list_free(r->zones);
		r->zones = list_split(zone);
		if (!r->zones)
			return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	if (catalogue_sizes(p->catalogue, r->sizes, &sizes, &count, &known, bound, err) < 0 ||
		collect(p, *request->image ? request->image : o->image, tees, sizes, count, known,
			r, bound, err) < 0 ||
		proper_list(sizes, count, r->allowed, err) < 0)
		return -1;
	prices_apply(p->prices, o->region, r->list, r->count);
	const struct choice_request wish = {
		.vcpus = request->vcpus,
		.memory_mib = request->memory_mib,
		.gpus = request->gpus,
		.tees = tees,
		.type = proper(sizes, count, request->instance_type),
		.default_type = proper(sizes, count, o->size),
		.allowed = (const char *const *)r->allowed,
		.spot = r->spot,
		.on_demand = r->on_demand,
		.nics = request->second_nic ? 2 : 1,
		.volumes = (int64_t)request->volume_count,
	};
	if (choice_rank(r->list, r->count, &wish, p->refusals, &r->choice, err) == 0) {
		choice_spot_first(&r->choice);
		return 0;
	}
	/* Nothing but what Azure refused a short while ago is no mistake of the pod's. */
	if (err && err->kind == ERROR_INVALID &&
		strstr(error_message(err), "refused a short while ago"))
		err->kind = ERROR_CAPACITY;
	return -1;
}

int driver_offerings(struct provider *p, struct offerings *out, const struct bound *bound,
	struct error *err)
{
	cleanup(free_ptr) const struct size **sizes = NULL;
	size_t n = 0;
	bool known;
	cleanup_error why = ERROR_INIT;
	*out = (struct offerings){0};
	/* An old list is better than none; without one, the reason is told. */
	if (catalogue_require(p->catalogue, bound, &why) < 0 &&
		(why.kind == ERROR_TIMEOUT || why.kind == ERROR_CANCELED))
		return error_move(err, &why);
	if (catalogue_sizes(p->catalogue, NULL, &sizes, &n, &known, bound, err) < 0)
		return -1;
	if (!known)
		return error_move(err, &why);
	struct offering *all = calloc(n * 2 * (ZONES_MAX + 1) + 1, sizeof(*all));
	if (!all)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (size_t i = 0; i < n; i++) {
		for (size_t z = 0; z <= ZONES_MAX; z++) {
			const char *zone = z ? sizes[i]->zones[z - 1] : "";
			if (z && !*zone)
				break;
			for (int spot = 0; spot < 2; spot++) {
				struct offering *one = &all[out->count++];
				*one = sizes[i]->facts;
				one->zone = zone;
				one->spot = spot;
				one->unfit = why_not_here(sizes[i], p->options, zone);
			}
		}
	}
	prices_apply(p->prices, p->options->region, all, out->count);
	prices_tell(p->prices, &out->prices_date, &out->prices_source, &out->currency);
	out->list = all;
	out->region = strdup(p->options->region);
	if (out->region)
		return 0;
	offerings_free(out);
	return error_set(err, ERROR_CAPACITY, "out of memory");
}
