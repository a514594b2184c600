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

#include "base/list.h"
#include "base/log.h"
#include "providers/choice/catalogue_file.h"

#define TYPES_PER_CALL 100
#define EVERY_TEE (CHOICE_TEE_SNP | CHOICE_TEE_TDX | CHOICE_TEE_SEV)

struct zone {
	char *name;
	struct zone *next;
};

struct catalogue {
	struct ec2 *ec2;
	const char *folder;
	struct prices *prices;
	pthread_mutex_t lock;
	struct type_entry *types;   /* from EC2 */
	struct type_entry *saved;   /* from the file on disk */
	struct type_entry *unknown; /* stand-ins where neither tells */
	struct zone *zones;
	bool saved_read, save_failed;
};

void type_entry_clear(struct type_entry *e)
{
	free(e->name);
	free(e->family);
	*e = (struct type_entry){0};
}

struct catalogue *catalogue_new(struct ec2 *ec2, const char *folder, struct prices *prices)
{
	struct catalogue *c = calloc(1, sizeof(*c));
	if (!c) {
		prices_free(prices);
		return NULL;
	}
	c->ec2 = ec2;
	c->folder = folder;
	c->prices = prices;
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
	types_free(c->saved);
	types_free(c->unknown);
	while (c->zones) {
		struct zone *next = c->zones->next;
		free(c->zones->name);
		free(c->zones);
		c->zones = next;
	}
	prices_free(c->prices);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* ---- reading an answer ------------------------------------------------------------------------------------- */

static bool type_name(struct type_entry *e, char *name)
{
	e->name = name;
	e->family = name ? strndup(name, strcspn(name, ".")) : NULL;
	e->offering.type = e->name;
	e->offering.family = e->family;
	e->offering.zone = "";
	return e->name && e->family;
}

/* The bits of those words that the list at path has; all of them where there is no such list. */
static unsigned read_words(xmlNode *item, const char *path, const char *first, const char *second)
{
	xmlNode *word = xml_first_item(item, path);
	unsigned bits = word ? 0 : 3;
	for (; word; word = xml_next_item(word)) {
		cleanup(free_ptr) char *text = xml_text(word, "");
		bits |= text && !strcmp(text, first) ? 1 : 0;
		bits |= text && !strcmp(text, second) ? 2 : 0;
	}
	return bits;
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
	e->architectures =
		read_words(item, "processorInfo/supportedArchitectures", "x86_64", "arm64");
	e->boots = read_words(item, "supportedBootModes", "legacy-bios", "uefi");
	e->spot = read_words(item, "supportedUsageClasses", "spot", "") & 1;
	return true;
}

/* ---- what is remembered on disk ---------------------------------------------------------------------------- */

/* Under the lock. */
static struct type_entry *type_find(struct type_entry *list, const char *name)
{
	while (list && strcmp(list->name, name) != 0)
		list = list->next;
	return list;
}

static void saved_keep(struct catalogue *c, const struct offering *o)
{
	struct type_entry *e = calloc(1, sizeof(*e));
	if (!e || !type_name(e, strdup(o->type))) {
		if (e)
			type_entry_clear(e);
		free(e);
		return;
	}
	struct offering facts = *o;
	facts.type = e->name;
	facts.family = e->family;
	facts.zone = "";
	facts.price_micros = 0;
	e->offering = facts;
	e->architectures = TYPE_X86 | TYPE_ARM;
	e->boots = TYPE_BIOS | TYPE_UEFI;
	e->spot = true;
	e->next = c->saved;
	c->saved = e;
}

/* Once. */
static void saved_read(struct catalogue *c, const struct bound *bound)
{
	struct saved_catalogue file = {0};
	cleanup_error why = ERROR_INIT;
	const char *region = place_region(ec2_place(c->ec2), bound, NULL);
	pthread_mutex_lock(&c->lock);
	if (region && !c->saved_read && *c->folder) {
		c->saved_read = true;
		if (catalogue_load(c->folder, "aws", region, &file, &why) == 0) {
			for (size_t i = 0; i < file.count; i++)
				saved_keep(c, &file.list[i]);
			saved_catalogue_free(&file);
		} else if (why.kind != ERROR_GONE) {
			log_warn("aws: %s", error_message(&why));
		}
	}
	pthread_mutex_unlock(&c->lock);
}

/* All that is known now, also what the file knew and was not asked for since. */
static void save(struct catalogue *c, const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	const char *region = place_region(ec2_place(c->ec2), bound, NULL);
	if (!region || !*c->folder)
		return;
	saved_read(c, bound);
	pthread_mutex_lock(&c->lock);
	size_t count = 0, room = 0;
	for (struct type_entry *e = c->types; e; e = e->next)
		room++;
	for (struct type_entry *e = c->saved; e; e = e->next)
		room++;
	cleanup(free_ptr) struct offering *list = calloc(room + 1, sizeof(*list));
	for (struct type_entry *e = c->types; list && e; e = e->next)
		list[count++] = e->offering;
	for (struct type_entry *e = c->saved; list && e; e = e->next) {
		if (!type_find(c->types, e->name))
			list[count++] = e->offering;
	}
	bool silent = c->save_failed;
	pthread_mutex_unlock(&c->lock);
	if (!list || catalogue_save(c->folder, "aws", region, list, count, &why) == 0)
		return;
	if (!silent)
		log_warn("aws: instance types are not remembered: %s", error_message(&why));
	pthread_mutex_lock(&c->lock);
	c->save_failed = true;
	pthread_mutex_unlock(&c->lock);
}

/* ---- asking EC2 -------------------------------------------------------------------------------------------- */

/* How many were new. */
static size_t types_keep(struct catalogue *c, xmlNode *root)
{
	size_t count = 0;
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
		count++;
	}
	pthread_mutex_unlock(&c->lock);
	return count;
}

static int types_fetch(struct catalogue *c, const char *filter, const char *const *values,
	const struct bound *bound, struct error *err)
{
	cleanup_query query = {0};
	cleanup_pages pages = {0};
	size_t kept = 0;
	int result;
	query_start(&query, "DescribeInstanceTypes", EC2_VERSION);
	query_filter(&query, 1, filter, values);
	query_add(&query, "100", "MaxResults");
	while ((result = ec2_page(c->ec2, &query, &pages, bound, err)) > 0)
		kept += types_keep(c, pages.page);
	if (result == 0 && kept)
		save(c, bound);
	return result;
}

/* ---- some types -------------------------------------------------------------------------------------------- */

/* Under the lock. */
static struct type_entry *stand_in(struct catalogue *c, const char *name)
{
	struct type_entry *e = type_find(c->unknown, name);
	if (e)
		return e;
	e = calloc(1, sizeof(*e));
	if (!e || !type_name(e, strdup(name))) {
		if (e)
			type_entry_clear(e);
		free(e);
		return NULL;
	}
	e->offering.tees = EVERY_TEE;
	e->architectures = TYPE_X86 | TYPE_ARM;
	e->boots = TYPE_BIOS | TYPE_UEFI;
	e->spot = true;
	e->next = c->unknown;
	c->unknown = e;
	return e;
}

int catalogue_ask(struct catalogue *c, char *const *types, const struct bound *bound,
	struct error *err)
{
	const char *missing[TYPES_PER_CALL + 1];
	while (*types) {
		size_t n = 0;
		pthread_mutex_lock(&c->lock);
		for (; *types && n < TYPES_PER_CALL; types++) {
			if (!type_find(c->types, *types))
				missing[n++] = *types;
		}
		pthread_mutex_unlock(&c->lock);
		missing[n] = NULL;
		if (n && types_fetch(c, "instance-type", missing, bound, err) < 0)
			return -1;
	}
	return 0;
}

int catalogue_types(struct catalogue *c, char *const *types, struct type_facts **facts,
	size_t *count, const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	size_t total = list_count(types);
	*count = 0;
	bool asked = catalogue_ask(c, types, bound, &why) == 0;
	if (!asked) {
		if (bound_check(bound, "ask for instance types", err) < 0)
			return -1;
		saved_read(c, bound);
		log_warn("aws: what the instance types can do is not asked of EC2: %s",
			error_message(&why));
	}
	*facts = calloc(total + 1, sizeof(**facts));
	if (!*facts)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < total; i++) {
		struct type_entry *e = type_find(c->types, types[i]);
		if (!e && !asked)
			e = type_find(c->saved, types[i]);
		bool known = e;
		if (!e && !asked)
			e = stand_in(c, types[i]);
		else if (!e)
			log_warn("aws: there is no instance type %s in this region", types[i]);
		if (e)
			(*facts)[(*count)++] = (struct type_facts){e, known};
	}
	pthread_mutex_unlock(&c->lock);
	return 0;
}

const struct prices *catalogue_prices(const struct catalogue *c)
{
	return c->prices;
}

void catalogue_price(struct catalogue *c, struct offering *list, size_t count,
	const struct bound *bound)
{
	const char *region = place_region(ec2_place(c->ec2), bound, NULL);
	if (region)
		prices_apply(c->prices, region, list, count);
}

/* ---- all of them ------------------------------------------------------------------------------------------- */

struct offering_list {
	struct offering *list;
	size_t count, room;
};

static bool list_add(struct offering_list *l, const struct type_entry *e, const char *zone)
{
	if (l->room - l->count < 2) {
		size_t room = l->room ? 2 * l->room : 512;
		struct offering *grown = reallocarray(l->list, room, sizeof(*grown));
		if (!grown)
			return false;
		l->list = grown;
		l->room = room;
	}
	for (int spot = 0; spot <= (e->spot ? 1 : 0); spot++) {
		struct offering *o = &l->list[l->count++];
		*o = e->offering;
		o->zone = zone;
		o->spot = spot;
	}
	return true;
}

/* Under the lock: the same text for the life of the catalogue. NULL: no memory. */
static const char *zone_keep(struct catalogue *c, const char *name)
{
	for (struct zone *z = c->zones; z; z = z->next) {
		if (!strcmp(z->name, name))
			return z->name;
	}
	struct zone *z = calloc(1, sizeof(*z));
	if (!z || !(z->name = strdup(name))) {
		free(z);
		return NULL;
	}
	z->next = c->zones;
	c->zones = z;
	return z->name;
}

static bool zones_keep(struct catalogue *c, xmlNode *root, struct offering_list *l)
{
	bool good = true;
	pthread_mutex_lock(&c->lock);
	xmlNode *i = xml_first_item(root, "instanceTypeOfferingSet");
	for (; good && i; i = xml_next_item(i)) {
		cleanup(free_ptr) char *type = xml_text(i, "instanceType"),
				       *location = xml_text(i, "location");
		struct type_entry *e = type ? type_find(c->types, type) : NULL;
		if (!e || !location || !(e->architectures & TYPE_X86))
			continue;
		const char *zone = zone_keep(c, location);
		good = zone && list_add(l, e, zone);
	}
	pthread_mutex_unlock(&c->lock);
	return good;
}

static int zones_fetch(struct catalogue *c, struct offering_list *l, const struct bound *bound,
	struct error *err)
{
	cleanup_query query = {0};
	cleanup_pages pages = {0};
	int result;
	query_start(&query, "DescribeInstanceTypeOfferings", EC2_VERSION);
	query_add(&query, "availability-zone", "LocationType");
	query_add(&query, "1000", "MaxResults");
	while ((result = ec2_page(c->ec2, &query, &pages, bound, err)) > 0) {
		if (!zones_keep(c, pages.page, l))
			return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	return result;
}

/* What EC2 has told at some time, in any zone. */
static int remembered(struct catalogue *c, struct offering_list *l, struct error *err)
{
	bool good = true;
	pthread_mutex_lock(&c->lock);
	for (struct type_entry *e = c->types; good && e; e = e->next)
		good = !(e->architectures & TYPE_X86) || list_add(l, e, "");
	for (struct type_entry *e = c->saved; good && e; e = e->next)
		good = type_find(c->types, e->name) || list_add(l, e, "");
	pthread_mutex_unlock(&c->lock);
	return good ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}

int catalogue_offerings(struct catalogue *c, struct offering **list, size_t *count,
	const struct bound *bound, struct error *err)
{
	static const char *const x86[] = {"x86_64", NULL};
	cleanup_error why = ERROR_INIT;
	struct offering_list all = {0};
	int result = types_fetch(c, "processor-info.supported-architecture", x86, bound, &why);
	if (result == 0)
		result = zones_fetch(c, &all, bound, &why);
	if (result < 0 && bound_check(bound, "ask for instance types", NULL) == 0) {
		saved_read(c, bound);
		all.count = 0;
		result = remembered(c, &all, &why);
		if (result == 0 && all.count)
			log_warn("aws: the instance types are those of an earlier time: %s",
				error_message(&why));
		else
			result = -1;
	}
	if (result < 0) {
		free(all.list);
		return error_move(err, &why);
	}
	catalogue_price(c, all.list, all.count, bound);
	*list = all.list;
	*count = all.count;
	return 0;
}
