/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue_file.c - see catalogue_file.h
 *
 * What is in the file is what a type is (sizes, what protects its memory, how much may be plugged in): facts that
 * change seldom. What a file of another version, provider or region says is not used.
 */
#include "providers/choice/catalogue_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "providers/choice/tee_names.h"

#define VERSION 1
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
#define TYPES_MOST 100000
#define NUMBER_MOST (INT64_C(1) << 40)

/* NULL: a name that would leave the folder, or no memory. */
static char *path_of(const char *folder, const char *provider, const char *region,
	struct error *err)
{
	const char *const names[] = {provider, region};
	for (size_t i = 0; i < array_size(names); i++) {
		if (*names[i] && strspn(names[i], NAME_LETTERS) == strlen(names[i]))
			continue;
		error_set(err, ERROR_INVALID,
			"saved catalogue: \"%s\" is no name of a %s: letters, digits, '-' and '_' only",
			names[i], i ? "region" : "provider");
		return NULL;
	}
	char *path;
	if (asprintf(&path, "%s/%s-%s.json", folder, provider, region) >= 0)
		return path;
	error_set(err, ERROR_CAPACITY, "saved catalogue: out of memory");
	return NULL;
}

static int by_type(const void *left, const void *right)
{
	const struct offering *const *a = left, *const *b = right;
	return strcmp((*a)->type, (*b)->type);
}

static json_t *type_to_json(const struct offering *o)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:I, s:o, s:I, s:I}", "type", o->type, "family",
		o->family ? o->family : "", "vcpus", (json_int_t)o->vcpus, "memory_mib",
		(json_int_t)o->memory_mib, "gpus", (json_int_t)o->gpus, "tees",
		tees_to_json(o->tees), "max_nics", (json_int_t)o->max_nics, "max_volumes",
		(json_int_t)o->max_volumes);
}

/* The first of each type, sorted. NULL: no memory. */
static json_t *types_to_json(const struct offering *list, size_t count)
{
	cleanup_json *types = json_array();
	cleanup(free_ptr) const struct offering **sorted =
		calloc(count + 1, sizeof(const struct offering *));
	if (!types || !sorted)
		return NULL;
	for (size_t i = 0; i < count; i++)
		sorted[i] = &list[i];
	qsort(sorted, count, sizeof(const struct offering *), by_type);
	for (size_t i = 0; i < count; i++) {
		if (i && !strcmp(sorted[i]->type, sorted[i - 1]->type))
			continue;
		if (json_array_append_new(types, type_to_json(sorted[i])) < 0)
			return NULL;
	}
	return take_ptr(types);
}

int catalogue_save(const char *folder, const char *provider, const char *region,
	const struct offering *list, size_t count, struct error *err)
{
	if (!*folder)
		return 0;
	cleanup(free_ptr) char *path = path_of(folder, provider, region, err);
	if (!path)
		return -1;
	cleanup_json *types = types_to_json(list, count);
	cleanup_json *file = types ? json_pack("{s:i, s:s, s:s, s:I, s:O}", "version", VERSION,
					     "provider", provider, "region", region, "saved_at",
					     (json_int_t)time(NULL), "types", types)
				   : NULL;
	cleanup(free_ptr) char *text = file ? json_dumps(file, JSON_INDENT(1)) : NULL;
	if (!text)
		return error_set(err, ERROR_CAPACITY, "save catalogue %s: out of memory", path);
	if (dir_make(folder, 0700, err) < 0 || file_write(path, 0644, text, strlen(text), err) < 0)
		return error_prefix(err, "save catalogue");
	return 0;
}

static int read_text(const json_t *object, const char *name, const char *key, const char **out,
	struct error *err)
{
	cleanup(free_ptr) char *checked = NULL;
	if (json_read_string(object, name, key, JSON_REQUIRED, &checked, err) < 0)
		return -1;
	*out = json_string_value(json_object_get(object, key));
	return 0;
}

static int read_type(const json_t *entry, const char *name, struct offering *o, struct error *err)
{
	if (!json_is_object(entry))
		return error_set(err, ERROR_INVALID, "%s must be an object", name);
	const struct {
		const char *key;
		int64_t min, *to;
	} numbers[] = {
		{"vcpus", 0, &o->vcpus},
		{"memory_mib", 0, &o->memory_mib},
		{"gpus", 0, &o->gpus},
		{"max_nics", 0, &o->max_nics},
		{"max_volumes", 0, &o->max_volumes},
	};
	o->zone = "";
	if (read_text(entry, name, "type", &o->type, err) < 0 ||
		read_text(entry, name, "family", &o->family, err) < 0)
		return -1;
	for (size_t i = 0; i < array_size(numbers); i++) {
		if (json_read_int(entry, name, numbers[i].key, JSON_REQUIRED, numbers[i].min,
			    NUMBER_MOST, numbers[i].to, err) < 0)
			return -1;
	}
	return tees_from_json(entry, name, "tees", &o->tees, err);
}

static int read_types(const json_t *types, const char *name, struct saved_catalogue *out,
	struct error *err)
{
	size_t count = json_array_size(types);
	if (!json_is_array(types) || count > TYPES_MOST)
		return error_set(err, ERROR_INVALID,
			"%s: \"types\" must be a list of at most %d types", name, TYPES_MOST);
	out->list = calloc(count + 1, sizeof(*out->list));
	if (!out->list)
		return error_set(err, ERROR_CAPACITY, "%s: out of memory", name);
	for (size_t i = 0; i < count; i++) {
		cleanup(buf_free) struct buf where = BUF_INIT;
		buf_printf(&where, "%s: type %zu", name, i + 1);
		if (read_type(json_array_get(types, i), buf_text(&where), &out->list[i], err) < 0)
			return -1;
		if (i && strcmp(out->list[i - 1].type, out->list[i].type) >= 0)
			return error_set(err, ERROR_INVALID,
				"%s: %s follows %s: types must be sorted, each named once", name,
				out->list[i].type, out->list[i - 1].type);
	}
	out->count = count;
	return 0;
}

static int read_file(const char *provider, const char *region, const char *name,
	struct saved_catalogue *out, struct error *err)
{
	const json_t *file = out->file;
	int64_t version;
	const char *of, *in;
	if (!json_is_object(file))
		return error_set(err, ERROR_INVALID, "%s must be an object", name);
	if (json_read_int(file, name, "version", JSON_REQUIRED, VERSION, VERSION, &version, err) <
			0 ||
		read_text(file, name, "provider", &of, err) < 0 ||
		read_text(file, name, "region", &in, err) < 0 ||
		json_read_int(file, name, "saved_at", JSON_REQUIRED, 0, NUMBER_MOST, &out->saved_at,
			err) < 0)
		return -1;
	if (strcmp(of, provider) != 0 || strcmp(in, region) != 0)
		return error_set(err, ERROR_INVALID, "%s: it is of %s in %s, not of %s in %s", name,
			of, in, provider, region);
	return read_types(json_object_get(file, "types"), name, out, err);
}

int catalogue_read(const char *provider, const char *region, const char *name, const void *text,
	size_t len, struct saved_catalogue *out, struct error *err)
{
	*out = (struct saved_catalogue){0};
	out->file = json_parse(name, text, len, CATALOGUE_SIZE_MAX, false, err);
	if (out->file && read_file(provider, region, name, out, err) == 0)
		return 0;
	saved_catalogue_free(out);
	return -1;
}

int catalogue_load(const char *folder, const char *provider, const char *region,
	struct saved_catalogue *out, struct error *err)
{
	*out = (struct saved_catalogue){0};
	if (!*folder)
		return error_set(err, ERROR_GONE, "no catalogues are saved: no folder is set");
	cleanup(free_ptr) char *path = path_of(folder, provider, region, err);
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (!path)
		return -1;
	if (file_read(path, CATALOGUE_SIZE_MAX, &text, err) < 0)
		return error_prefix(err, "saved catalogue");
	return catalogue_read(provider, region, path, text.data, text.len, out, err);
}

void saved_catalogue_free(struct saved_catalogue *catalogue)
{
	free(catalogue->list);
	json_decref(catalogue->file);
	*catalogue = (struct saved_catalogue){0};
}
