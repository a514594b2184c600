/* SPDX-License-Identifier: Apache-2.0 */
/* command.c - see command.h */
#include "peerpodctl/command.h"

#include <stdio.h>
#include <string.h>

#include "peerpodctl/arguments.h"
#include "base/cleanup.h"
#include "peerpodctl/cloud.h"
#include "peerpodctl/verb.h"

static const struct verb *const tables[] = {instance_verbs, sandbox_verbs, choose_verbs,
	initdata_verbs};

static void print_verb(const struct verb *verb, FILE *out)
{
	cleanup(free_ptr) char *head = NULL;
	if (asprintf(&head, "%s%s%s%s%s", verb->group, *verb->group ? " " : "", verb->name,
		    *verb->words ? " " : "", verb->words) < 0)
		head = NULL;
	fprintf(out, "  %-30s  %s\n", head ? head : verb->name, verb->about);
}

/* group NULL: all. The number of verbs. */
static size_t print_verbs(const char *group, FILE *out)
{
	size_t count = 0;
	for (size_t t = 0; t < array_size(tables); t++) {
		for (const struct verb *verb = tables[t]; verb->name; verb++) {
			if (group && strcmp(verb->group, group) != 0)
				continue;
			print_verb(verb, out);
			count++;
		}
	}
	return count;
}

static void usage(FILE *out)
{
	fprintf(out,
		"peerpodctl looks at the pod VMs of a node and helps with what goes into them.\n\n"
		"Usage: peerpodctl <command> [options] [-- options of the driver]\n\n");
	print_verbs(NULL, out);
	fprintf(out, "  %-30s  %s\n", "version", "the version");
	fprintf(out, "  %-30s  %s\n", "help [COMMAND | DRIVER]", "this text; the options of one");
	fprintf(out,
		"\nTables are for people, --json is for programs. Exit status: 0 ok, 1 failed, 2 wrong "
		"command line.\n");
}

static void help_verb(const struct verb *verb, FILE *out)
{
	const struct option_set set = {"Options", verb->options, verb->option_count, NULL};
	fprintf(out, "Usage: peerpodctl %s%s%s%s%s [options]%s\n\n%s\n\n", verb->group,
		*verb->group ? " " : "", verb->name, *verb->words ? " " : "", verb->words,
		verb->driver ? " [-- options of the driver]" : "", verb->about);
	options_help(&set, 1, out);
	if (verb->driver)
		fprintf(out,
			"\nThe driver takes its options from the environment, as the adaptor does, and after "
			"\"--\": `peerpodctl help aws` lists them.\n");
}

/* The verb that the first words name; *used: how many they are. */
static const struct verb *find(int argc, char *const *argv, int *used)
{
	for (size_t t = 0; t < array_size(tables); t++) {
		for (const struct verb *verb = tables[t]; verb->name; verb++) {
			int grouped = *verb->group != 0;
			if (argc <= grouped || (grouped && strcmp(argv[0], verb->group) != 0) ||
				strcmp(argv[grouped], verb->name) != 0)
				continue;
			*used = grouped + 1;
			return verb;
		}
	}
	return NULL;
}

static int wrong_command(int argc, char *const *argv)
{
	if (argc == 0) {
		usage(stderr);
		return EXIT_USAGE;
	}
	bool group = print_verbs(argv[0], stderr) > 0 && *argv[0];
	if (group && argc > 1)
		fprintf(stderr, "peerpodctl: there is no \"%s %s\", but the above\n", argv[0],
			argv[1]);
	else if (group)
		fprintf(stderr, "peerpodctl: \"%s\" wants one of the above\n", argv[0]);
	else
		fprintf(stderr,
			"peerpodctl: there is no command \"%s\": `peerpodctl help` lists them\n",
			argv[0]);
	return EXIT_USAGE;
}

static int help(int argc, char *const *argv)
{
	int used;
	cleanup_error err = ERROR_INIT;
	const struct verb *verb = find(argc, argv, &used);
	if (argc == 0) {
		usage(stdout);
		return EXIT_OK;
	}
	if (verb && used == argc) {
		help_verb(verb, stdout);
		return EXIT_OK;
	}
	if (argc == 1 && *argv[0] && print_verbs(argv[0], stdout) > 0)
		return EXIT_OK;
	const char *folder = getenv("PROVIDER_DIR");
	if (argc == 1 && cloud_help(argv[0], folder ? folder : "", stdout, &err) == 0)
		return EXIT_OK;
	if (argc == 1)
		fprintf(stderr, "peerpodctl: there is no command and no driver \"%s\": %s\n",
			argv[0], error_message(&err));
	else
		return wrong_command(argc, argv);
	return EXIT_USAGE;
}

static int check_words(const struct verb *verb, const struct arguments *arguments,
	struct error *err)
{
	size_t count = (size_t)arguments->word_count;
	if (count < verb->least)
		return error_set(err, ERROR_INVALID, "%s is missing", verb->words);
	if (count > verb->most)
		return error_set(err, ERROR_INVALID, "unexpected argument \"%s\"",
			arguments->words[verb->most]);
	if (!verb->driver && arguments->after)
		return error_set(err, ERROR_INVALID,
			"nothing may follow \"--\": there is no driver in this");
	return 0;
}

static int run(const struct verb *verb, const struct arguments *arguments, struct invocation *in,
	struct error *err)
{
	struct option_set set = {"Options", verb->options, verb->option_count, &in->values};
	bool wants_help = false;
	if (options_parse(&set, 1, arguments->option_count, arguments->options, NULL, &wants_help,
		    err) < 0) {
		in->is_usage = true;
		return -1;
	}
	if (wants_help) {
		help_verb(verb, stdout);
		options_free(&set, 1);
		return 0;
	}
	int result = check_words(verb, arguments, err);
	in->is_usage = result < 0;
	in->words = arguments->words;
	in->word_count = (size_t)arguments->word_count;
	in->driver_options = arguments->after;
	in->driver_option_count = arguments->after_count;
	if (result == 0)
		result = verb->run(in, err);
	options_free(&set, 1);
	return result;
}

int command_run(int argc, char *const *argv)
{
	static const char *const help_words[] = {"help", "--help", "-help", "-h"};
	int used = 0;
	for (size_t i = 0; argc > 0 && i < array_size(help_words); i++) {
		if (!strcmp(argv[0], help_words[i]))
			return help(argc - 1, argv + 1);
	}
	if (argc == 1 && (!strcmp(argv[0], "version") || !strcmp(argv[0], "--version"))) {
		printf("peerpodctl version %s\n", PEERPOD_VERSION);
		return EXIT_OK;
	}
	const struct verb *verb = find(argc, argv, &used);
	if (!verb)
		return wrong_command(argc, argv);
	const struct option_set set = {"Options", verb->options, verb->option_count, NULL};
	cleanup(arguments_free) struct arguments arguments;
	cleanup_error err = ERROR_INIT;
	struct invocation in = {0};
	if (!arguments_split(&set, argc - used, argv + used, &arguments))
		error_set(&err, ERROR_CAPACITY, "out of memory");
	else if (run(verb, &arguments, &in, &err) == 0)
		return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
	fflush(stdout);
	fprintf(stderr, "peerpodctl: %s%s%s: %s\n", verb->group, *verb->group ? " " : "",
		verb->name, error_message(&err));
	return in.is_usage ? EXIT_USAGE : EXIT_FAILED;
}
