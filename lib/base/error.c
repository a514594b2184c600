/* SPDX-License-Identifier: Apache-2.0 */
/* error.c - see error.h. When memory for a message cannot be had, a fixed text takes its place. */
#include "base/error.h"

#include <errno.h>
#include <string.h>

static const char *const kind_names[] = {
	[ERROR_NONE] = "none",
	[ERROR_INTERNAL] = "internal",
	[ERROR_INVALID] = "invalid",
	[ERROR_GONE] = "gone",
	[ERROR_EXISTS] = "exists",
	[ERROR_DENIED] = "denied",
	[ERROR_RETRY] = "retry",
	[ERROR_THROTTLED] = "throttled",
	[ERROR_CAPACITY] = "capacity",
	[ERROR_QUOTA] = "quota",
	[ERROR_TIMEOUT] = "timeout",
	[ERROR_CANCELED] = "canceled",
	[ERROR_UNSUPPORTED] = "unsupported",
};

const char *error_kind_name(enum error_kind kind)
{
	return (size_t)kind < array_size(kind_names) ? kind_names[kind] : "unknown";
}

const char *error_message(const struct error *err)
{
	if (!err || err->kind == ERROR_NONE)
		return "no error";
	return err->message ? err->message : "out of memory";
}

static enum error_kind kind_of_errno(int errnum)
{
	switch (errnum) {
	case ENOENT:
	case ESRCH:
	case ENODEV:
	case ENXIO:
		return ERROR_GONE;
	case EEXIST:
		return ERROR_EXISTS;
	case EACCES:
	case EPERM:
		return ERROR_DENIED;
	case EINVAL:
	case ENAMETOOLONG:
	case ENOTDIR:
	case EISDIR:
		return ERROR_INVALID;
	case EAGAIN:
	case EINTR:
	case ECONNREFUSED:
	case ECONNRESET:
	case EPIPE:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return ERROR_RETRY;
	case ENOSPC:
	case ENOMEM:
	case EMFILE:
	case ENFILE:
		return ERROR_CAPACITY;
	case ETIMEDOUT:
		return ERROR_TIMEOUT;
	case ECANCELED:
		return ERROR_CANCELED;
	case EOPNOTSUPP:
	case ENOSYS:
	case EAFNOSUPPORT:
	case EPROTONOSUPPORT:
		return ERROR_UNSUPPORTED;
	default:
		return ERROR_INTERNAL;
	}
}

__attribute__((format(printf, 1, 0))) static char *format_message(const char *format, va_list args)
{
	char *message = NULL;
	if (vasprintf(&message, format, args) < 0)
		return NULL;
	return message;
}

void error_set_(struct error *err, enum error_kind kind, const char *format, ...)
{
	if (!err)
		return;
	va_list args;
	va_start(args, format);
	/* Formatted before the old message goes: it may be one of the arguments. */
	char *message = format_message(format, args);
	va_end(args);
	error_clear(err);
	*err = (struct error){.kind = kind, .message = message};
}

void error_set_errno_(struct error *err, int errnum, const char *format, ...)
{
	if (!err)
		return;
	va_list args;
	va_start(args, format);
	cleanup(free_ptr) char *what = format_message(format, args);
	va_end(args);
	const char *text = strerrordesc_np(errnum);
	error_set_(err, kind_of_errno(errnum), "%s: %s", what ? what : "out of memory",
		text ? text : "unknown error");
}

/* The message stays as it is where memory for a longer one cannot be had. */
static void replace_message(struct error *err, const char *before, const char *between,
	const char *after)
{
	char *message = NULL;
	if (!before || !after || asprintf(&message, "%s%s%s", before, between, after) < 0)
		return;
	free(err->message);
	err->message = message;
}

void error_prefix_(struct error *err, const char *format, ...)
{
	if (!err)
		return;
	va_list args;
	va_start(args, format);
	cleanup(free_ptr) char *prefix = format_message(format, args);
	va_end(args);
	replace_message(err, prefix, ": ", error_message(err));
}

void error_append_(struct error *err, const char *format, ...)
{
	if (!err)
		return;
	va_list args;
	va_start(args, format);
	cleanup(free_ptr) char *suffix = format_message(format, args);
	va_end(args);
	replace_message(err, error_message(err), "", suffix);
}

void error_clear(struct error *err)
{
	if (!err)
		return;
	free(err->message);
	*err = ERROR_INIT;
}

void error_move_(struct error *to, struct error *from)
{
	if (to) {
		error_clear(to);
		*to = *from;
		*from = ERROR_INIT;
	} else {
		error_clear(from);
	}
}
