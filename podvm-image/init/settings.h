/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - what podvm-init can be told
 */
#ifndef PEERPOD_INIT_SETTINGS_H
#define PEERPOD_INIT_SETTINGS_H

#include <stdbool.h>
#include "base/error.h"
#include "base/option.h"

/* Where the rest of the pod VM expects things: upstream's paths, which programs and policies know. */
#define INIT_POD_NETNS "/run/netns/podns"
#define INIT_AGENT_SOCKET "/run/kata-containers/agent.sock"
#define INIT_AGENT_CONFIG "/etc/agent-config.toml"
#define INIT_USER_DATA "/media/cidata/user-data"

struct settings {
	bool container;
	char *bin_dir;
	char *bundles;
	char *agent; /* path; "" before settings_parse has chosen one, never after */
	char *modules;
	char *forwarder_options;
	char *root;      /* partition to boot from; "": the initial ramfs is all there is */
	char *root_hash; /* of dm-verity, or "" */
	char *log_level;
};

extern const struct option settings_options[];
extern const size_t settings_option_count;

/*
 * Reads the arguments after argv[0]. The kernel hands its first process every word of its command
 * line that it did not know, before those that follow "--": words before the first one that begins
 * with a dash are therefore skipped. On success the agent has been chosen.
 */
int settings_parse(int argc, char *const *argv, struct settings *settings, bool *help,
	struct error *err);
void settings_free(struct settings *settings);

/* BIN-DIR/NAME, owned by the caller; NULL: no memory. */
char *settings_program(const struct settings *settings, const char *name);

#endif
