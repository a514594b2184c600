/* SPDX-License-Identifier: Apache-2.0 */
/* option.c - see option.h */
#include "base/option.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bound.h"
#include "base/buf.h"

static void *value_of(const struct option_set *set, const struct option *o)
{
	return (char *)set->values + o->offset;
}

/* "option -pool-name (LIBVIRT_POOL)" for messages. */
static char *label_of(const struct option *o)
{
	struct buf b = BUF_INIT;
	if (o->name)
		buf_printf(&b, "option -%s", o->name);
	if (o->env)
		buf_printf(&b, o->name ? " (%s)" : "environment variable %s", o->env);
	return buf_take(&b);
}

int duration_parse(const char *text, uint64_t *ns, struct error *err)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{"ns", 1},
		{"us", 1000},
		{"\xc2\xb5s", 1000},
		{"ms", NS_PER_MS},
		{"s", NS_PER_S},
		{"m", 60 * NS_PER_S},
		{"h", 3600 * NS_PER_S},
	};
	const char *p = text;
	long double total = 0;
	if (!strcmp(p, "0")) {
		*ns = 0;
		return 0;
	}
	if (!*p)
		goto bad;
	while (*p) {
		if (!strchr("0123456789.", *p))
			goto bad;
		long double number = 0, scale = 1;
		bool digits = false, point = false;
		for (; *p && strchr("0123456789.", *p); p++) {
			if (*p == '.') {
				if (point)
					goto bad;
				point = true;
				continue;
			}
			digits = true;
			number = number * 10 + (*p - '0');
			if (point)
				scale *= 10;
		}
		size_t len = strspn(p, "nu\xc2\xb5smh");
		size_t i;
		for (i = 0; i < array_size(units); i++) {
			if (strlen(units[i].name) == len && !strncmp(p, units[i].name, len))
				break;
		}
		if (!digits || i == array_size(units))
			goto bad;
		total += number / scale * (long double)units[i].ns;
		p += len;
	}
	if (total >= (long double)INT64_MAX)
		return error_set(err, ERROR_INVALID, "duration \"%s\" is too long", text);
	*ns = (uint64_t)total;
	return 0;
bad:
	return error_set(err, ERROR_INVALID,
		"\"%s\" is no duration: write it like 5m, 1h30m or 200ms", text);
}

/* ConfigMaps may have "30GiB" where GiB are meant anyway: upstream reads the digits, and so do we before a word. */
static int parse_int(const struct option *o, const char *text, bool from_environment,
	int64_t *value, struct error *err)
{
	char *end;
	errno = 0;
	long long number = strtoll(text, &end, 10);
	const char *rest = end;
	while (from_environment && end != text && isalpha((unsigned char)*rest))
		rest++;
	if (end == text || *rest || errno)
		return error_set(err, ERROR_INVALID, "\"%s\" is no whole number", text);
	if ((o->min || o->max) && (number < o->min || number > o->max))
		return error_set(err, ERROR_INVALID, "%lld is not between %lld and %lld", number,
			(long long)o->min, (long long)o->max);
	*value = number;
	return 0;
}

static int parse_enum(const struct option *o, const char *text, struct error *err)
{
	cleanup(buf_free) struct buf list = BUF_INIT;
	for (const char *const *choice = o->choices; *choice; choice++) {
		if (!strcmp(text, *choice))
			return 0;
		buf_printf(&list, "%s%s", list.len ? ", " : "", **choice ? *choice : "\"\"");
	}
	return error_set(err, ERROR_INVALID, "\"%s\" is none of: %s", text, buf_text(&list));
}

static int store_string(char **slot, const char *text, struct error *err)
{
	char *copy;
	if (asprintf(&copy, "%s", text) < 0)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	free(*slot);
	*slot = copy;
	return 0;
}

/* On the command line "t" and "f" will do, as with Go's flags; in the environment all that is not true is false. */
static int parse_bool(const char *text, bool from_environment, bool *value, struct error *err)
{
	*value = !strcasecmp(text, "true") || !strcmp(text, "1");
	if (*value || from_environment)
		return 0;
	*value = !strcasecmp(text, "t");
	if (*value || !strcasecmp(text, "false") || !strcasecmp(text, "f") || !strcmp(text, "0"))
		return 0;
	return error_set(err, ERROR_INVALID, "\"%s\" is neither true nor false", text);
}

static int store(const struct option_set *set, const struct option *o, const char *text,
	bool from_environment, struct error *err)
{
	void *value = value_of(set, o);
	switch (o->type) {
	case OPTION_ENUM:
		if (parse_enum(o, text, err) < 0)
			return -1;
		/* fall through */
	case OPTION_STRING:
		return store_string(value, text, err);
	case OPTION_BOOL:
		return parse_bool(text, from_environment, value, err);
	case OPTION_INT:
		return parse_int(o, text, from_environment, value, err);
	case OPTION_DURATION:
		return duration_parse(text, value, err);
	case OPTION_SECRET:
		if (!secret_set(value, text, strlen(text)))
			return error_set(err, ERROR_CAPACITY, "out of memory");
		return 0;
	}
	return error_set(err, ERROR_INTERNAL, "option of an unknown type");
}

static int store_named(const struct option_set *set, const struct option *o, const char *text,
	bool from_environment, struct error *err)
{
	if (store(set, o, text, from_environment, err) == 0)
		return 0;
	cleanup(free_ptr) char *label = label_of(o);
	return error_prefix(err, "%s", label ? label : "option");
}

static const struct option *find(const struct option_set *sets, size_t count, const char *name,
	size_t len, const struct option_set **set)
{
	for (size_t s = 0; s < count; s++) {
		for (size_t i = 0; i < sets[s].count; i++) {
			const struct option *o = &sets[s].options[i];
			if (o->name && strlen(o->name) == len && !strncmp(o->name, name, len)) {
				*set = &sets[s];
				return o;
			}
		}
	}
	return NULL;
}

static int parse_flags(const struct option_set *sets, size_t count, int argc, char *const *argv,
	bool *help, struct error *err)
{
	for (int i = 0; i < argc; i++) {
		const char *argument = argv[i];
		if (argument[0] != '-' || !argument[1])
			return error_set(err, ERROR_INVALID,
				"unexpected argument \"%s\": options begin with a dash", argument);
		const char *name = argument + (argument[1] == '-' ? 2 : 1);
		size_t len = strcspn(name, "=");
		if (!strcmp(name, "h") || !strcmp(name, "help")) {
			*help = true;
			return 0;
		}
		const struct option_set *set;
		const struct option *o = find(sets, count, name, len, &set);
		if (!o)
			return error_set(err, ERROR_INVALID,
				"unknown option -%.*s: --help lists what there is", (int)len, name);
		const char *text = name[len] == '=' ? name + len + 1 : NULL;
		if (!text && o->type == OPTION_BOOL)
			text = "true";
		if (!text) {
			if (++i >= argc)
				return error_set(err, ERROR_INVALID, "option -%s needs a value",
					o->name);
			text = argv[i];
		}
		if (store_named(set, o, text, false, err) < 0)
			return -1;
	}
	return 0;
}

static const char *system_getenv(const char *name)
{
	return getenv(name);
}

static int store_default(const struct option_set *set, const struct option *o,
	option_getenv *getenv_fn, struct error *err)
{
	bool text_type = o->type == OPTION_STRING || o->type == OPTION_ENUM;
	if (o->def || text_type) {
		const char *def = o->def ? o->def : "";
		if (o->type == OPTION_ENUM && !*def) {
			if (store_string(value_of(set, o), "", err) < 0)
				return -1;
		} else if (store_named(set, o, def, false, err) < 0) {
			return error_prefix(err, "default");
		}
	}
	/* An empty variable counts as unset: ConfigMaps are full of them. */
	const char *text = o->env ? getenv_fn(o->env) : NULL;
	return text && *text ? store_named(set, o, text, true, err) : 0;
}

static bool is_empty(const struct option_set *set, const struct option *o)
{
	const void *value = value_of(set, o);
	switch (o->type) {
	case OPTION_STRING:
	case OPTION_ENUM:
		return !**(char *const *)value;
	case OPTION_SECRET:
		return secret_is_empty(value);
	case OPTION_INT:
		return *(const int64_t *)value == 0;
	case OPTION_BOOL:
	case OPTION_DURATION:
		return false;
	}
	return false;
}

static int parse(const struct option_set *sets, size_t count, int argc, char *const *argv,
	option_getenv *getenv_fn, bool *help, struct error *err)
{
	for (size_t s = 0; s < count; s++) {
		for (size_t i = 0; i < sets[s].count; i++) {
			if (store_default(&sets[s], &sets[s].options[i], getenv_fn, err) < 0)
				return -1;
		}
	}
	if (parse_flags(sets, count, argc, argv, help, err) < 0 || *help)
		return *help ? 0 : -1;
	for (size_t s = 0; s < count; s++) {
		for (size_t i = 0; i < sets[s].count; i++) {
			const struct option *o = &sets[s].options[i];
			if (!o->required || !is_empty(&sets[s], o))
				continue;
			cleanup(free_ptr) char *label = label_of(o);
			return error_set(err, ERROR_INVALID, "%s is required and not set: %s",
				label ? label : "option", o->help);
		}
	}
	return 0;
}

int options_parse(struct option_set *sets, size_t count, int argc, char *const *argv,
	option_getenv *getenv_fn, bool *help, struct error *err)
{
	*help = false;
	if (parse(sets, count, argc, argv, getenv_fn ? getenv_fn : system_getenv, help, err) == 0)
		return 0;
	options_free(sets, count);
	return -1;
}

void options_free(struct option_set *sets, size_t count)
{
	for (size_t s = 0; s < count; s++) {
		for (size_t i = 0; i < sets[s].count; i++) {
			const struct option *o = &sets[s].options[i];
			void *value = value_of(&sets[s], o);
			if (o->type == OPTION_STRING || o->type == OPTION_ENUM) {
				free(*(char **)value);
				*(char **)value = NULL;
			} else if (o->type == OPTION_SECRET) {
				secret_free(value);
			}
		}
	}
}

static const char *type_name(enum option_type type)
{
	switch (type) {
	case OPTION_STRING:
	case OPTION_ENUM:
	case OPTION_SECRET:
		return "string";
	case OPTION_BOOL:
		return "bool";
	case OPTION_INT:
		return "int";
	case OPTION_DURATION:
		return "duration";
	}
	return "value";
}

static void print_choices(const struct option *o, FILE *out)
{
	for (const char *const *choice = o->choices; choice && *choice; choice++)
		fprintf(out, "%s%s", choice == o->choices ? " (one of: " : ", ",
			**choice ? *choice : "\"\"");
	if (o->choices)
		fprintf(out, ")");
}

void options_help(const struct option_set *sets, size_t count, FILE *out)
{
	for (size_t s = 0; s < count; s++) {
		fprintf(out, "%s:\n", sets[s].title);
		for (size_t i = 0; i < sets[s].count; i++) {
			const struct option *o = &sets[s].options[i];
			if (o->name)
				fprintf(out, "  -%s %s\n", o->name, type_name(o->type));
			else
				fprintf(out, "  (environment only) %s\n", type_name(o->type));
			fprintf(out, "        %s", o->help);
			print_choices(o, out);
			if (o->env)
				fprintf(out, " [%s]", o->env);
			if (o->def && *o->def)
				fprintf(out, " (default %s)", o->def);
			fprintf(out, "%s\n", o->required ? " (required)" : "");
		}
	}
}

void options_markdown(const struct option_set *sets, size_t count, FILE *out)
{
	for (size_t s = 0; s < count; s++) {
		fprintf(out,
			"## %s\n\n| option | environment | default | meaning |\n|---|---|---|---|\n",
			sets[s].title);
		for (size_t i = 0; i < sets[s].count; i++) {
			const struct option *o = &sets[s].options[i];
			fprintf(out, "| %s%s%s | %s%s%s | %s%s%s | %s", o->name ? "`-" : "",
				o->name ? o->name : "", o->name ? "`" : "", o->env ? "`" : "",
				o->env ? o->env : "", o->env ? "`" : "",
				o->def && *o->def ? "`" : "", o->def ? o->def : "",
				o->def && *o->def ? "`" : "", o->help);
			print_choices(o, out);
			fprintf(out, "%s |\n", o->required ? "; required" : "");
		}
		fprintf(out, "\n");
	}
}
