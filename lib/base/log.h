/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - log lines on standard error, as text or as JSON lines
 *
 * A line that concerns one sandbox names it, its pod and its namespace. A worker thread sets the
 * context once (log_context_set, or log_scope for a block) and every line it writes carries it; an
 * event loop that serves many sandboxes uses the _ctx forms.
 *
 * Secrets are of type struct secret (secret.h), which no format takes.
 */
#ifndef PEERPOD_BASE_LOG_H
#define PEERPOD_BASE_LOG_H

#include <stdbool.h>
#include "base/error.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_context {
	const char *sandbox;       /* sandbox id; NULL where the line concerns none */
	const char *pod;           /* pod name or NULL */
	const char *pod_namespace; /* or NULL */
};

/* Once, before threads start. program is kept, not copied. */
void log_init(const char *program, enum log_level level, enum log_format format);

/*
 * For a process with one thread that must not stand still: a line for which standard error has no room, because whoever
 * reads it does not, is lost. How many were is said as soon as there is room again.
 */
void log_never_wait(void);

/* "debug" "info" "warn" "error"; "text" "json". -1 with a message that lists the choices. */
int log_level_parse(const char *text, enum log_level *level, struct error *err);
int log_format_parse(const char *text, enum log_format *format, struct error *err);

bool log_enabled(enum log_level level);

/*
 * The context of this thread. Strings are not copied: they must live until the context is set
 * anew. Returns the previous one, for restoring.
 */
struct log_context log_context_set(struct log_context context);
struct log_context log_context_get(void);

void log_context_restore(struct log_context *previous);
#define log_scope(context_)                                                                     \
	cleanup(log_context_restore) struct log_context log_previous_ __attribute__((unused)) = \
		log_context_set(context_)

void log_write(enum log_level level, const struct log_context *context, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#define log_debug(...) (log_enabled(LOG_DEBUG) ? log_write(LOG_DEBUG, NULL, __VA_ARGS__) : (void)0)
#define log_info(...) log_write(LOG_INFO, NULL, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, NULL, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, NULL, __VA_ARGS__)

#define log_debug_ctx(context, ...) \
	(log_enabled(LOG_DEBUG) ? log_write(LOG_DEBUG, context, __VA_ARGS__) : (void)0)
#define log_info_ctx(context, ...) log_write(LOG_INFO, context, __VA_ARGS__)
#define log_warn_ctx(context, ...) log_write(LOG_WARN, context, __VA_ARGS__)
#define log_error_ctx(context, ...) log_write(LOG_ERROR, context, __VA_ARGS__)

#endif
