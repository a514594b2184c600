/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - see log.h
 *
 * A line is built whole and written with one write(2), so lines of several threads and processes do
 * not mix. Control characters in the text are escaped: a peer's message cannot forge a line.
 */
#include "base/log.h"

#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/utf8.h"

static struct {
	const char *program;
	enum log_level level;
	enum log_format format;
	bool never_wait;
	unsigned lost; /* lines, since one was written */
} settings = {.program = "peerpod", .level = LOG_INFO};

static _Thread_local struct log_context thread_context;

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const format_names[] = {"text", "json"};

void log_init(const char *program, enum log_level level, enum log_format format)
{
	settings.program = program;
	settings.level = level;
	settings.format = format;
}

void log_never_wait(void)
{
	settings.never_wait = true;
}

int log_level_parse(const char *text, enum log_level *level, struct error *err)
{
	for (size_t i = 0; i < array_size(level_names); i++) {
		if (!strcmp(text, level_names[i])) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return error_set(err, ERROR_INVALID,
		"\"%s\" is no log level: use debug, info, warn or error", text);
}

int log_format_parse(const char *text, enum log_format *format, struct error *err)
{
	for (size_t i = 0; i < array_size(format_names); i++) {
		if (!strcmp(text, format_names[i])) {
			*format = (enum log_format)i;
			return 0;
		}
	}
	return error_set(err, ERROR_INVALID, "\"%s\" is no log format: use text or json", text);
}

bool log_enabled(enum log_level level)
{
	return level >= settings.level;
}

struct log_context log_context_set(struct log_context context)
{
	struct log_context previous = thread_context;
	thread_context = context;
	return previous;
}

struct log_context log_context_get(void)
{
	return thread_context;
}

void log_context_restore(struct log_context *previous)
{
	thread_context = *previous;
}

static void append_escaped(struct buf *line, const char *text, bool json)
{
	size_t len = strlen(text);
	for (size_t at = 0; at < len;) {
		unsigned char c = (unsigned char)text[at];
		size_t size = utf8_character(text + at, len - at);
		if (c == '\n')
			buf_printf(line, "\\n");
		else if (c < 0x20 || c == 0x7f)
			buf_printf(line, "\\u%04x", c);
		else if (json && (c == '"' || c == '\\'))
			buf_printf(line, "\\%c", c);
		else if (size)
			buf_append(line, text + at, size);
		else
			buf_append(line, "?", 1);
		at += size ? size : 1;
	}
}

static void append_field(struct buf *line, const char *key, const char *value)
{
	if (!value || !*value)
		return;
	bool json = settings.format == LOG_JSON;
	buf_printf(line, json ? ",\"%s\":\"" : " %s=", key);
	append_escaped(line, value, json);
	if (json)
		buf_printf(line, "\"");
}

/* Is there room for a line of up to PIPE_BUF bytes? Counts one that has none. */
static bool may_write(void)
{
	struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
	if (!settings.never_wait || poll(&fd, 1, 0) > 0)
		return true;
	settings.lost++;
	return false;
}

static void write_line(const char *line, size_t len)
{
	if (!may_write())
		return;
	unsigned lost = settings.lost;
	if (lost) {
		settings.lost = 0;
		log_write(LOG_WARN, &(struct log_context){0},
			"%u lines are missing here: whoever reads this log did not take them",
			lost);
		settings.lost = settings.lost ? lost : 0;
		if (!may_write())
			return;
	}
	bool cut = settings.never_wait && len > PIPE_BUF;
	ssize_t written = write(STDERR_FILENO, line, cut ? PIPE_BUF - 1 : len);
	if (cut)
		written = write(STDERR_FILENO, "\n", 1);
	(void)written; /* there is nowhere left to say so */
}

void log_write(enum log_level level, const struct log_context *context, const char *format, ...)
{
	if (!log_enabled(level))
		return;
	if (!context)
		context = &thread_context;

	cleanup(free_ptr) char *message = NULL;
	va_list args;
	va_start(args, format);
	if (vasprintf(&message, format, args) < 0)
		message = NULL;
	va_end(args);

	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	struct tm tm;
	gmtime_r(&now.tv_sec, &tm);
	char stamp[40];
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);

	cleanup(buf_free) struct buf line = BUF_INIT;
	bool json = settings.format == LOG_JSON;
	buf_printf(&line,
		json ? "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"program\":\"%s\",\"message\":\""
		     : "%s.%03ldZ %s %s: ",
		stamp, now.tv_nsec / 1000000, level_names[level], settings.program);
	append_escaped(&line, message ? message : "out of memory", json);
	if (json)
		buf_printf(&line, "\"");
	append_field(&line, "sandbox", context->sandbox);
	append_field(&line, "namespace", context->pod_namespace);
	append_field(&line, "pod", context->pod);
	buf_printf(&line, json ? "}\n" : "\n");
	if (line.data && !line.failed)
		write_line(buf_text(&line), line.len);
}
