/* SPDX-License-Identifier: Apache-2.0 */
/*
 * initdata.c - fuzz: both forms of initdata, as text and encoded, are read without harm, and what parses
 * survives encoding
 */
#include <stdint.h>
#include <string.h>
#include "initdata/initdata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_error err = ERROR_INIT;
	cleanup(initdata_free) struct initdata decoded = {0}, parsed = {0}, again = {0};
	cleanup(buf_free) struct buf text = BUF_INIT;
	initdata_decode((const char *)data, size, &decoded, &err);
	if (initdata_parse((const char *)data, size, &parsed, &err) < 0)
		return 0;
	if (initdata_encode(parsed.toml, parsed.toml_len, &text, &err) < 0 ||
		initdata_decode(buf_text(&text), text.len, &again, &err) < 0 ||
		again.toml_len != size || memcmp(again.toml, data, size) != 0 ||
		again.count != parsed.count)
		abort();
	return 0;
}
