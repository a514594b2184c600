/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secret.h - bytes that must not reach a log, an argument list or a file others can read
 *
 * A struct secret is not a pointer to characters, so no printf format takes it: whoever wants the
 * bytes has to say secret_reveal() where a reader of the code can see it. Freed bytes are
 * overwritten.
 */
#ifndef PEERPOD_BASE_SECRET_H
#define PEERPOD_BASE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

struct secret {
	char *bytes_; /* owned, NUL-terminated; use secret_reveal */
	size_t len;
};

#define SECRET_INIT ((struct secret){0})

/* Copies. false: no memory. */
bool secret_set(struct secret *s, const char *bytes, size_t len);

/* The bytes, NUL-terminated, never NULL; owned by the secret. */
const char *secret_reveal(const struct secret *s);

static inline bool secret_is_empty(const struct secret *s)
{
	return s->len == 0;
}

void secret_free(struct secret *s);

#define cleanup_secret cleanup(secret_free) struct secret

#endif
