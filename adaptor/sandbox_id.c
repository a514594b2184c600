/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox_id.c - see sandbox_id.h */
#include "adaptor/sandbox_id.h"

#include <string.h>

/* containerd's and CRI-O's ids have 64 characters. */
#define SANDBOX_ID_MAX 128
#define ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

int sandbox_id_check(const char *id, struct error *err)
{
	if (!*id)
		return error_set(err, ERROR_INVALID, "empty sandbox id");
	if (strlen(id) > SANDBOX_ID_MAX)
		return error_set(err, ERROR_INVALID,
			"sandbox id of %zu characters: more than the limit of %d", strlen(id),
			SANDBOX_ID_MAX);
	if (!strchr(ALPHANUMERIC, *id) || strspn(id, ALPHANUMERIC "._-") != strlen(id))
		return error_set(err, ERROR_INVALID,
			"sandbox id \"%.80s\" may hold letters, digits, '.', '_' and '-' only, and begins with a "
			"letter or digit",
			id);
	return 0;
}
