/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue.c - see catalogue.h
 *
 * The list is several MB long, so it is fetched once in twelve hours, by one thread while others wait for the first or go
 * on with the old one. Sizes that are handed out are never changed or freed: where a later list says something else of a
 * size, a new struct takes its place and the old one is kept aside, which happens rarely.
 */
#include "providers/azure/catalogue.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "providers/azure/vm.h"
#include "providers/choice/catalogue_file.h"

#define FRESH_NS (UINT64_C(12) * 3600 * NS_PER_S)
#define AGAIN_NS (60 * NS_PER_S) /* after a list that could not be had */
#define FETCH_NS (60 * NS_PER_S)
#define LOCK_STEP_NS (20 * NS_PER_MS)
#define SIZES_MAX 20000
#define NUMBER_MAX (INT64_C(1) << 40)

struct entry {
	struct size size;
	bool current;  /* in the list now */
	bool seen;     /* in the list that is taken over */
	bool stand_in; /* of a size of which nothing is known */
	struct entry *next;
};

struct catalogue {
	struct arm *arm;
	const struct azure_options *options;
	pthread_mutex_t fetching; /* one at a time; taken before lock */
	pthread_mutex_t lock;     /* what is below */
	struct entry *entries;
	bool known;
	uint64_t due_ns; /* 0: never fetched */
};

/* ---- one size ------------------------------------------------------------------------------------------------ */

void size_clear(struct size *s)
{
	free(s->name);
	free(s->family);
	free(s->architecture);
	free(s->controllers);
	*s = (struct size){0};
}

/* "East US" and "eastus" are the same. */
static bool same_region(const char *a, const char *b)
{
	for (;; a++, b++) {
		while (*a == ' ')
			a++;
		while (*b == ' ')
			b++;
		if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
			return false;
		if (!*a)
			return true;
	}
}

static bool holds_region(const json_t *list, const char *region)
{
	size_t i;
	const json_t *one;
	json_array_foreach(list, i, one)
	{
		if (json_is_string(one) && same_region(json_string_value(one), region))
			return true;
	}
	return false;
}

static const char *capability(const json_t *item, const char *name)
{
	size_t i;
	const json_t *one;
	json_array_foreach(json_object_get(item, "capabilities"), i, one)
	{
		if (!strcasecmp(text_of(one, "name", NULL), name))
			return text_of(one, "value", NULL);
	}
	return "";
}

/* A whole number; 0 where there is none. */
static int64_t number(const char *text)
{
	if (!*text || strspn(text, "0123456789") != strlen(text) || strlen(text) > 12)
		return 0;
	return strtoll(text, NULL, 10);
}

/* GiB, perhaps with a fraction, in MiB. The decimal point is a point whatever the locale. */
static int64_t mebibytes(const char *text)
{
	size_t whole = strspn(text, "0123456789");
	if (!whole || whole > 9)
		return 0;
	int64_t mib = strtoll(text, NULL, 10) * 1024;
	int64_t part = 0, unit = 1;
	if (text[whole] == '.') {
		for (const char *p = text + whole + 1; isdigit((unsigned char)*p) && unit < 1000000;
			p++) {
			part = part * 10 + (*p - '0');
			unit *= 10;
		}
	}
	mib += part * 1024 / unit;
	return mib < NUMBER_MAX ? mib : 0;
}

static void zone_add(struct size *s, const char *zone)
{
	for (size_t i = 0; i + 1 < ZONES_MAX; i++) {
		if (!strcmp(s->zones[i], zone))
			return;
		if (!*s->zones[i]) {
			if (strlen(zone) < ZONE_SIZE)
				snprintf(s->zones[i], ZONE_SIZE, "%s", zone);
			return;
		}
	}
}

static void zone_drop(struct size *s, const char *zone)
{
	for (size_t i = 0; i < ZONES_MAX && *s->zones[i]; i++) {
		if (strcmp(s->zones[i], zone) != 0)
			continue;
		memmove(s->zones[i], s->zones[i + 1], (ZONES_MAX - 1 - i) * ZONE_SIZE);
		*s->zones[ZONES_MAX - 1] = '\0';
		return;
	}
}

static void read_zones(const json_t *item, const char *region, struct size *s)
{
	size_t i, k;
	const json_t *one, *zone;
	s->zones_known = true;
	json_array_foreach(json_object_get(item, "locationInfo"), i, one)
	{
		if (!same_region(text_of(one, "location", NULL), region))
			continue;
		json_array_foreach(json_object_get(one, "zones"), k, zone)
		{
			if (json_is_string(zone))
				zone_add(s, json_string_value(zone));
		}
	}
	json_array_foreach(json_object_get(item, "restrictions"), i, one)
	{
		const json_t *info = json_object_get(one, "restrictionInfo");
		const json_t *locations = json_object_get(info, "locations");
		if (json_array_size(locations) && !holds_region(locations, region))
			continue;
		if (!strcasecmp(text_of(one, "type", NULL), "Zone")) {
			json_array_foreach(json_object_get(info, "zones"), k, zone)
			{
				if (json_is_string(zone))
					zone_drop(s, json_string_value(zone));
			}
		} else {
			s->refused = true;
			snprintf(s->refusal, sizeof(s->refusal), "%s",
				text_of(one, "reasonCode", NULL));
		}
	}
}

static unsigned read_tees(const json_t *item)
{
	const char *kind = capability(item, "ConfidentialComputingType");
	return !strcasecmp(kind, "SNP")   ? CHOICE_TEE_SNP
	       : !strcasecmp(kind, "TDX") ? CHOICE_TEE_TDX
					  : 0;
}

/* Only what is said not to be: of what is not told, Azure itself refuses what does not go together. */
static unsigned read_lacks(const json_t *item)
{
	static const struct {
		const char *capability;
		enum size_feature feature;
	} features[] = {
		{"PremiumIO", SIZE_PREMIUM},
		{"EphemeralOSDiskSupported", SIZE_EPHEMERAL},
		{"EncryptionAtHostSupported", SIZE_ENCRYPTION},
	};
	unsigned lacks = 0;
	for (size_t i = 0; i < array_size(features); i++) {
		if (!strcasecmp(capability(item, features[i].capability), "False"))
			lacks |= features[i].feature;
	}
	return lacks;
}

/* The strings of the offering are those of the size. */
static void bind(struct size *s)
{
	s->facts.type = s->name;
	s->facts.family = s->family;
	s->facts.zone = "";
}

int size_read(const json_t *item, const char *region, struct size *s, struct error *err)
{
	*s = (struct size){0};
	const char *name = text_of(item, "name", NULL);
	if (strcasecmp(text_of(item, "resourceType", NULL), "virtualMachines") != 0 || !*name ||
		strlen(name) > 128 || !holds_region(json_object_get(item, "locations"), region))
		return 0;
	const char *usable = capability(item, "vCPUsAvailable");
	s->name = strdup(name);
	s->family = strdup(text_of(item, "family", NULL));
	s->architecture = strdup(capability(item, "CpuArchitectureType"));
	s->controllers = strdup(capability(item, "DiskControllerTypes"));
	if (!s->name || !s->family || !s->architecture || !s->controllers) {
		size_clear(s);
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	s->facts.vcpus = number(*usable ? usable : capability(item, "vCPUs"));
	s->facts.memory_mib = mebibytes(capability(item, "MemoryGB"));
	s->facts.gpus = number(capability(item, "GPUs"));
	s->facts.max_volumes = number(capability(item, "MaxDataDiskCount"));
	s->facts.max_nics = number(capability(item, "MaxNetworkInterfaces"));
	s->facts.tees = read_tees(item);
	const char *generations = capability(item, "HyperVGenerations");
	s->generation_2 = !*generations || strcasestr(generations, "V2");
	s->lacks = read_lacks(item);
	read_zones(item, region, s);
	bind(s);
	return 1;
}

const char *size_why_not(const struct size *s, const struct azure_options *o)
{
	if ((s->lacks & SIZE_PREMIUM) && !strncmp(o->os_disk_type, "Premium", strlen("Premium")))
		return "the size takes no premium disk: see AZURE_OS_DISK_TYPE";
	if ((s->lacks & SIZE_EPHEMERAL) && *o->os_disk_ephemeral)
		return "the size takes no ephemeral OS disk: see AZURE_OS_DISK_EPHEMERAL";
	if ((s->lacks & SIZE_ENCRYPTION) && o->encryption_at_host)
		return "the size has no encryption at host: see AZURE_ENCRYPTION_AT_HOST";
	return NULL;
}

static bool same_text(const char *a, const char *b)
{
	return !strcmp(a, b);
}

static bool size_equal(const struct size *a, const struct size *b)
{
	const struct offering *f = &a->facts, *g = &b->facts;
	return same_text(a->family, b->family) && same_text(a->architecture, b->architecture) &&
	       same_text(a->controllers, b->controllers) && f->vcpus == g->vcpus &&
	       f->memory_mib == g->memory_mib && f->gpus == g->gpus && f->tees == g->tees &&
	       f->max_nics == g->max_nics && f->max_volumes == g->max_volumes &&
	       a->generation_2 == b->generation_2 && a->lacks == b->lacks &&
	       a->refused == b->refused && same_text(a->refusal, b->refusal) &&
	       a->zones_known == b->zones_known && !memcmp(a->zones, b->zones, sizeof(a->zones));
}

/* ---- all of them --------------------------------------------------------------------------------------------- */

struct catalogue *catalogue_new(struct arm *arm, const struct azure_options *o)
{
	struct catalogue *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->arm = arm;
	c->options = o;
	pthread_mutex_init(&c->fetching, NULL);
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

static void entries_free(struct entry *list)
{
	while (list) {
		struct entry *next = list->next;
		size_clear(&list->size);
		free(list);
		list = next;
	}
}

void catalogue_free(struct catalogue *c)
{
	if (!c)
		return;
	entries_free(c->entries);
	pthread_mutex_destroy(&c->fetching);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct intake {
	struct entry *list;
	size_t count;
	const char *region;
};

static int take_in(void *with, const json_t *item, struct error *err)
{
	struct intake *in = with;
	struct size size;
	int found = size_read(item, in->region, &size, err);
	if (found <= 0)
		return found;
	struct entry *e = in->count < SIZES_MAX ? calloc(1, sizeof(*e)) : NULL;
	if (!e) {
		size_clear(&size);
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	e->size = size;
	e->next = in->list;
	in->list = e;
	in->count++;
	return 0;
}

static int fetch(struct catalogue *c, struct intake *in, const struct bound *bound,
	struct error *err)
{
	char path[400];
	struct bound within = bound_within(bound, FETCH_NS);
	snprintf(path, sizeof(path),
		"/subscriptions/%s/providers/Microsoft.Compute/skus?api-version=" VERSION_SKUS
		"&$filter=location%%20eq%%20%%27%s%%27",
		c->options->subscription, c->options->region);
	if (arm_list(c->arm, "list sizes", path, take_in, in, &within, err) < 0)
		return -1;
	return in->count ? 0
			 : error_set(err, ERROR_INVALID,
				   "list sizes: Azure knows none in region %s: check AZURE_REGION",
				   c->options->region);
}

/* Under the lock. */
static struct entry *find_current(struct catalogue *c, const char *name)
{
	struct entry *e = c->entries;
	while (e && !(e->current && !strcasecmp(e->size.name, name)))
		e = e->next;
	return e;
}

/* Takes the list over; what did not change stays where it is. */
static void adopt(struct catalogue *c, struct intake *in)
{
	pthread_mutex_lock(&c->lock);
	for (struct entry *e = c->entries; e; e = e->next)
		e->seen = false;
	while (in->list) {
		struct entry *e = in->list;
		in->list = e->next;
		struct entry *old = find_current(c, e->size.name);
		if (old && size_equal(&old->size, &e->size)) {
			old->seen = true;
			e->next = NULL;
			entries_free(e);
			continue;
		}
		if (old)
			old->current = old->seen = false;
		e->current = e->seen = true;
		e->next = c->entries;
		c->entries = e;
	}
	for (struct entry *e = c->entries; e; e = e->next)
		e->current = e->current && e->seen;
	c->known = true;
	pthread_mutex_unlock(&c->lock);
}

static void save(struct catalogue *c)
{
	cleanup_error why = ERROR_INIT;
	size_t count = 0;
	pthread_mutex_lock(&c->lock);
	for (struct entry *e = c->entries; e; e = e->next)
		count += e->current && !e->size.refused;
	cleanup(free_ptr) struct offering *list = calloc(count + 1, sizeof(*list));
	size_t n = 0;
	for (struct entry *e = c->entries; list && e; e = e->next) {
		if (e->current && !e->size.refused)
			list[n++] = e->size.facts;
	}
	pthread_mutex_unlock(&c->lock);
	if (list && catalogue_save(c->options->catalogue_folder, "azure", c->options->region, list,
			    n, &why) < 0)
		log_warn("azure: the list of sizes is not kept for later: %s", error_message(&why));
}

/* What an earlier process has kept. false: nothing usable. */
static bool load(struct catalogue *c)
{
	cleanup_error why = ERROR_INIT;
	struct saved_catalogue saved = {0};
	struct intake in = {.region = c->options->region};
	if (!*c->options->catalogue_folder || catalogue_load(c->options->catalogue_folder, "azure",
						      c->options->region, &saved, &why) < 0) {
		if (why.kind != ERROR_NONE && why.kind != ERROR_GONE)
			log_warn("azure: %s", error_message(&why));
		return false;
	}
	for (size_t i = 0; i < saved.count; i++) {
		struct entry *e = calloc(1, sizeof(*e));
		if (!e)
			break;
		e->next = in.list;
		in.list = e;
		e->size = (struct size){.name = strdup(saved.list[i].type),
			.family = strdup(saved.list[i].family),
			.architecture = strdup(""),
			.controllers = strdup(""),
			.facts = saved.list[i],
			.generation_2 = true};
		bind(&e->size);
		if (!e->size.name || !e->size.family || !e->size.architecture ||
			!e->size.controllers) {
			in.list = e->next;
			e->next = NULL;
			entries_free(e);
			break;
		}
	}
	adopt(c, &in);
	log_info("azure: %zu sizes of region %s are known from an earlier list", saved.count,
		c->options->region);
	saved_catalogue_free(&saved);
	return true;
}

static bool is_due(struct catalogue *c, bool *known)
{
	pthread_mutex_lock(&c->lock);
	bool due = !c->due_ns || clock_ns() >= c->due_ns;
	*known = c->known;
	pthread_mutex_unlock(&c->lock);
	return due;
}

static void set_due(struct catalogue *c, uint64_t in_ns)
{
	pthread_mutex_lock(&c->lock);
	c->due_ns = deadline_in(in_ns);
	pthread_mutex_unlock(&c->lock);
}

/* One thread: fetches, or falls back to what is kept. The error is that of the fetch. */
static int renew(struct catalogue *c, bool known, const struct bound *bound, struct error *err)
{
	struct intake in = {.region = c->options->region};
	int result = fetch(c, &in, bound, err);
	if (result == 0) {
		adopt(c, &in);
		set_due(c, FRESH_NS);
		save(c);
	} else {
		set_due(c, AGAIN_NS);
		if (!known)
			load(c);
	}
	entries_free(in.list);
	return result;
}

/* Sees to it that the list is fresh, or known to be out of reach. *why: of the fetch that failed just now. */
static int freshen(struct catalogue *c, const struct bound *bound, struct error *why,
	struct error *err)
{
	bool known;
	while (is_due(c, &known)) {
		if (pthread_mutex_trylock(&c->fetching) == 0) {
			if (is_due(c, &known))
				renew(c, known, bound, why);
			pthread_mutex_unlock(&c->fetching);
			return bound_check(bound, "list sizes", err);
		}
		if (known) /* somebody renews: the old list is good till then */
			return 0;
		if (bound_sleep(bound, LOCK_STEP_NS, "wait for the list of sizes", err) < 0)
			return -1;
	}
	return 0;
}

int catalogue_sizes(struct catalogue *c, char *const *names, const struct size ***sizes,
	size_t *count, bool *known, const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	*count = 0;
	if (freshen(c, bound, &why, err) < 0)
		return -1;
	if (why.kind != ERROR_NONE)
		log_warn("azure: the list of sizes could not be had: %s", error_message(&why));
	pthread_mutex_lock(&c->lock);
	size_t total = 0;
	for (struct entry *e = c->entries; e; e = e->next)
		total += e->current;
	const struct size **list = calloc(total + 1, sizeof(void *));
	for (struct entry *e = c->entries; list && e; e = e->next) {
		bool wanted = !names;
		for (char *const *name = names; name && *name; name++)
			wanted |= !strcasecmp(*name, e->size.name);
		if (e->current && wanted)
			list[(*count)++] = &e->size;
	}
	*known = c->known;
	pthread_mutex_unlock(&c->lock);
	*sizes = list;
	return list ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}

int catalogue_require(struct catalogue *c, const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	pthread_mutex_lock(&c->lock);
	bool stale = !c->known;
	if (stale)
		c->due_ns = 0;
	pthread_mutex_unlock(&c->lock);
	if (freshen(c, bound, &why, err) < 0)
		return -1;
	return why.kind == ERROR_NONE ? 0 : error_move(err, &why);
}

const struct size *catalogue_stand_in(struct catalogue *c, const char *name)
{
	pthread_mutex_lock(&c->lock);
	struct entry *e = c->entries;
	while (e && !(e->stand_in && !strcmp(e->size.name, name)))
		e = e->next;
	if (!e && (e = calloc(1, sizeof(*e)))) {
		e->stand_in = true;
		e->size = (struct size){.name = strdup(name),
			.family = strdup(name),
			.architecture = strdup(""),
			.controllers = strdup(""),
			.generation_2 = true};
		e->size.facts.tees = CHOICE_TEE_SNP | CHOICE_TEE_TDX;
		bind(&e->size);
		if (e->size.name && e->size.family && e->size.architecture && e->size.controllers) {
			e->next = c->entries;
			c->entries = e;
		} else {
			entries_free(e);
			e = NULL;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return e ? &e->size : NULL;
}
