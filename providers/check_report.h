/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check_report.h - what a check of the configuration against the cloud found, row by row
 *
 * A driver's check adds a row for everything it looked at: what is right, what is wrong and how to mend it, what
 * could not be found out, and what works but may not be what was meant. `cloud-api-adaptor <provider> --check` prints the rows as a table.
 */
#ifndef PEERPOD_PROVIDERS_CHECK_REPORT_H
#define PEERPOD_PROVIDERS_CHECK_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "base/cleanup.h"
#include "base/error.h"

enum check_verdict { CHECK_RIGHT, CHECK_WRONG, CHECK_UNKNOWN, CHECK_NOTE };

struct check_row {
	enum check_verdict verdict;
	enum error_kind kind; /* of what is wrong */
	char *what;           /* "image", "PODVM_AMI_ID": what was looked at */
	char *found;          /* what was seen */
	char *remedy;         /* how to mend it; "" */
};

/* A zeroed struct is an empty report. */
struct check_report {
	struct check_row *rows;
	size_t count, wrong;
	bool failed; /* memory ran out: rows are missing */
};

void check_right(struct check_report *report, const char *what, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* remedy: NULL or "" where the finding says it all. */
void check_wrong(struct check_report *report, enum error_kind kind, const char *what,
	const char *remedy, const char *format, ...) __attribute__((format(printf, 5, 6)));
void check_unknown(struct check_report *report, const char *what, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

void check_note(struct check_report *report, const char *what, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A row for an error, which is cleared: wrong; unknown where it is a timeout or a passing fault. */
void check_failure(struct check_report *report, const char *what, const char *remedy,
	struct error *err);

/*
 * The same for what nothing else can be found out without: always -1, with the failure where it is no fault of the
 * configuration. Who could not look has not found that all is right.
 */
int check_give_up(struct check_report *report, const char *what, const char *remedy,
	struct error *failed, struct error *err);

/* Rows of what could not be found out. */
size_t check_unknown_count(const struct check_report *report);

/* 0 where nothing is wrong; else the first one's kind, and all that is wrong in one message. */
int check_conclude(const struct check_report *report, struct error *err);

void check_report_print(const struct check_report *report, FILE *out);
void check_report_free(struct check_report *report);
#define cleanup_report cleanup(check_report_free) struct check_report

#endif
