/* SPDX-License-Identifier: Apache-2.0 */
/* apf.c - fuzz: any apf.json is read or refused, and what was read is the same after being written */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "apf/apf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_error err = ERROR_INIT;
	cleanup(apf_free) struct apf first = {0}, second = {0};
	cleanup(buf_free) struct buf once = BUF_INIT, twice = BUF_INIT;
	if (apf_read(data, size, &first, &err) < 0)
		return 0;
	if (apf_write(&first, &once, &err) < 0)
		return 0; /* grown over the limit by indentation */
	if (apf_read(once.data, once.len, &second, &err) < 0 ||
		apf_write(&second, &twice, &err) < 0 || once.len != twice.len ||
		memcmp(once.data, twice.data, once.len) != 0)
		abort();
	return 0;
}
