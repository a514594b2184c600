/* SPDX-License-Identifier: Apache-2.0 */
/* request.c - see request.h */
#include "peerpodctl/request.h"

#include <inttypes.h>
#include <string.h>

#include "peerpodctl/amount.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/list.h"
#include "providers/choice/tee_names.h"

#define LINE_MAX_BYTES ((size_t)64 * 1024)
#define NAMES_MOST 1000

int tee_parse(const char *text, unsigned *tees, struct error *err)
{
	*tees = *text && strcmp(text, "none") != 0 ? tee_of_name(text, strlen(text)) : 0;
	if (*tees || !*text || !strcmp(text, "none"))
		return 0;
	return error_set(err, ERROR_INVALID, "\"%.40s\" is none of: snp, tdx, sev, none", text);
}

static int read_names(const json_t *object, const char *key, char ***out, struct error *err)
{
	const json_t *list = json_object_get(object, key);
	size_t count = json_array_size(list);
	if (!list)
		return 0;
	if (!json_is_array(list) || count > NAMES_MOST)
		return error_set(err, ERROR_INVALID, "\"%s\" must be a list of at most %d names",
			key, NAMES_MOST);
	*out = calloc(count + 1, sizeof(**out));
	for (size_t i = 0; *out && i < count; i++) {
		const char *name = json_string_value(json_array_get(list, i));
		if (!name || !*name)
			return error_set(err, ERROR_INVALID, "item %zu of \"%s\" is no name", i + 1,
				key);
		(*out)[i] = strdup(name);
		if (!(*out)[i])
			return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	return *out ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}

static int check_members(const json_t *object, struct error *err)
{
	static const char *const known[] = {"vcpu", "memory", "gpu", "tee", "types", "zones",
		"spot"};
	if (!json_is_object(object))
		return error_set(err, ERROR_INVALID, "it must be an object");
	for (void *i = json_object_iter((json_t *)object); i;
		i = json_object_iter_next((json_t *)object, i)) {
		size_t n = 0;
		while (n < array_size(known) && strcmp(known[n], json_object_iter_key(i)) != 0)
			n++;
		if (n == array_size(known))
			return error_set(err, ERROR_INVALID,
				"\"%.40s\" is not known: there are vcpu, memory, gpu, tee, types, zones and spot",
				json_object_iter_key(i));
	}
	return 0;
}

static int read_members(const json_t *object, struct request *r, struct error *err)
{
	cleanup(free_ptr) char *memory = NULL, *tee = NULL;
	if (check_members(object, err) < 0 ||
		json_read_int(object, "request", "vcpu", JSON_OPTIONAL, 0, VCPUS_MOST, &r->vcpus,
			err) < 0 ||
		json_read_int(object, "request", "gpu", JSON_OPTIONAL, 0, GPUS_MOST, &r->gpus,
			err) < 0 ||
		json_read_bool(object, "request", "spot", JSON_OPTIONAL, &r->spot, err) < 0 ||
		json_read_string(object, "request", "memory", JSON_OPTIONAL, &memory, err) < 0 ||
		json_read_string(object, "request", "tee", JSON_OPTIONAL, &tee, err) < 0)
		return -1;
	if (memory && memory_parse(memory, &r->memory_mib, err) < 0)
		return error_prefix(err, "\"memory\"");
	if (tee && tee_parse(tee, &r->tees, err) < 0)
		return error_prefix(err, "\"tee\"");
	if (read_names(object, "types", &r->types, err) < 0)
		return -1;
	return read_names(object, "zones", &r->zones, err);
}

int request_read(const char *text, size_t len, struct request *request, struct error *err)
{
	*request = (struct request){0};
	cleanup_json *object = json_parse("request", text, len, LINE_MAX_BYTES, false, err);
	if (object && read_members(object, request, err) == 0)
		return 0;
	request_free(request);
	return -1;
}

void request_free(struct request *request)
{
	list_free(request->types);
	list_free(request->zones);
	*request = (struct request){0};
}

struct choice_request request_wish(const struct request *request)
{
	bool zones = request->zones && *request->zones;
	return (struct choice_request){
		.vcpus = request->vcpus,
		.memory_mib = request->memory_mib,
		.gpus = request->gpus,
		.tees = request->tees,
		.allowed = (const char *const *)request->types,
		.zones = zones ? (const char *const *)request->zones : NULL,
		.spot = request->spot,
		.on_demand = true,
		.any_type = true,
	};
}

void request_print(const struct request *request, struct buf *out)
{
	size_t before = out->len;
	if (request->vcpus)
		buf_printf(out, "%" PRId64 " vCPU", request->vcpus);
	if (request->memory_mib) {
		buf_append_text(out, out->len > before ? ", " : "");
		choice_memory_size(request->memory_mib, out);
	}
	if (request->gpus)
		buf_printf(out, "%s%" PRId64 " GPU", out->len > before ? ", " : "", request->gpus);
	if (request->tees) {
		buf_append_text(out, out->len > before ? ", " : "");
		tees_print(request->tees, out);
	}
	if (out->len == before)
		buf_append_text(out, "any size");
	buf_append_text(out, request->spot ? ", on-demand or spot" : "");
}
