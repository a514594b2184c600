/* SPDX-License-Identifier: Apache-2.0 */
/*
 * podnetwork_json.c - fuzz the pod-network JSON: what is read can be written, and reads back as
 * the same
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "podnetwork/podnetwork.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct podnetwork first, second;
	struct error err = ERROR_INIT;
	json_t *object = json_loadb((const char *)data, size, JSON_DECODE_ANY, NULL);
	if (object && !podnetwork_from_json(object, &first, &err)) {
		json_t *written = podnetwork_to_json(&first, NULL);
		if (!written || podnetwork_from_json(written, &second, NULL))
			abort();
		json_t *again = podnetwork_to_json(&second, NULL);
		if (!again || !json_equal(written, again))
			abort();
		json_decref(written);
		json_decref(again);
		podnetwork_free(&second);
	}
	if (object)
		podnetwork_free(&first);
	error_clear(&err);
	json_decref(object);
	return 0;
}
