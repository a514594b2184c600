/* SPDX-License-Identifier: Apache-2.0 */
/*
 * prices.c - see prices.h
 *
 * The file is read once into rows sorted by region and type; their strings stay the parsed file's, which is kept.
 * Nothing changes after that, so any number of threads may ask.
 */
#include "providers/choice/prices.h"

#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "providers/choice/tee_names.h"

/* No VM costs a million an hour; more is a slip of the pen. */
#define PRICE_MOST 1e6
#define VCPUS_MOST 100000
#define MEMORY_MIB_MOST (INT64_C(1) << 30)
#define GPUS_MOST 1024

struct row {
	const char *region, *type;
	const char *family; /* NULL: the file says nothing of the type but its price */
	int64_t vcpus, memory_mib, gpus;
	unsigned tees;
	int64_t on_demand_micros, spot_micros; /* 0: not known */
};

struct prices {
	json_t *file; /* owns the strings */
	const char *date, *source, *currency;
	struct row *rows; /* sorted by region, then type */
	size_t count;
};

/* ---- reading ----------------------------------------------------------------------------------------------- */

static int check_members(const json_t *object, const char *name, const char *const *known,
	struct error *err)
{
	if (!json_is_object(object))
		return error_set(err, ERROR_INVALID, "%s must be an object", name);
	for (void *i = json_object_iter((json_t *)object); i;
		i = json_object_iter_next((json_t *)object, i)) {
		const char *key = json_object_iter_key(i);
		const char *const *one = known;
		while (*one && strcmp(*one, key) != 0)
			one++;
		if (!*one)
			return error_set(err, ERROR_INVALID, "%s: \"%s\" is not known here", name,
				key);
	}
	return 0;
}

/* A string that stays the file's. */
static int borrow_string(const json_t *object, const char *name, const char *key, const char **out,
	struct error *err)
{
	cleanup(free_ptr) char *checked = NULL;
	if (json_read_string(object, name, key, JSON_REQUIRED, &checked, err) < 0)
		return -1;
	if (!*checked)
		return error_set(err, ERROR_INVALID, "%s: \"%s\" is empty", name, key);
	*out = json_string_value(json_object_get(object, key));
	return 0;
}

static int read_price(const json_t *object, const char *name, const char *key, int64_t *micros,
	struct error *err)
{
	const json_t *value = json_object_get(object, key);
	if (!value)
		return 0;
	double price = json_is_number(value) ? json_number_value(value) : 0;
	/* What rounds to nothing would count as not known. */
	if (!(price >= 1e-6 && price <= PRICE_MOST))
		return error_set(err, ERROR_INVALID,
			"%s: \"%s\" must be a number from 0.000001 to %.0f, the price of an hour",
			name, key, PRICE_MOST);
	*micros = (int64_t)(price * 1e6 + 0.5);
	return 0;
}

static int read_type(const json_t *type, const char *name, struct row *row, struct error *err)
{
	static const char *const known[] = {"family", "vcpus", "memory_mib", "gpus", "tees", NULL};
	if (check_members(type, name, known, err) < 0 ||
		borrow_string(type, name, "family", &row->family, err) < 0 ||
		json_read_int(type, name, "vcpus", JSON_REQUIRED, 1, VCPUS_MOST, &row->vcpus, err) <
			0 ||
		json_read_int(type, name, "memory_mib", JSON_REQUIRED, 1, MEMORY_MIB_MOST,
			&row->memory_mib, err) < 0 ||
		json_read_int(type, name, "gpus", JSON_OPTIONAL, 0, GPUS_MOST, &row->gpus, err) < 0)
		return -1;
	return tees_from_json(type, name, "tees", &row->tees, err);
}

static int read_row(const json_t *types, const char *name, const json_t *entry, struct row *row,
	struct error *err)
{
	static const char *const known[] = {"on_demand", "spot", "tees", NULL};
	cleanup(buf_free) struct buf where = BUF_INIT;
	const json_t *type = json_object_get(types, row->type);
	if (type) {
		buf_printf(&where, "%s: types: %s", name, row->type);
		if (read_type(type, buf_text(&where), row, err) < 0)
			return -1;
		where.len = 0;
	}
	buf_printf(&where, "%s: regions: %s: %s", name, row->region, row->type);
	if (check_members(entry, buf_text(&where), known, err) < 0 ||
		read_price(entry, buf_text(&where), "on_demand", &row->on_demand_micros, err) < 0 ||
		read_price(entry, buf_text(&where), "spot", &row->spot_micros, err) < 0)
		return -1;
	return tees_from_json(entry, buf_text(&where), "tees", &row->tees, err);
}

static int read_region(struct prices *prices, const char *name, const char *region,
	const json_t *types, json_t *entries, struct error *err)
{
	size_t more = json_object_size(entries);
	if (!json_is_object(entries))
		return error_set(err, ERROR_INVALID, "%s: regions: %s must be an object", name,
			region);
	if (!more)
		return 0;
	struct row *grown = reallocarray(prices->rows, prices->count + more, sizeof(*grown));
	if (!grown)
		return error_set(err, ERROR_CAPACITY, "%s: out of memory", name);
	prices->rows = grown;
	const char *type;
	json_t *entry;
	json_object_foreach(entries, type, entry)
	{
		struct row row = {.region = region, .type = type};
		if (read_row(types, name, entry, &row, err) < 0)
			return -1;
		prices->rows[prices->count++] = row;
	}
	return 0;
}

static int compare(const void *left, const void *right)
{
	const struct row *a = left, *b = right;
	int order = strcmp(a->region, b->region);
	return order ? order : strcmp(a->type, b->type);
}

static bool is_date(const char *text)
{
	static const char form[] = "0000-00-00";
	for (size_t i = 0; i < sizeof(form); i++) {
		bool digit = text[i] >= '0' && text[i] <= '9';
		if (form[i] == '0' ? !digit : text[i] != form[i])
			return false;
	}
	return true;
}

static int read_head(struct prices *prices, const char *provider, const char *name,
	struct error *err)
{
	static const char *const known[] = {"provider", "date", "source", "currency", "types",
		"regions", NULL};
	const char *of;
	if (check_members(prices->file, name, known, err) < 0 ||
		borrow_string(prices->file, name, "provider", &of, err) < 0 ||
		borrow_string(prices->file, name, "date", &prices->date, err) < 0 ||
		borrow_string(prices->file, name, "source", &prices->source, err) < 0 ||
		borrow_string(prices->file, name, "currency", &prices->currency, err) < 0)
		return -1;
	if (strcmp(of, provider) != 0)
		return error_set(err, ERROR_INVALID, "%s: it has the prices of %s, not of %s", name,
			of, provider);
	if (!is_date(prices->date))
		return error_set(err, ERROR_INVALID, "%s: \"date\" is \"%s\", not like 2026-11-01",
			name, prices->date);
	return 0;
}

struct prices *prices_read(const char *provider, const char *name, const void *text, size_t len,
	struct error *err)
{
	cleanup(prices_free_ptr) struct prices *prices = calloc(1, sizeof(*prices));
	if (!prices) {
		error_set(err, ERROR_CAPACITY, "%s: out of memory", name);
		return NULL;
	}
	prices->date = prices->source = prices->currency = "";
	prices->file = json_parse(name, text, len, PRICES_SIZE_MAX, false, err);
	if (!prices->file || read_head(prices, provider, name, err) < 0)
		return NULL;
	json_t *types = json_object_get(prices->file, "types");
	json_t *regions = json_object_get(prices->file, "regions");
	if ((types && !json_is_object(types)) || !json_is_object(regions)) {
		error_set(err, ERROR_INVALID, "%s: \"%s\" must be an object", name,
			json_is_object(regions) ? "types" : "regions");
		return NULL;
	}
	const char *region;
	json_t *entries;
	json_object_foreach(regions, region, entries)
	{
		if (read_region(prices, name, region, types, entries, err) < 0)
			return NULL;
	}
	if (prices->count)
		qsort(prices->rows, prices->count, sizeof(*prices->rows), compare);
	return take_ptr(prices);
}

/* prices/<provider>.json beside the file that this code is in. NULL: not known. */
static char *own_path(const char *provider)
{
	static const char here; /* in the same file as this code */
	Dl_info info;
	if (!dladdr(&here, &info) || !info.dli_fname)
		return NULL;
	cleanup(free_ptr) char *file = realpath(info.dli_fname, NULL);
	char *path;
	if (!file || asprintf(&path, "%s/prices/%s.json", dirname(file), provider) < 0)
		return NULL;
	return path;
}

struct prices *prices_load(const char *provider, const char *path, struct error *err)
{
	cleanup(free_ptr) char *own = *path ? NULL : own_path(provider);
	const char *file = *path ? path : own;
	cleanup(buf_free) struct buf text = BUF_INIT;
	cleanup_error why = ERROR_INIT;
	if (!file)
		error_set(&why, ERROR_GONE, "the folder of this program is not known");
	else if (file_read(file, PRICES_SIZE_MAX, &text, &why) == 0)
		return prices_read(provider, file, text.data, text.len, err);
	if (*path || why.kind != ERROR_GONE) {
		error_prefix(&why, "prices");
		error_move(err, &why);
		return NULL;
	}
	log_info("%s: no prices are known (%s): instance types rank by size", provider,
		error_message(&why));
	struct prices *empty = calloc(1, sizeof(*empty));
	if (!empty)
		error_set(err, ERROR_CAPACITY, "prices: out of memory");
	else
		empty->date = empty->source = empty->currency = "";
	return empty;
}

void prices_free(struct prices *prices)
{
	if (!prices)
		return;
	json_decref(prices->file);
	free(prices->rows);
	free(prices);
}

/* ---- asking ------------------------------------------------------------------------------------------------ */

const char *prices_date(const struct prices *prices)
{
	return prices->date;
}

const char *prices_source(const struct prices *prices)
{
	return prices->source;
}

const char *prices_currency(const struct prices *prices)
{
	return prices->currency;
}

void prices_tell(const struct prices *prices, const char **date, const char **source,
	const char **currency)
{
	*date = prices->date;
	*source = prices->source;
	*currency = prices->currency;
}

void prices_apply(const struct prices *prices, const char *region, struct offering *list,
	size_t count)
{
	for (size_t i = 0; prices->count && i < count; i++) {
		struct row wanted = {.region = region, .type = list[i].type};
		const struct row *row = bsearch(&wanted, prices->rows, prices->count,
			sizeof(*prices->rows), compare);
		int64_t price = !row ? 0 : list[i].spot ? row->spot_micros : row->on_demand_micros;
		if (price)
			list[i].price_micros = price;
		else if (row && list[i].spot)
			list[i].most_micros = row->on_demand_micros;
	}
}

static int no_such_region(const struct prices *prices, const char *region, struct error *err)
{
	error_set(err, ERROR_GONE, "there are no prices of region \"%s\"", region);
	const char *last = "";
	for (size_t i = 0; i < prices->count; i++) {
		if (!strcmp(last, prices->rows[i].region))
			continue;
		error_append(err, "%s%s", *last ? ", " : "; there are of ", prices->rows[i].region);
		last = prices->rows[i].region;
	}
	return -1;
}

int prices_catalogue(const struct prices *prices, const char *region, struct offering **list,
	size_t *count, struct error *err)
{
	struct offering *found = calloc(prices->count * 2 + 1, sizeof(*found));
	if (!found)
		return error_set(err, ERROR_CAPACITY, "catalogue of prices: out of memory");
	size_t n = 0;
	for (size_t i = 0; i < prices->count; i++) {
		const struct row *row = &prices->rows[i];
		if (strcmp(row->region, region) != 0 || !row->family)
			continue;
		struct offering one = {.type = row->type,
			.family = row->family,
			.zone = "",
			.vcpus = row->vcpus,
			.memory_mib = row->memory_mib,
			.gpus = row->gpus,
			.tees = row->tees,
			.price_micros = row->on_demand_micros};
		found[n++] = one;
		one.spot = true;
		one.price_micros = row->spot_micros;
		if (one.price_micros)
			found[n++] = one;
	}
	if (!n) {
		free(found);
		return no_such_region(prices, region, err);
	}
	*list = found;
	*count = n;
	return 0;
}
