/* SPDX-License-Identifier: Apache-2.0 */
/* aws_credentials.c - what key pairs are read from: metadata and container answers, STS, profiles. The first byte chooses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "providers/aws/credentials.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || size > 1 << 16)
		return 0;
	cleanup_credentials c = {0};
	cleanup(free_ptr) char *region = NULL, *text = strndup((const char *)data + 1, size - 1);
	int result = -1;
	switch (data[0] % 4) {
	case 0:
		result = credentials_of_json("fuzz", (const char *)data + 1, size - 1, &c, NULL);
		break;
	case 1:
		result = credentials_of_sts((const char *)data + 1, size - 1, &c, NULL);
		break;
	case 2:
		result = credentials_of_profile(text, "default", true, &c, &region, NULL);
		break;
	case 3:
		result = credentials_of_profile(text, "dev", false, &c, &region, NULL);
		break;
	}
	if (result == 0 &&
		(!c.key_id || !*c.key_id || secret_is_empty(&c.secret_key) || c.expires < 0))
		abort();
	if (result < 0 && c.key_id)
		abort();
	return 0;
}
