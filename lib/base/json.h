/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - jansson with errors that say what is wrong where
 *
 * Readers take the object, a name of it for messages ("record", "apf.json: pod-network"), the key and
 * where the value goes. A missing member or null leaves *out as it was, unless required is set. A
 * member of another type is ERROR_INVALID: `apf.json: pod-network: "mtu" must be an integer`.
 */
#ifndef PEERPOD_BASE_JSON_H
#define PEERPOD_BASE_JSON_H

#include <jansson.h>
#include <stdint.h>
#include "base/error.h"

DEFINE_CLEANUP(json_t, json_decref)
#define cleanup_json cleanup(json_decref_ptr) json_t

/*
 * Parses exactly one JSON value (bytes after it are an error unless trailing is allowed), refusing
 * documents of more than max bytes and, by jansson's own limit, deep nesting. A new reference.
 */
json_t *json_parse(const char *name, const void *text, size_t len, size_t max, bool allow_trailing,
	struct error *err);

enum json_need { JSON_OPTIONAL, JSON_REQUIRED };

/* *out is a new string, freed by the caller; an earlier one is freed first. */
int json_read_string(const json_t *object, const char *name, const char *key, enum json_need need,
	char **out, struct error *err);
int json_read_int(const json_t *object, const char *name, const char *key, enum json_need need,
	int64_t min, int64_t max, int64_t *out, struct error *err);
int json_read_bool(const json_t *object, const char *name, const char *key, enum json_need need,
	bool *out, struct error *err);

#endif
