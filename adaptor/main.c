/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - cloud-api-adaptor <provider> [options], and a few words besides
 *
 * Exit status: 0; 1 when something failed while running; 2 when the command line or the
 * configuration is wrong.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "adaptor/fault_steps.h"
#include "adaptor/serve.h"
#include "adaptor/settings.h"
#include "base/cleanup.h"
#include "providers/loader.h"

#define MEMORY_LARGE (64 * 1024)

static int usage(FILE *out, int argc, char *const *argv)
{
	fprintf(out,
		"cloud-api-adaptor runs pods in virtual machines beside this worker node.\n\n"
		"Usage:\n"
		"  cloud-api-adaptor <provider> [options]   serve the Kata shims of this node\n"
		"  cloud-api-adaptor help [provider]        this text, and the options\n"
		"  cloud-api-adaptor options [--markdown]   the common options\n"
		"  cloud-api-adaptor version\n\n"
		"Providers:");
	cleanup_error err = ERROR_INIT;
	cleanup(free_ptr) char *folder = driver_folder(argc, argv, &err);
	char **names = folder ? provider_names(folder, &err) : NULL;
	for (char **name = names; name && *name; name++) {
		fprintf(out, " %s", *name);
		free(*name);
	}
	if (!names)
		fprintf(out, " none (%s)", error_message(&err));
	free(names);
	fprintf(out, "\n\n");
	return EXIT_OK;
}

static int show_version(int argc, char *const *argv)
{
	(void)argc;
	(void)argv;
	printf("cloud-api-adaptor version %s\n", PEERPOD_VERSION);
	return EXIT_OK;
}

static int show_help(int argc, char *const *argv)
{
	bool named = argc > 0 && argv[0][0] != '-';
	if (!named)
		usage(stdout, argc, argv);
	return serve_help(named ? argv[0] : "", argc - named, argv + named, stdout);
}

static int show_options(int argc, char *const *argv)
{
	struct settings settings = {0};
	struct option_set set = settings_option_set(&settings);
	if (argc == 1 && (!strcmp(argv[0], "--markdown") || !strcmp(argv[0], "-markdown"))) {
		options_markdown(&set, 1, stdout);
		return EXIT_OK;
	}
	if (argc > 0) {
		fprintf(stderr, "cloud-api-adaptor: options takes --markdown only, not \"%s\"\n",
			argv[0]);
		return EXIT_USAGE;
	}
	options_help(&set, 1, stdout);
	return EXIT_OK;
}

#ifdef PEERPOD_FAULTS
static int show_faults(int argc, char *const *argv)
{
	(void)argc;
	(void)argv;
	fault_steps_print(stdout);
	return EXIT_OK;
}
#endif

static const struct {
	const char *name;
	int (*run)(int argc, char *const *argv);
} commands[] = {
	{"version", show_version},
	{"--version", show_version},
	{"-version", show_version},
	{"help", show_help},
	{"--help", show_help},
	{"-help", show_help},
	{"-h", show_help},
	{"options", show_options},
#ifdef PEERPOD_FAULTS
	{"faults", show_faults},
#endif
};

int main(int argc, char **argv)
{
	/*
	 * Calls come on threads of their own: each would keep a heap after it. Large pieces (user data, nftables' buffers
	 * of megabytes) go back to the system at once; setting this also keeps the limit from growing with them.
	 */
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, MEMORY_LARGE);
	mallopt(M_TRIM_THRESHOLD, MEMORY_LARGE);
	for (size_t i = 0; argc > 1 && i < array_size(commands); i++) {
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 2, argv + 2);
	}
	/* Manifests name the provider in a variable; options alone then suffice. */
	const char *provider = getenv("CLOUD_PROVIDER");
	if (argc > 1 && argv[1][0] != '-')
		return serve(argv[1], argc - 2, argv + 2);
	if (provider && *provider)
		return serve(provider, argc - 1, argv + 1);
	usage(stderr, 0, NULL);
	fprintf(stderr,
		"cloud-api-adaptor: which provider? Name it first, or set CLOUD_PROVIDER\n");
	return EXIT_USAGE;
}
