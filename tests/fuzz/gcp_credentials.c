/* SPDX-License-Identifier: Apache-2.0 */
/* gcp_credentials.c - credential files, token answers and refusals, subject tokens, times. The first byte chooses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "providers/gcp/encode.h"
#include "providers/gcp/token.h"

static void fuzz_credentials(const char *text, size_t size)
{
	cleanup_credentials c = {0};
	cleanup_error err = ERROR_INIT;
	int result = credentials_read("fuzz", text, size, &c, &err);
	if (result == 0 && (!c.universe || !c.token_url || url_check("x", c.token_url, NULL) < 0))
		abort();
	if (result < 0 && (c.universe || err.kind == ERROR_NONE))
		abort();
}

/* A token goes into a header as it is. */
static void check_token(int result, const struct secret *token)
{
	const char *text = secret_reveal(token);
	if (result == 0 && (!*text || strpbrk(text, " \r\n\t") || strlen(text) != token->len))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || size > 1 << 16)
		return 0;
	const char *text = (const char *)data + 1;
	cleanup_secret token = SECRET_INIT;
	cleanup_error err = ERROR_INIT;
	uint64_t lives_ns = 0;
	bool clock;
	int64_t when;
	char *copy = NULL;
	switch (data[0] % 7) {
	case 0:
		fuzz_credentials(text, size - 1);
		break;
	case 1:
		check_token(token_read("fuzz", text, size - 1, &token, &lives_ns, NULL), &token);
		break;
	case 2:
		check_token(impersonated_token_read(text, size - 1, 1773569730, &token, &lives_ns,
				    NULL),
			&token);
		break;
	case 3:
		token_failure_read("fuzz", 100 + data[0] * 2, text, size - 1, &clock, &err);
		if (err.kind == ERROR_NONE)
			abort();
		break;
	case 4:
		check_token(subject_token_read("fuzz", text, size - 1, NULL, &token, NULL), &token);
		break;
	case 5:
		check_token(subject_token_read("fuzz", text, size - 1, "field", &token, NULL),
			&token);
		break;
	case 6:
		copy = strndup(text, size - 1);
		if (copy)
			time_read(copy, &when);
		free(copy);
		break;
	}
	return 0;
}
