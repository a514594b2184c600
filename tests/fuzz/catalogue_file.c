/* SPDX-License-Identifier: Apache-2.0 */
/* A saved catalogue: refused with a reason, or a sorted list of types that can be ranked. */
#include <stdlib.h>
#include <string.h>

#include "providers/choice/catalogue_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct saved_catalogue c;
	cleanup_error err = ERROR_INIT;
	if (catalogue_read("aws", "r", "file", data, size, &c, &err) < 0) {
		if (!*error_message(&err) || c.list)
			abort();
		return 0;
	}
	for (size_t i = 0; i < c.count; i++) {
		const struct offering *o = &c.list[i];
		if (!o->family || *o->zone || o->spot || o->price_micros || o->vcpus < 0 ||
			(i && strcmp(c.list[i - 1].type, o->type) >= 0))
			abort();
	}
	struct choice_request request = {.vcpus = 1, .memory_mib = 1, .default_type = "t"};
	struct choice choice;
	choice_rank(c.list, c.count, &request, NULL, &choice, NULL);
	choice_free(&choice);
	saved_catalogue_free(&c);
	return 0;
}
