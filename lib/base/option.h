/* SPDX-License-Identifier: Apache-2.0 */
/*
 * option.h - options as a table: flag, environment variable, default, type, help
 *
 * One table entry is all there is to say about an option: parsing, --help, the documentation and
 * the tests come from it. Precedence: flag, then non-empty environment variable, then default.
 * Flags are Go style: -name value, -name=value, --name value, --name=value; a bool takes -name or
 * -name=true|false. Environment booleans are true for "1" and "true" in any case, false otherwise; a word behind an
 * integer there does not count ("30GiB" is 30).
 * What is unknown or malformed is an error that names the option or the variable.
 *
 * Values land typed in a struct, at each option's offset:
 *   OPTION_STRING, OPTION_ENUM  char *       owned by the struct; never NULL after parsing
 *   OPTION_BOOL                 bool
 *   OPTION_INT                  int64_t
 *   OPTION_DURATION             uint64_t     nanoseconds; text form is Go's: 5m, 1h30m, 200ms
 *   OPTION_SECRET               struct secret
 */
#ifndef PEERPOD_BASE_OPTION_H
#define PEERPOD_BASE_OPTION_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "base/error.h"
#include "base/secret.h"

enum option_type {
	OPTION_STRING,
	OPTION_BOOL,
	OPTION_INT,
	OPTION_DURATION,
	OPTION_ENUM,
	OPTION_SECRET,
};

struct option {
	const char *name; /* flag, without dashes; NULL: environment only */
	const char *env;  /* environment variable; NULL: flag only */
	const char *def;  /* default, in text form; NULL: empty, false, 0 */
	const char *help; /* one line, without a full stop */
	size_t offset;    /* into the value struct */
	enum option_type type;
	bool required;              /* empty after all sources: an error */
	int64_t min, max;           /* OPTION_INT; both 0: any */
	const char *const *choices; /* OPTION_ENUM; NULL-terminated */
};

/* A table and the struct that its values go to (zeroed by the caller). */
struct option_set {
	const char *title; /* heading in the help: "Options", "libvirt options" */
	const struct option *options;
	size_t count;
	void *values;
};

typedef const char *option_getenv(const char *name);

/*
 * Parses argv[0..argc), which holds options only. getenv_fn may be NULL for getenv(3). On failure
 * every set is freed. "-h", "-help", "--help" end parsing with *help set. Does not block.
 */
int options_parse(struct option_set *sets, size_t count, int argc, char *const *argv,
	option_getenv *getenv_fn, bool *help, struct error *err);

/* Frees what parsing put into the structs. */
void options_free(struct option_set *sets, size_t count);

/* The help text: every option with its variable, default and meaning. */
void options_help(const struct option_set *sets, size_t count, FILE *out);

/* The same as a Markdown table, for docs/. */
void options_markdown(const struct option_set *sets, size_t count, FILE *out);

/* Go's duration text ("5m0s", "1h30m", "200ms", "0") to nanoseconds. */
int duration_parse(const char *text, uint64_t *ns, struct error *err);

#endif
