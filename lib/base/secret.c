/* SPDX-License-Identifier: Apache-2.0 */
/* secret.c - see secret.h */
#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

bool secret_set(struct secret *s, const char *bytes, size_t len)
{
	char *copy = malloc(len + 1);
	if (!copy)
		return false;
	if (len)
		memcpy(copy, bytes, len);
	copy[len] = 0;
	secret_free(s);
	*s = (struct secret){.bytes_ = copy, .len = len};
	return true;
}

const char *secret_reveal(const struct secret *s)
{
	return s->bytes_ ? s->bytes_ : "";
}

void secret_free(struct secret *s)
{
	if (s->bytes_)
		explicit_bzero(s->bytes_, s->len);
	free(s->bytes_);
	*s = SECRET_INIT;
}
