/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_report.c - see check_report.h. Part of the program that loads drivers, as instance.c is.
 */
#include "providers/check_report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static void row_free(struct check_row *row)
{
	free(row->what);
	free(row->found);
	free(row->remedy);
	*row = (struct check_row){0};
}

__attribute__((format(printf, 6, 0))) static void add(struct check_report *report,
	enum check_verdict verdict, enum error_kind kind, const char *what, const char *remedy,
	const char *format, va_list args)
{
	struct check_row row = {.verdict = verdict,
		.kind = kind,
		.what = strdup(what),
		.remedy = strdup(remedy ? remedy : "")};
	struct check_row *grown = reallocarray(report->rows, report->count + 1, sizeof(*grown));
	if (vasprintf(&row.found, format, args) < 0)
		row.found = NULL;
	if (grown)
		report->rows = grown;
	report->wrong += verdict == CHECK_WRONG;
	if (!grown || !row.what || !row.remedy || !row.found) {
		report->failed = true;
		row_free(&row);
		return;
	}
	grown[report->count++] = row;
}

void check_right(struct check_report *report, const char *what, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add(report, CHECK_RIGHT, ERROR_NONE, what, NULL, format, args);
	va_end(args);
}

void check_wrong(struct check_report *report, enum error_kind kind, const char *what,
	const char *remedy, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add(report, CHECK_WRONG, kind, what, remedy, format, args);
	va_end(args);
}

void check_unknown(struct check_report *report, const char *what, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add(report, CHECK_UNKNOWN, ERROR_NONE, what, NULL, format, args);
	va_end(args);
}

void check_note(struct check_report *report, const char *what, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	add(report, CHECK_NOTE, ERROR_NONE, what, NULL, format, args);
	va_end(args);
}

void check_failure(struct check_report *report, const char *what, const char *remedy,
	struct error *err)
{
	bool passing = err->kind == ERROR_RETRY || err->kind == ERROR_THROTTLED ||
		       err->kind == ERROR_TIMEOUT || err->kind == ERROR_CANCELED;
	if (passing)
		check_unknown(report, what, "%s", error_message(err));
	else
		check_wrong(report, err->kind, what, remedy, "%s", error_message(err));
	error_clear(err);
}

int check_give_up(struct check_report *report, const char *what, const char *remedy,
	struct error *failed, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	error_set(&why, failed->kind, "%s: %s", what, error_message(failed));
	check_failure(report, what, remedy, failed);
	return check_conclude(report, err) < 0 ? -1 : error_move(err, &why);
}

size_t check_unknown_count(const struct check_report *report)
{
	size_t count = 0;
	for (size_t i = 0; i < report->count; i++)
		count += report->rows[i].verdict == CHECK_UNKNOWN;
	return count;
}

int check_conclude(const struct check_report *report, struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	enum error_kind kind = ERROR_NONE;
	if (report->failed)
		return error_set(err, ERROR_CAPACITY, "check: out of memory");
	for (size_t i = 0; i < report->count; i++) {
		const struct check_row *row = &report->rows[i];
		if (row->verdict != CHECK_WRONG)
			continue;
		kind = kind == ERROR_NONE ? row->kind : kind;
		buf_printf(&text, "%s%s: %s", text.len ? "; " : "", row->what, row->found);
		if (*row->remedy)
			buf_printf(&text, " (%s)", row->remedy);
	}
	return report->wrong ? error_set(err, kind, "%s", buf_text(&text)) : 0;
}

void check_report_print(const struct check_report *report, FILE *out)
{
	static const char *const names[] = {[CHECK_RIGHT] = "right",
		[CHECK_WRONG] = "WRONG",
		[CHECK_UNKNOWN] = "unknown",
		[CHECK_NOTE] = "note"};
	int width = 0;
	for (size_t i = 0; i < report->count; i++) {
		int len = (int)strlen(report->rows[i].what);
		width = len > width ? len : width;
	}
	for (size_t i = 0; i < report->count; i++) {
		const struct check_row *row = &report->rows[i];
		fprintf(out, "  %-8s %-*s  %s\n", names[row->verdict], width, row->what,
			row->found);
		if (*row->remedy)
			fprintf(out, "  %-8s %-*s  to mend: %s\n", "", width, "", row->remedy);
	}
}

void check_report_free(struct check_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		row_free(&report->rows[i]);
	free(report->rows);
	*report = (struct check_report){0};
}
