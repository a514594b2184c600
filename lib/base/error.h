/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.h - the one error object
 *
 * A function that can fail returns -1 (or NULL) and fills the struct error that came last in its
 * arguments. The kind is what a caller may decide on; the message is for people and gains a prefix
 * on each floor: "start pod default/web: create instance: no space left in pool default".
 *
 * A NULL error pointer is allowed everywhere: the failure is then told by the return value alone.
 */
#ifndef PEERPOD_BASE_ERROR_H
#define PEERPOD_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>
#include "base/cleanup.h"

enum error_kind {
	ERROR_NONE = 0,
	ERROR_INTERNAL,    /* ours to fix; also what nobody classified */
	ERROR_INVALID,     /* the request or the configuration is wrong: do not try again */
	ERROR_GONE,        /* what was named does not exist (any more) */
	ERROR_EXISTS,      /* what was to be made is there already */
	ERROR_DENIED,      /* credentials, permissions, certificates */
	ERROR_RETRY,       /* a passing fault: the same call may succeed later */
	ERROR_THROTTLED,   /* told to slow down */
	ERROR_CAPACITY,    /* no room just now: another place may have it */
	ERROR_QUOTA,       /* a limit of the account or the node */
	ERROR_TIMEOUT,     /* the deadline passed */
	ERROR_CANCELED,    /* the caller gave up */
	ERROR_UNSUPPORTED, /* the peer or the machine cannot do this */
};

struct error {
	enum error_kind kind;
	int status;    /* the peer's own status code (ttrpc, HTTP) where there is one, else 0 */
	char *message; /* owned; NULL where there is no error */
};

#define ERROR_INIT ((struct error){0})

/* "invalid", "gone", ... */
const char *error_kind_name(enum error_kind kind);

/* The message, never NULL. */
const char *error_message(const struct error *err);

/*
 * These are macros so that every caller, and every analyzer, sees that the result is -1.
 *
 * error_set: sets kind and message; what was there before is replaced.
 * error_set_errno: the same, with ": " and the text of errnum added; the kind is picked from errnum.
 * error_prefix: puts "prefix: " before the message. Keeps kind and status.
 * error_append: adds to the end of the message: what to do next, the tail of a log.
 */
#define error_set(...)                   \
	({                               \
		error_set_(__VA_ARGS__); \
		-1;                      \
	})
#define error_set_errno(...)                   \
	({                                     \
		error_set_errno_(__VA_ARGS__); \
		-1;                            \
	})
#define error_prefix(...)                   \
	({                                  \
		error_prefix_(__VA_ARGS__); \
		-1;                         \
	})
#define error_append(...)                   \
	({                                  \
		error_append_(__VA_ARGS__); \
		-1;                         \
	})

void error_set_(struct error *err, enum error_kind kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void error_set_errno_(struct error *err, int errnum, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void error_prefix_(struct error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void error_append_(struct error *err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

void error_clear(struct error *err);

/* Moves *from to *to (which may be NULL) and clears *from. The result is -1. */
#define error_move(to, from)           \
	({                             \
		error_move_(to, from); \
		-1;                    \
	})
void error_move_(struct error *to, struct error *from);

#define cleanup_error cleanup(error_clear) struct error

#endif
