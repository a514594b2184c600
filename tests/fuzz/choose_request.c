/* SPDX-License-Identifier: Apache-2.0 */
/* A line of requests: refused with a reason, or a wish that can be ranked and said. */
#include <stdlib.h>

#include "peerpodctl/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct offering one[] = {
		{"t", "f", "z", false, 2, 4096, 0, CHOICE_TEE_SNP, 0, 0, 7}};
	cleanup(request_free) struct request request = {0};
	cleanup_error err = ERROR_INIT;
	if (request_read((const char *)data, size, &request, &err) < 0) {
		if (!*error_message(&err))
			abort();
		return 0;
	}
	struct choice_request wish = request_wish(&request);
	struct choice choice;
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (wish.vcpus < 0 || wish.memory_mib < 0 || wish.gpus < 0)
		abort();
	choice_rank(one, 1, &wish, NULL, &choice, NULL);
	if (choice.count != 1)
		abort();
	choice_free(&choice);
	request_print(&request, &text);
	if (!text.len)
		abort();
	return 0;
}
