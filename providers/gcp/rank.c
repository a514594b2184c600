/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rank.c - what may be launched where for a pod, cheapest first; see driver.h
 *
 * providers/choice ranks by price, and breaks ties by the zone's name. Zones of one type are put into the order of
 * GCP_ZONE afterwards: the first is where pods belong, the others are for when it is full.
 */
#include <stdlib.h>
#include <string.h>

#include "providers/gcp/driver.h"
#include "providers/gcp/family.h"

#define ACCELERATED "n1" /* the family to which GPUs are attached */

void ranking_free(struct ranking *r)
{
	choice_free(&r->choice);
	free(r->list);
	free(r->default_type);
	list_free(r->types);
	list_free(r->allowed);
	*r = (struct ranking){0};
}

/*
 * The configured one, where it can; else the first that may be used and can; else, where nothing was configured that
 * could, the smallest.
 */
char *default_type(const struct gcp_options *o, enum instance_tee tee)
{
	cleanup_list allowed = list_split(o->machine_types);
	if (tee == TEE_NONE || family_can(o->machine_type, tee))
		return strdup(o->machine_type);
	for (char **t = allowed; t && *t; t++) {
		if (family_can(*t, tee))
			return strdup(*t);
	}
	return strdup(allowed && *allowed ? o->machine_type : family_smallest(tee));
}

/* The allowed types, and what the pod asks for, so that it is told why it cannot have it. */
static int candidates(struct ranking *out, const char *asked)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	for (char **t = out->allowed; t && *t; t++)
		buf_printf(&text, "%s,", *t);
	if (!out->allowed || !*out->allowed)
		buf_printf(&text, "%s,", out->default_type);
	if (*asked && !list_holds(out->allowed, asked))
		buf_printf(&text, "%s", asked);
	out->types = list_split(buf_text(&text));
	return text.failed || !out->types ? -1 : 0;
}

static unsigned tees_of(enum instance_tee tee)
{
	switch (tee) {
	case TEE_SNP:
		return CHOICE_TEE_SNP;
	case TEE_TDX:
		return CHOICE_TEE_TDX;
	case TEE_SEV:
		return CHOICE_TEE_SEV;
	case TEE_NONE:
	case TEE_DEFAULT:
		break;
	}
	return 0;
}

static size_t zone_index(char *const *zones, const char *zone)
{
	size_t i = 0;
	while (zones[i] && strcmp(zones[i], zone) != 0)
		i++;
	return i;
}

/* Those that fit and are of one type and market stay where the cheapest of them is, in the order of the zones. */
static void order_zones(struct choice *choice, char *const *zones)
{
	struct ranked_offering *r = choice->ranked;
	for (size_t i = 0; i < choice->fits; i++) {
		size_t end = i + 1;
		for (size_t k = i + 1; k < choice->fits; k++) {
			const struct offering *a = r[i].offering, *b = r[k].offering;
			if (a->spot != b->spot || strcmp(a->type, b->type) != 0)
				continue;
			struct ranked_offering moved = r[k];
			memmove(&r[end + 1], &r[end], (k - end) * sizeof(*r));
			r[end++] = moved;
		}
		for (size_t a = i + 1; a < end; a++) {
			for (size_t b = a;
				b > i && zone_index(zones, r[b].offering->zone) <
						 zone_index(zones, r[b - 1].offering->zone);
				b--) {
				struct ranked_offering other = r[b];
				r[b] = r[b - 1];
				r[b - 1] = other;
			}
		}
		i = end - 1;
	}
}

int ranking_make(struct provider *p, const struct instance_request *r, const struct location *at,
	const struct image_facts *image, enum instance_tee tee, char *const *zones,
	struct ranking *out, const struct bound *bound, struct error *err)
{
	const struct gcp_options *o = p->options;
	bool spot, on_demand;
	cleanup_error why = ERROR_INIT;
	gcp_options_market(o, r->market, &spot, &on_demand);
	*out = (struct ranking){.allowed = list_split(o->machine_types),
		.default_type = default_type(o, tee)};
	if (!out->allowed || !out->default_type || candidates(out, r->instance_type) < 0)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	const struct catalogue_wish wish = {.project = at->project,
		.zones = zones,
		.types = out->types,
		.architecture = image->architecture,
		.spot = spot,
		.on_demand = on_demand};
	if (catalogue_offerings(p->catalogue, &wish, &out->list, &out->count, bound, err) < 0)
		return -1;
	for (size_t i = 0; r->gpus > 0 && *o->accelerator_type && i < out->count; i++) {
		if (!strcmp(out->list[i].family, ACCELERATED) && !out->list[i].gpus)
			out->list[i].gpus = r->gpus;
	}
	const struct choice_request request = {
		.vcpus = r->vcpus,
		.memory_mib = r->memory_mib,
		.gpus = r->gpus,
		.tees = tees_of(tee),
		.type = r->instance_type,
		.default_type = out->default_type,
		.allowed = (const char *const *)out->allowed,
		.spot = spot,
		.on_demand = on_demand,
		.nics = r->second_nic ? 2 : 1,
		.volumes = (int64_t)r->volume_count,
	};
	int result = choice_rank(out->list, out->count, &request, p->refusals, &out->choice, &why);
	if (result == 0) {
		order_zones(&out->choice, zones);
		choice_spot_first(&out->choice);
		return 0;
	}
	/* Nothing but what was refused a short while ago is no mistake of the pod's. */
	if (why.kind == ERROR_INVALID && strstr(error_message(&why), "refused a short while ago"))
		why.kind = ERROR_CAPACITY;
	return error_move(err, &why);
}

/* "us-central1, us-east1": new string. NULL: no memory. */
static char *regions_of(char *const *zones)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	for (size_t i = 0; zones[i]; i++) {
		char region[ZONE_SIZE];
		bool seen = false;
		zone_region(zones[i], region);
		for (size_t k = 0; k < i; k++)
			seen |= zone_same_region(zones[i], zones[k]);
		if (!seen)
			buf_printf(&text, "%s%s", text.len ? ", " : "", region);
	}
	return buf_take(&text);
}

int driver_offerings(struct provider *p, struct offerings *out, const struct bound *bound,
	struct error *err)
{
	struct location at;
	*out = (struct offerings){0};
	if (place_find(p->place, &at, bound, err) < 0)
		return -1;
	prices_tell(p->prices, &out->prices_date, &out->prices_source, &out->currency);
	out->region = regions_of(at.zones);
	if (!out->region)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	const struct catalogue_wish wish = {.project = at.project,
		.zones = at.zones,
		.spot = true,
		.on_demand = true};
	if (catalogue_offerings(p->catalogue, &wish, &out->list, &out->count, bound, err) == 0)
		return 0;
	offerings_free(out);
	return -1;
}
