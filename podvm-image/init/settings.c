/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - see settings.h */
#include "settings.h"

#include <stdio.h>
#include <unistd.h>

static const char *const levels[] = {"debug", "info", "warn", "error", NULL};

#define AT(member) offsetof(struct settings, member)
const struct option settings_options[] = {
	{"container", NULL, NULL,
		"run inside fresh mount, PID, network and UTS namespaces: no devices, modules or DHCP",
		AT(container), OPTION_BOOL},
	{"bin-dir", NULL, "/usr/local/bin", "folder of the programs that are started", AT(bin_dir),
		OPTION_STRING, .required = true},
	{"bundles", NULL, "/usr/share/peerpod/bundles",
		"folder of the root filesystems that mini-agent runs containers from", AT(bundles),
		OPTION_STRING},
	{"agent", NULL, NULL, "agent to start; default: kata-agent of bin-dir, else mini-agent",
		AT(agent), OPTION_STRING},
	{"modules", NULL, "/usr/lib/podvm/modules.list", "kernel modules in the order of loading",
		AT(modules), OPTION_STRING},
	{"forwarder-options", NULL, NULL, "more options for agent-protocol-forwarder",
		AT(forwarder_options), OPTION_STRING},
	{"root", NULL, NULL, "name of the partition whose /sbin/init takes over (full image)",
		AT(root), OPTION_STRING},
	{"root-hash", NULL, NULL, "dm-verity root hash of that partition, in hexadecimal",
		AT(root_hash), OPTION_STRING},
	{"log-level", NULL, "info", "least important log lines that are written", AT(log_level),
		OPTION_ENUM, .choices = levels},
};
const size_t settings_option_count = array_size(settings_options);

char *settings_program(const struct settings *settings, const char *name)
{
	char *path;
	return asprintf(&path, "%s/%s", settings->bin_dir, name) < 0 ? NULL : path;
}

/* The first agent that is there. */
static int choose_agent(struct settings *settings, struct error *err)
{
	if (*settings->agent) {
		if (access(settings->agent, X_OK) == 0)
			return 0;
		return error_set(err, ERROR_INVALID, "-agent: no program at %s", settings->agent);
	}
	static const char *const names[] = {"kata-agent", "mini-agent"};
	for (size_t i = 0; i < array_size(names); i++) {
		cleanup(free_ptr) char *path = settings_program(settings, names[i]);
		if (path && access(path, X_OK) == 0) {
			free(settings->agent);
			settings->agent = take_ptr(path);
			return 0;
		}
	}
	return error_set(err, ERROR_INVALID,
		"no agent: neither kata-agent nor mini-agent is in %s; give one with -agent",
		settings->bin_dir);
}

int settings_parse(int argc, char *const *argv, struct settings *settings, bool *help,
	struct error *err)
{
	*settings = (struct settings){0};
	int first = 1;
	while (first < argc && argv[first][0] != '-')
		first++;
	struct option_set set = {"Options", settings_options, settings_option_count, settings};
	if (options_parse(&set, 1, argc - first, argv + first, NULL, help, err) < 0)
		return -1;
	if (*help || *settings->root)
		return 0;
	if (choose_agent(settings, err) < 0) {
		settings_free(settings);
		return -1;
	}
	return 0;
}

void settings_free(struct settings *settings)
{
	struct option_set set = {"Options", settings_options, settings_option_count, settings};
	options_free(&set, 1);
}
