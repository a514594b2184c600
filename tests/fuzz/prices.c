/* SPDX-License-Identifier: Apache-2.0 */
/* A file of prices: refused with a reason, or every region named in it can be asked. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "providers/choice/prices.h"

static void ask(const struct prices *prices, const char *region)
{
	cleanup(free_ptr) struct offering *list = NULL;
	cleanup_error err = ERROR_INIT;
	size_t count = 0;
	if (prices_catalogue(prices, region, &list, &count, &err) < 0) {
		if (err.kind != ERROR_GONE || !*error_message(&err))
			abort();
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const struct offering *o = &list[i];
		if (!o->family || o->vcpus < 1 || o->memory_mib < 1 || o->gpus < 0 ||
			o->price_micros < 0 || (o->spot && !o->price_micros))
			abort();
		struct offering same = *o;
		same.price_micros = 0;
		prices_apply(prices, region, &same, 1);
		if (same.price_micros != o->price_micros)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_error err = ERROR_INIT;
	cleanup(prices_free_ptr) struct prices *prices =
		prices_read("aws", "file", data, size, &err);
	if (!prices) {
		if (!*error_message(&err))
			abort();
		return 0;
	}
	if (strlen(prices_date(prices)) != 10)
		abort();
	ask(prices, "");
	ask(prices, "r");
	cleanup_json *file = json_parse("file", data, size, size, false, NULL);
	const char *region;
	json_t *entries;
	json_object_foreach(json_object_get(file, "regions"), region, entries)
	{
		ask(prices, region);
	}
	return 0;
}
