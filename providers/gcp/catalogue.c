/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue.c - see catalogue.h
 *
 * A zone is asked for all of its types at once: some hundred, in two pages. Entries are never changed or freed before
 * the catalogue is, so pointers into them may be handed out. Two threads that find a zone missing both ask; what the
 * second one brings is dropped. A zone that lacks a type that is wanted is asked again after some time, as new types
 * come; custom types are in no list and are asked for by name.
 */
#include "providers/gcp/catalogue.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "providers/choice/catalogue_file.h"
#include "providers/gcp/encode.h"
#include "providers/gcp/family.h"
#include "providers/gcp/names.h"

#define FIELDS                                                                                 \
	"items(name,guestCpus,memoryMb,accelerators,architecture,maximumPersistentDisks,zone," \
	"deprecated),nextPageToken"
#define AGAIN_NS (10 * 60 * NS_PER_S) /* for a type that was not there */
#define FAULTS_MAX 2
#define GPUS_MAX 1024
#define X86 "X86_64"

struct zone_entry {
	char *name;
	struct type_entry *types;
	uint64_t asked_ns;
	bool from_disk; /* or made up: asked again as soon as the API answers */
	struct zone_entry *next;
};

struct catalogue {
	struct compute *compute;
	const struct prices *prices;
	const char *folder;
	pthread_mutex_t lock;
	struct zone_entry *zones;
	struct type_entry *retired; /* what may still be pointed to */
};

void type_entry_clear(struct type_entry *e)
{
	free(e->name);
	free(e->family);
	free(e->zone);
	free(e->architecture);
	*e = (struct type_entry){0};
}

struct catalogue *catalogue_new(struct compute *compute, const struct prices *prices,
	const char *folder)
{
	struct catalogue *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->compute = compute;
	c->prices = prices;
	c->folder = folder;
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
	while (c->zones) {
		struct zone_entry *gone = c->zones;
		c->zones = gone->next;
		types_free(gone->types);
		free(gone->name);
		free(gone);
	}
	types_free(c->retired);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* ---- one type ---------------------------------------------------------------------------------------------- */

/* An interface for each vCPU, at least 2, at most 8: what every family takes. */
static int64_t nics_of(int64_t vcpus)
{
	return vcpus < 2 ? 2 : vcpus > 8 ? 8 : vcpus;
}

static bool entry_fill(struct type_entry *e, const char *name, const char *zone,
	const char *architecture)
{
	char family[FAMILY_SIZE];
	family_of(name, family);
	e->name = strdup(name);
	e->family = strdup(family);
	e->zone = strdup(zone);
	e->architecture = strdup(architecture);
	e->offering.type = e->name;
	e->offering.family = e->family;
	e->offering.zone = e->zone;
	e->offering.tees = family_tees(name);
	return e->name && e->family && e->zone && e->architecture;
}

static int64_t count_at(const json_t *object, const char *key, int64_t most)
{
	int64_t n = json_integer_value(json_object_get(object, key));
	return n < 0 ? 0 : n > most ? most : n;
}

bool type_read(const json_t *item, struct type_entry *e)
{
	const char *name = json_string_value(json_object_get(item, "name"));
	const char *zone = json_string_value(json_object_get(item, "zone"));
	const char *architecture = json_string_value(json_object_get(item, "architecture"));
	const char *state =
		json_string_value(json_object_get(json_object_get(item, "deprecated"), "state"));
	size_t i;
	json_t *gpu;
	*e = (struct type_entry){0};
	bool gone = state && (!strcmp(state, "OBSOLETE") || !strcmp(state, "DELETED"));
	if (!name || !name_is_plain(name) || !zone || !name_is_plain(path_last(zone)) || gone)
		return false;
	if (!entry_fill(e, name, path_last(zone), architecture ? architecture : X86)) {
		type_entry_clear(e);
		return false;
	}
	struct offering *o = &e->offering;
	int64_t disks = count_at(item, "maximumPersistentDisks", 1024);
	o->vcpus = count_at(item, "guestCpus", 1 << 20);
	o->memory_mib = count_at(item, "memoryMb", INT64_C(1) << 40);
	o->max_nics = nics_of(o->vcpus);
	o->max_volumes = disks ? disks - 1 : 0; /* one boots */
	json_array_foreach(json_object_get(item, "accelerators"), i, gpu)
	{
		o->gpus += count_at(gpu, "guestAcceleratorCount", GPUS_MAX);
		if (o->gpus > GPUS_MAX)
			o->gpus = GPUS_MAX;
	}
	return true;
}

/* ---- a zone ------------------------------------------------------------------------------------------------ */

struct reading {
	struct type_entry *first;
};

static int reading_page(void *with, const json_t *page, struct error *err)
{
	struct reading *r = with;
	size_t i;
	json_t *item;
	json_array_foreach(json_object_get(page, "items"), i, item)
	{
		struct type_entry *e = calloc(1, sizeof(*e));
		if (!e)
			return error_set(err, ERROR_CAPACITY, "out of memory");
		if (!type_read(item, e)) {
			free(e);
			continue;
		}
		e->next = r->first;
		r->first = e;
	}
	return 0;
}

static int zone_fetch(struct catalogue *c, const char *project, const char *zone,
	struct reading *reading, const struct bound *bound, struct error *err)
{
	cleanup(buf_free) struct buf path = BUF_INIT;
	buf_printf(&path, "projects/%s/zones/%s/machineTypes", project, zone);
	query_add(&path, "fields", FIELDS);
	/* There is something to fall back on: pods wait. */
	const struct compute_call call = {.what = "machineTypes.list",
		.class = COMPUTE_READ,
		.path = buf_text(&path),
		.faults = FAULTS_MAX};
	return compute_pages(c->compute, &call, reading_page, reading, bound, err);
}

static int add(struct offering **list, size_t *count, const struct offering *one, bool spot,
	struct error *err)
{
	struct offering *grown = reallocarray(*list, *count + 1, sizeof(**list));
	if (!grown)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	*list = grown;
	grown[*count] = *one;
	grown[(*count)++].spot = spot;
	return 0;
}

/* What is known of the region's zones; the strings are the catalogue's. */
static void save(struct catalogue *c, const char *zone)
{
	cleanup_error why = ERROR_INIT;
	cleanup(free_ptr) struct offering *list = NULL;
	char region[ZONE_SIZE], other[ZONE_SIZE];
	size_t count = 0;
	int result = 0;
	zone_region(zone, region);
	pthread_mutex_lock(&c->lock);
	for (struct zone_entry *z = c->zones; z; z = z->next) {
		zone_region(z->name, other);
		if (z->from_disk || strcmp(region, other) != 0)
			continue;
		for (const struct type_entry *e = z->types; e && result == 0; e = e->next)
			result = add(&list, &count, &e->offering, false, &why);
	}
	pthread_mutex_unlock(&c->lock);
	if (result == 0 && count)
		result = catalogue_save(c->folder, "gcp", region, list, count, &why);
	if (result < 0)
		log_debug("gcp: the catalogue is not kept on disk: %s", error_message(&why));
}

/* What the disk has of this zone's region. */
static void load(struct catalogue *c, const char *zone, struct reading *reading)
{
	struct saved_catalogue saved = {0};
	char region[ZONE_SIZE];
	zone_region(zone, region);
	if (catalogue_load(c->folder, "gcp", region, &saved, NULL) < 0)
		return;
	for (size_t i = 0; i < saved.count; i++) {
		struct type_entry *e = calloc(1, sizeof(*e));
		if (!e || !entry_fill(e, saved.list[i].type, zone, "")) {
			if (e)
				type_entry_clear(e);
			free(e);
			continue;
		}
		struct offering kept = saved.list[i];
		kept.type = e->name;
		kept.family = e->family;
		kept.zone = e->zone;
		e->offering = kept;
		e->next = reading->first;
		reading->first = e;
	}
	saved_catalogue_free(&saved);
}

/* Under the lock. */
static struct zone_entry *zone_find(struct catalogue *c, const char *zone)
{
	struct zone_entry *z = c->zones;
	while (z && strcmp(z->name, zone) != 0)
		z = z->next;
	return z;
}

static const struct type_entry *type_find(const struct zone_entry *z, const char *type)
{
	const struct type_entry *e = z ? z->types : NULL;
	while (e && strcmp(e->name, type) != 0)
		e = e->next;
	return e;
}

/* Under the lock: new types are put before; what is known stays, unless it came from the disk. */
static struct zone_entry *zone_keep(struct catalogue *c, const char *zone, struct reading *reading,
	bool from_disk)
{
	struct zone_entry *z = zone_find(c, zone);
	if (!z) {
		z = calloc(1, sizeof(*z));
		if (!z || !(z->name = strdup(zone))) {
			free(z);
			return NULL;
		}
		z->next = c->zones;
		c->zones = z;
	}
	if (z->from_disk && !from_disk) {
		struct type_entry **end = &z->types;
		while (*end)
			end = &(*end)->next;
		*end = c->retired;
		c->retired = take_ptr(z->types);
	}
	while (reading->first) {
		struct type_entry *e = reading->first;
		reading->first = e->next;
		if (type_find(z, e->name)) {
			type_entry_clear(e);
			free(e);
			continue;
		}
		e->next = z->types;
		z->types = e;
	}
	z->from_disk = from_disk;
	z->asked_ns = clock_ns();
	return z;
}

/* Whether the API is to be asked about this zone. */
static bool zone_is_due(struct catalogue *c, const char *zone, char *const *types)
{
	bool due = false;
	pthread_mutex_lock(&c->lock);
	struct zone_entry *z = zone_find(c, zone);
	if (!z || z->from_disk)
		due = true;
	else if (clock_ns() - z->asked_ns > AGAIN_NS) {
		for (; types && *types; types++)
			due |= !type_find(z, *types) && !strstr(*types, "custom");
	}
	pthread_mutex_unlock(&c->lock);
	return due;
}

/* A type of which nothing is known: the API says what is wrong with it. */
static void add_stand_in(const char *type, const char *zone, struct reading *reading)
{
	struct type_entry *e = calloc(1, sizeof(*e));
	if (!e || !entry_fill(e, type, zone, "")) {
		if (e)
			type_entry_clear(e);
		free(e);
		return;
	}
	e->next = reading->first;
	reading->first = e;
}

static int custom_fetch(struct catalogue *c, const char *project, const char *zone,
	const char *type, const struct bound *bound, struct error *err)
{
	cleanup_json *reply = NULL;
	cleanup_error why = ERROR_INIT;
	cleanup(buf_free) struct buf path = BUF_INIT;
	struct reading reading = {0};
	buf_printf(&path, "projects/%s/zones/%s/machineTypes/%s", project, zone, type);
	if (compute_get(c->compute, "machineTypes.get", buf_text(&path), &reply, bound, &why) < 0)
		return why.kind == ERROR_GONE || why.kind == ERROR_INVALID ? 0
									   : error_move(err, &why);
	struct type_entry *e = calloc(1, sizeof(*e));
	if (!e)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (!type_read(reply, e)) {
		free(e);
		return 0;
	}
	reading.first = e;
	pthread_mutex_lock(&c->lock);
	struct zone_entry *z = zone_find(c, zone);
	bool from_disk = z && z->from_disk;
	zone_keep(c, zone, &reading, from_disk);
	pthread_mutex_unlock(&c->lock);
	types_free(reading.first);
	return 0;
}

static int custom_look(struct catalogue *c, const struct catalogue_wish *wish, const char *zone,
	const struct bound *bound, struct error *err)
{
	for (char *const *t = wish->types; t && *t; t++) {
		if (!strstr(*t, "custom-"))
			continue;
		pthread_mutex_lock(&c->lock);
		bool known = type_find(zone_find(c, zone), *t);
		pthread_mutex_unlock(&c->lock);
		if (!known && custom_fetch(c, wish->project, zone, *t, bound, err) < 0)
			return -1;
	}
	return 0;
}

static bool ends_it(const struct error *why)
{
	return why->kind == ERROR_TIMEOUT || why->kind == ERROR_CANCELED ||
	       why->kind == ERROR_DENIED || why->kind == ERROR_INVALID || why->kind == ERROR_GONE;
}

static int zone_look(struct catalogue *c, const struct catalogue_wish *wish, const char *zone,
	const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	struct reading reading = {0};
	if (!zone_is_due(c, zone, wish->types))
		return custom_look(c, wish, zone, bound, err);
	int result = zone_fetch(c, wish->project, zone, &reading, bound, &why);
	if (result < 0) {
		types_free(take_ptr(reading.first));
		if (ends_it(&why)) {
			error_move(err, &why);
			return error_prefix(err, "machine types of zone %s", zone);
		}
		load(c, zone, &reading);
		log_warn("gcp: the machine types of zone %s are not known: %s; %s", zone,
			error_message(&why),
			reading.first ? "what was kept on disk is used" : "any may do");
		for (char *const *t = wish->types; t && *t; t++) {
			const struct type_entry *e = reading.first;
			while (e && strcmp(e->name, *t) != 0)
				e = e->next;
			if (!e)
				add_stand_in(*t, zone, &reading);
		}
	}
	pthread_mutex_lock(&c->lock);
	zone_keep(c, zone, &reading, result < 0);
	pthread_mutex_unlock(&c->lock);
	types_free(reading.first);
	if (result == 0)
		save(c, zone);
	return result < 0 ? 0 : custom_look(c, wish, zone, bound, err);
}

/* ---- offerings --------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct catalogue_wish *wish, const struct type_entry *e)
{
	return !wish->types || list_holds(wish->types, e->name);
}

/* Why it cannot start the image; NULL: it can, as far as is known. */
static const char *why_not(const struct catalogue_wish *wish, const struct type_entry *e)
{
	const char *asked = wish->architecture ? wish->architecture : "";
	bool fits = !*asked || !*e->architecture || !strcmp(asked, e->architecture) ||
		    !strcmp(asked, "ARCHITECTURE_UNSPECIFIED");
	return fits ? NULL : "the image is for another architecture";
}

/* What is asked for by name and the zone does not have. The strings are the wish's. */
static int lacks_add(const struct zone_entry *z, const struct catalogue_wish *wish,
	const char *zone, struct offering **list, size_t *count, struct error *err)
{
	for (char *const *t = wish->types; t && *t; t++) {
		const struct offering none = {.type = *t,
			.family = *t,
			.zone = zone,
			.tees = family_tees(*t),
			.unfit = "the zone has no such type"};
		if (type_find(z, *t))
			continue;
		if ((wish->on_demand && add(list, count, &none, false, err) < 0) ||
			(wish->spot && add(list, count, &none, true, err) < 0))
			return -1;
	}
	return 0;
}

static int zone_add(struct catalogue *c, const struct catalogue_wish *wish, const char *zone,
	struct offering **list, size_t *count, struct error *err)
{
	size_t start = *count;
	char region[ZONE_SIZE];
	int result = 0;
	pthread_mutex_lock(&c->lock);
	struct zone_entry *z = zone_find(c, zone);
	for (const struct type_entry *e = z ? z->types : NULL; e && result == 0; e = e->next) {
		struct offering one = e->offering;
		if (!is_wanted(wish, e))
			continue;
		one.unfit = why_not(wish, e);
		if (wish->on_demand)
			result = add(list, count, &one, false, err);
		if (wish->spot && result == 0)
			result = add(list, count, &one, true, err);
	}
	if (result == 0)
		result = lacks_add(z, wish, zone, list, count, err);
	pthread_mutex_unlock(&c->lock);
	zone_region(zone, region);
	if (result == 0 && c->prices && *count > start)
		prices_apply(c->prices, region, *list + start, *count - start);
	return result;
}

int catalogue_offerings(struct catalogue *c, const struct catalogue_wish *wish,
	struct offering **list, size_t *count, const struct bound *bound, struct error *err)
{
	*list = NULL;
	*count = 0;
	for (char *const *z = wish->zones; *z; z++) {
		if (zone_look(c, wish, *z, bound, err) < 0 ||
			zone_add(c, wish, *z, list, count, err) < 0) {
			free(take_ptr(*list));
			*count = 0;
			return -1;
		}
	}
	return 0;
}
