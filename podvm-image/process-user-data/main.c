/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process-user-data - run once at boot of a pod VM, before everything that it configures
 *
 *   process-user-data provision-files [options]
 *
 * Finds out where the user data are (source.c), fetches them (fetch.c, imds.c), writes what they may
 * write and unpacks initdata (provision.c). Ends with 0 when all of that is done; with 1 and one line that
 * says why otherwise, and then nothing of the pod starts.
 */
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/option.h"
#include "fetch.h"
#include "imds.h"
#include "provision.h"

#define TIMEOUT_OPTION "user-data-fetch-timeout"

struct settings {
	int64_t timeout_s;
	bool accept_unmeasured;
	char *root, *endpoint;
};

static const struct option options[] = {
	{.name = TIMEOUT_OPTION,
		.def = "180",
		.type = OPTION_INT,
		.min = 1,
		.max = 86400,
		.offset = offsetof(struct settings, timeout_s),
		.help = "seconds that fetching may take in all (short: -t)"},
	{.name = "accept-unmeasured",
		.type = OPTION_BOOL,
		.offset = offsetof(struct settings, accept_unmeasured),
		.help = "take aa.toml and cdh.toml from user data, as adaptors without initdata send them"},
	{.name = "root",
		.def = "/",
		.type = OPTION_STRING,
		.offset = offsetof(struct settings, root),
		.help = "folder that stands for / (tests)"},
	{.name = "endpoint",
		.type = OPTION_STRING,
		.offset = offsetof(struct settings, endpoint),
		.help = "URL of the metadata service instead of the cloud's own (tests)"},
};

struct probe_context {
	const char *endpoint;
	const struct bound *bound;
};

static bool probe(const struct cloud *cloud, void *context)
{
	const struct probe_context *c = context;
	return imds_probe(cloud, c->endpoint, c->bound);
}

static int provision(const struct settings *settings, struct error *err)
{
	struct bound bound = bound_within(&BOUND_NONE, (uint64_t)settings->timeout_s * NS_PER_S);
	struct provision_settings target = {.root = settings->root,
		.accept_unmeasured = settings->accept_unmeasured};
	struct machine machine;
	if (imds_init(err) < 0)
		return -1;
	machine_read(settings->root, &machine);
	struct probe_context context = {settings->endpoint, &bound};
	const struct source *source = source_find(&machine, probe, &context);
	if (source) {
		log_info("user data come from %s", source->name);
		cleanup(cloudinit_free) struct cloudinit document = {0};
		if (user_data_fetch(source, settings->root, settings->endpoint, &bound, &document,
			    err) < 0 ||
			provision_files(&target, &document, err) < 0)
			return -1;
	} else {
		log_info("no source of user data is known for this machine: taking what is in "
			 "/run/peerpod already");
	}
	return provision_initdata(&target, err);
}

/* -t N, -tN and -t=N, as upstream's units may say, become the long name. Owned by the caller. */
static char *long_form(const char *argument)
{
	const char *name = argument + strspn(argument, "-");
	if (name == argument || name[0] != 't' || (name[1] && !strchr("=0123456789", name[1])))
		return strdup(argument);
	char *text = NULL;
	if (!name[1])
		return strdup("-" TIMEOUT_OPTION);
	return asprintf(&text, "-" TIMEOUT_OPTION "=%s", name + 1 + (name[1] == '=')) < 0 ? NULL
											  : text;
}

static void free_arguments(char ***arguments)
{
	for (char **a = *arguments; a && *a; a++)
		free(*a);
	free(*arguments);
}

static int run_provision(int argc, char **argv, struct option_set *set, struct settings *settings,
	struct error *err)
{
	cleanup(free_arguments) char **arguments = calloc((size_t)argc + 1, sizeof *arguments);
	bool help = false;
	for (int i = 0; arguments && i < argc; i++)
		if (!(arguments[i] = long_form(argv[i])))
			return error_set(err, ERROR_CAPACITY, "out of memory");
	if (!arguments || options_parse(set, 1, argc, arguments, NULL, &help, err) < 0)
		return -1;
	int result = 0;
	if (help)
		options_help(set, 1, stdout);
	else
		result = provision(settings, err);
	options_free(set, 1);
	return result;
}

static int usage(struct option_set *set, FILE *out, int status)
{
	fputs("usage: process-user-data provision-files [options]\n"
	      "       process-user-data version\n"
	      "       process-user-data help\n\n",
		out);
	options_help(set, 1, out);
	return status;
}

int main(int argc, char **argv)
{
	struct settings settings = {0};
	struct option_set set = {"Options", options, array_size(options), &settings};
	log_init("process-user-data", LOG_INFO, LOG_TEXT);
	const char *command = argc > 1 ? argv[1] : "";
	if (!strcmp(command, "version")) {
		puts("process-user-data " PEERPOD_VERSION);
		return 0;
	}
	if (!strcmp(command, "help") || !strcmp(command, "-h") || !strcmp(command, "-help") ||
		!strcmp(command, "--help"))
		return usage(&set, stdout, 0);
	if (strcmp(command, "provision-files") != 0)
		return usage(&set, stderr, 2);
	cleanup_error err = ERROR_INIT;
	if (run_provision(argc - 2, argv + 2, &set, &settings, &err) == 0)
		return 0;
	log_error("%s", error_message(&err));
	return 1;
}
