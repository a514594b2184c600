/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verb.h - a command of peerpodctl: a table entry, and what it is run with
 *
 * "instances list" is the verb "list" of the group "instances"; "choose" is a verb without a group. Options of a
 * verb are a table (base/option.h) whose values land in one struct for all verbs.
 */
#ifndef PEERPODCTL_VERB_H
#define PEERPODCTL_VERB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/option.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* Values of all verbs' options; what a verb does not take is zero. */
struct values {
	bool json;
	/* the driver */
	char *provider, *provider_dir, *log_level;
	uint64_t timeout_ns;
	/* whose */
	char *state_dir, *cluster, *node, *proxy_socket;
	bool all_clusters, force, dry_run, console;
	uint64_t grace_ns;
	/* choose */
	char *vcpus, *memory, *gpus, *tee, *types, *zones, *region, *prices, *catalogue_folder,
		*requests;
	bool spot, offline, all;
	/* initdata */
	char *digest, *file;
};

struct invocation {
	struct values values;
	char **words; /* what is no option, NULL-terminated */
	size_t word_count;
	char *const *driver_options; /* after "--" */
	int driver_option_count;
	bool is_usage; /* set with a failure: the command line is wrong */
};

struct verb {
	const char *group, *name; /* group "": the verb stands alone */
	const char *words;        /* "[FILE]", as the usage shows it */
	size_t least, most;       /* words */
	const char *about;
	const struct option *options;
	size_t option_count;
	bool driver; /* takes options of the driver after "--" */
	int (*run)(struct invocation *in, struct error *err);
};

/* A failure that is the command line's fault: exit status 2. */
#define usage_error(in, ...)                                \
	({                                                  \
		(in)->is_usage = true;                      \
		error_set(err, ERROR_INVALID, __VA_ARGS__); \
	})

/* Rows that several verbs share. */
#define AT(member) .offset = offsetof(struct values, member)
#define OPTION_ROW_JSON                                                    \
	{                                                                  \
		"json", NULL, "false", "print JSON", AT(json), OPTION_BOOL \
	}
#define OPTION_ROWS_DRIVER                                                                        \
	{"provider", "CLOUD_PROVIDER", NULL, "driver: aws, azure, gcp, libvirt", AT(provider)},   \
		{"provider-dir", "PROVIDER_DIR", NULL,                                            \
			"folder of the drivers; empty: providers beside this program, then the "  \
			"installed one",                                                          \
			AT(provider_dir)},                                                        \
		{"timeout", NULL, "2m", "how long it may take", AT(timeout_ns), OPTION_DURATION}, \
	{                                                                                         \
		"log-level", NULL, "warn", "lowest level of log lines on standard error",         \
			AT(log_level)                                                             \
	}
#define OPTION_ROW_STATE                                                               \
	{                                                                              \
		"state-dir", "STATE_DIR", "/var/lib/peerpod", "folder of the journal", \
			AT(state_dir)                                                  \
	}
#define OPTION_ROWS_OWNER                                                                                   \
	OPTION_ROW_STATE,                                                                                   \
		{"cluster-name", "CLUSTER_NAME", NULL,                                                      \
			"cluster that the instances are tagged with; empty: what the adaptor keeps in the " \
			"state folder",                                                                     \
			AT(cluster)},                                                                       \
	{                                                                                                   \
		"node-name", "NODE_NAME", NULL, "worker; empty: the host's name", AT(node)                  \
	}

/* Tables of verbs, ended by one without a name. */
extern const struct verb instance_verbs[], choose_verbs[], initdata_verbs[], sandbox_verbs[];

#endif
