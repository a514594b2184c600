/* SPDX-License-Identifier: Apache-2.0 */
/* cloudinit.c - fuzz: reading user data never misbehaves, and what was read can be written and read again */
#include <stdint.h>
#include <string.h>
#include "cloudinit/cloudinit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_error err = ERROR_INIT;
	cleanup(cloudinit_free) struct cloudinit first = {0}, second = {0};
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (cloudinit_read((const char *)data, size, &first, &err) < 0 ||
		cloudinit_write(first.files, first.count, &text, &err) < 0)
		return 0;
	if (cloudinit_read(buf_text(&text), text.len, &second, &err) < 0 ||
		second.count != first.count)
		abort();
	for (size_t i = 0; i < first.count; i++) {
		const struct cloudinit_file *a = &first.files[i], *b = &second.files[i];
		size_t gains = a->len && a->content[a->len - 1] != '\n';
		if (strcmp(a->path, b->path) != 0 || b->len != a->len + gains ||
			(a->len && memcmp(a->content, b->content, a->len) != 0))
			abort();
	}
	return 0;
}
