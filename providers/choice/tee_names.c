/* SPDX-License-Identifier: Apache-2.0 */
/* tee_names.c - see tee_names.h */
#include "providers/choice/tee_names.h"

#include <string.h>

static const struct {
	const char *name;
	unsigned bit;
} tees_known[] = {
	{"snp", CHOICE_TEE_SNP},
	{"tdx", CHOICE_TEE_TDX},
	{"sev", CHOICE_TEE_SEV},
};

unsigned tee_of_name(const char *text, size_t len)
{
	for (size_t i = 0; i < array_size(tees_known); i++) {
		if (strlen(tees_known[i].name) == len && !memcmp(tees_known[i].name, text, len))
			return tees_known[i].bit;
	}
	return 0;
}

void tees_print(unsigned tees, struct buf *out)
{
	const char *between = "";
	for (size_t i = 0; i < array_size(tees_known); i++) {
		if (!(tees & tees_known[i].bit))
			continue;
		buf_printf(out, "%s%s", between, tees_known[i].name);
		between = ", ";
	}
}

json_t *tees_to_json(unsigned tees)
{
	cleanup_json *list = json_array();
	for (size_t i = 0; list && i < array_size(tees_known); i++) {
		if ((tees & tees_known[i].bit) &&
			json_array_append_new(list, json_string(tees_known[i].name)) < 0)
			return NULL;
	}
	return take_ptr(list);
}

int tees_from_json(const json_t *object, const char *name, const char *key, unsigned *tees,
	struct error *err)
{
	const json_t *list = json_object_get(object, key);
	if (!list)
		return 0;
	if (!json_is_array(list))
		return error_set(err, ERROR_INVALID,
			"%s: \"%s\" must be a list of \"snp\", \"tdx\" and \"sev\"", name, key);
	unsigned found = 0;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);
		unsigned bit = json_is_string(one) ? tee_of_name(json_string_value(one),
							     json_string_length(one))
						   : 0;
		if (!bit)
			return error_set(err, ERROR_INVALID,
				"%s: item %zu of \"%s\" is none of \"snp\", \"tdx\" and \"sev\"",
				name, i + 1, key);
		found |= bit;
	}
	*tees = found;
	return 0;
}
