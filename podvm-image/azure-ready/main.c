/* SPDX-License-Identifier: Apache-2.0 */
/*
 * azure-ready - run once at boot of a pod VM on Azure: tells the host that it has come up
 *
 * Azure takes a VM that nobody has reported ready for failed, and these images have no agent of Azure's that would
 * do it. Ends with 0 when the host has taken the report, with 1 and one line that says why otherwise; the
 * service manager tries again.
 */
#include <stdio.h>

#include "base/log.h"
#include "base/option.h"
#include "exchange.h"

#define PROGRAM "azure-ready"

struct settings {
	char *endpoint;
	uint64_t timeout_ns;
	bool verbose, version;
};

static const struct option options[] = {
	{.name = "endpoint",
		.def = "http://168.63.129.16",
		.type = OPTION_STRING,
		.offset = offsetof(struct settings, endpoint),
		.help = "URL of Azure's wireserver",
		.required = true},
	{.name = "timeout",
		.def = "30s",
		.type = OPTION_DURATION,
		.offset = offsetof(struct settings, timeout_ns),
		.help = "how long each of the three requests may take"},
	{.name = "v",
		.type = OPTION_BOOL,
		.offset = offsetof(struct settings, verbose),
		.help = "log every request and what was learnt"},
	{.name = "version",
		.type = OPTION_BOOL,
		.offset = offsetof(struct settings, version),
		.help = "print the version and end"},
};

static int run(const struct settings *settings)
{
	cleanup_error err = ERROR_INIT;
	log_init(PROGRAM, settings->verbose ? LOG_DEBUG : LOG_INFO, LOG_TEXT);
	if (report_ready(settings->endpoint, settings->timeout_ns, &err) < 0) {
		log_error("%s", error_message(&err));
		return 1;
	}
	log_info("reported ready to Azure");
	return 0;
}

int main(int argc, char **argv)
{
	struct settings settings = {0};
	struct option_set set = {"Options", options, array_size(options), &settings};
	cleanup_error err = ERROR_INIT;
	bool help = false;
	if (options_parse(&set, 1, argc - 1, argv + 1, NULL, &help, &err) < 0) {
		fprintf(stderr, PROGRAM ": %s\n", error_message(&err));
		return 2;
	}
	int status = 0;
	if (help)
		options_help(&set, 1, stdout);
	else if (settings.version)
		puts(PROGRAM " " PEERPOD_VERSION);
	else
		status = run(&settings);
	options_free(&set, 1);
	return status;
}
