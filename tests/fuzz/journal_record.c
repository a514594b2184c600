/* SPDX-License-Identifier: Apache-2.0 */
/* A record of the journal: refused or read, and what was read is written so that it is read again. */
#include <stdlib.h>

#include "adaptor/record.h"
#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_error err = ERROR_INIT;
	struct record first, second;
	if (record_read("record", data, size, &first, &err) < 0) {
		if (!*error_message(&err))
			abort();
		return 0;
	}
	cleanup(buf_wipe) struct buf text = BUF_INIT;
	if (record_write(&first, &text, &err) == 0) {
		if (record_read("record", text.data, text.len, &second, &err) < 0)
			abort();
		record_free(&second);
	}
	record_free(&first);
	return 0;
}
