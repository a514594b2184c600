/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shelf.c - see shelf.h
 *
 * Without asking anybody there are two sources: the file of prices, which also knows sizes, and the catalogue that
 * the driver saved when it last asked the cloud. A type that both know is taken from the catalogue, its price from the
 * file; spot is on offer where the file has a price for it.
 */
#include "peerpodctl/shelf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "peerpodctl/progress.h"
#include "providers/loader.h"

/* Where the clouds' own options say the region. A zone is cut down to its region. */
static const struct {
	const char *provider, *variable;
	bool zone;
} region_variables[] = {
	{"aws", "AWS_REGION", false},
	{"aws", "AWS_DEFAULT_REGION", false},
	{"azure", "AZURE_REGION", false},
	{"gcp", "GCP_ZONE", true},
};

static char *region_of(const struct values *values)
{
	if (*values->region)
		return strdup(values->region);
	for (size_t i = 0; i < array_size(region_variables); i++) {
		const char *text = getenv(region_variables[i].variable);
		if (strcmp(region_variables[i].provider, values->provider) != 0 || !text || !*text)
			continue;
		size_t len = strcspn(text, ",");
		const char *dash = region_variables[i].zone ? memrchr(text, '-', len) : NULL;
		return strndup(text, dash ? (size_t)(dash - text) : len);
	}
	return strdup("");
}

/* prices/<provider>.json in the folder of the drivers, or what --prices names. */
static int load_prices(const struct values *values, struct shelf *shelf, struct error *err)
{
	cleanup(free_ptr) char *folder = provider_folder(values->provider_dir, err);
	cleanup(free_ptr) char *path = NULL;
	if (!folder)
		return -1;
	if (asprintf(&path, "%s/prices/%s.json", folder, values->provider) < 0) {
		path = NULL;
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	shelf->prices = prices_load(values->provider, *values->prices ? values->prices : path, err);
	if (shelf->prices) {
		prices_tell(shelf->prices, &shelf->on.prices_date, &shelf->on.prices_source,
			&shelf->on.currency);
		return 0;
	}
	if (err->kind == ERROR_GONE && !*values->prices)
		error_append(err, ": there are no prices of \"%s\"; --prices names a file",
			values->provider);
	return -1;
}

static bool saved_has(const struct saved_catalogue *saved, const char *type)
{
	size_t low = 0, high = saved->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(saved->list[middle].type, type);
		if (!order)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static int merge(struct shelf *shelf, const struct offering *priced, size_t count,
	struct error *err)
{
	const struct saved_catalogue *saved = &shelf->saved;
	shelf->on.list = calloc(saved->count * 2 + count + 1, sizeof(*shelf->on.list));
	if (!shelf->on.list)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (size_t i = 0; i < saved->count; i++) {
		struct offering spot = saved->list[i];
		spot.spot = true;
		prices_apply(shelf->prices, shelf->on.region, &spot, 1);
		shelf->on.list[shelf->on.count++] = saved->list[i];
		if (spot.price_micros)
			shelf->on.list[shelf->on.count++] = spot;
	}
	for (size_t i = 0; i < count; i++) {
		if (!saved_has(saved, priced[i].type))
			shelf->on.list[shelf->on.count++] = priced[i];
	}
	prices_apply(shelf->prices, shelf->on.region, shelf->on.list, shelf->on.count);
	return 0;
}

static int fill_offline(struct invocation *in, struct shelf *shelf, struct error *err)
{
	const struct values *values = &in->values;
	shelf->on.region = region_of(values);
	if (!shelf->on.region)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	cleanup(free_ptr) struct offering *priced = NULL;
	size_t count = 0;
	cleanup_error why = ERROR_INIT;
	log_init("peerpodctl", LOG_WARN, LOG_TEXT);
	if (load_prices(values, shelf, err) < 0)
		return -1;
	if (*shelf->on.region && catalogue_load(values->catalogue_folder, values->provider,
					 shelf->on.region, &shelf->saved, &why) < 0) {
		if (why.kind != ERROR_GONE && why.kind != ERROR_DENIED)
			log_warn("%s: going by the file of prices alone", error_message(&why));
		error_clear(&why);
	}
	if (prices_catalogue(shelf->prices, shelf->on.region, &priced, &count, &why) < 0 &&
		(why.kind != ERROR_GONE || !shelf->saved.count)) {
		in->is_usage = why.kind == ERROR_GONE;
		if (!*shelf->on.region)
			error_prefix(&why, "which region? Name it with --region");
		return error_move(err, &why);
	}
	return merge(shelf, priced, count, err);
}

static int fill_online(struct invocation *in, struct shelf *shelf, struct error *err)
{
	if (*in->values.region)
		return usage_error(in,
			"--region goes with --offline: online the driver's own options say where it is");
	if (*in->values.prices)
		return usage_error(in,
			"--prices goes with --offline: online the driver's own option names the file, after --");
	if (cloud_open(in, &shelf->cloud, err) < 0)
		return -1;
	const struct provider_table *table = shelf->cloud.table;
	if (!table->offerings)
		return error_set(err, ERROR_UNSUPPORTED,
			"driver %s has no instance types to choose from", table->name);
	progress_scope("ask for the instance types");
	if (table->offerings(shelf->cloud.provider, &shelf->on, &shelf->cloud.bound, err) < 0)
		return error_prefix(err, "%s: ask for the instance types", table->name);
	return 0;
}

int shelf_open(struct invocation *in, struct shelf *shelf, struct error *err)
{
	*shelf = (struct shelf){0};
	if (cloud_named(in, err) < 0)
		return -1;
	return in->values.offline ? fill_offline(in, shelf, err) : fill_online(in, shelf, err);
}

void shelf_close(struct shelf *shelf)
{
	offerings_free(&shelf->on);
	if (shelf->prices)
		prices_free(shelf->prices);
	saved_catalogue_free(&shelf->saved);
	cloud_close(&shelf->cloud);
	*shelf = (struct shelf){0};
}

int shelf_zones(const struct shelf *shelf, char *const *zones, struct offering **copy,
	size_t *count, struct error *err)
{
	size_t named = 0;
	*copy = NULL;
	while (zones && zones[named])
		named++;
	if (!named || !shelf->prices)
		return 0;
	*copy = calloc(shelf->on.count * named + 1, sizeof(**copy));
	if (!*copy)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	*count = 0;
	for (size_t i = 0; i < shelf->on.count; i++) {
		for (size_t z = 0; z < named; z++) {
			struct offering *one = &(*copy)[(*count)++];
			*one = shelf->on.list[i];
			one->zone = zones[z];
		}
	}
	return 0;
}

/* The first offering whose type, or zone, has this name. */
static const struct offering *find(const struct shelf *shelf, const char *name, bool zone,
	int (*compare)(const char *, const char *))
{
	for (size_t i = 0; i < shelf->on.count; i++) {
		const struct offering *o = &shelf->on.list[i];
		if (!compare(zone ? o->zone : o->type, name))
			return o;
	}
	return NULL;
}

int shelf_spell(const struct shelf *shelf, char **types, struct error *err)
{
	for (; types && *types; types++) {
		const struct offering *like = find(shelf, *types, false, strcasecmp);
		if (!like || find(shelf, *types, false, strcmp))
			continue;
		char *copy = strdup(like->type);
		if (!copy)
			return error_set(err, ERROR_CAPACITY, "out of memory");
		free(*types);
		*types = copy;
	}
	return 0;
}

json_t *shelf_unknown(const struct shelf *shelf, char *const *types, char *const *zones)
{
	json_t *unknown = json_array();
	for (; types && *types; types++) {
		if (!find(shelf, *types, false, strcmp))
			json_array_append_new(unknown, json_string(*types));
	}
	/* A file of prices has no zones. */
	for (; !shelf->prices && zones && *zones; zones++) {
		if (!find(shelf, *zones, true, strcmp))
			json_array_append_new(unknown, json_string(*zones));
	}
	return unknown;
}
