/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - podvm-init: the first process of a small pod VM
 *
 * In a VM it is what the kernel starts from the initial ramfs. It makes the machine usable (file
 * systems, modules, network, the medium with the user data), then runs the pod's programs:
 * process-user-data, the agent, agent-protocol-forwarder. Nothing else runs there. When the agent has
 * ended, or SIGTERM comes, the machine is powered off.
 *
 * With -container it is the first process of a PID namespace that stands for a VM. Whoever made the
 * namespaces has configured the network, mounted tmpfs on /run and /media, and put the user data at
 * /media/cidata/user-data; the rest is the same, so that what is tested there is what runs in a VM.
 *
 * With -root it only goes from the initial ramfs of the full image to the root file system on the disk,
 * whose own first process (systemd) then takes over.
 *
 * It must be process 1: it reaps what nobody else waits for, and its end ends everything.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "machine.h"
#include "pod.h"
#include "podns.h"
#include "root.h"
#include "settings.h"
#include "stage.h"

/* From the user data to the end of the agent. 0, or -1 with the reason why not. */
static int run_pod(struct pod *pod, const struct settings *settings, struct error *err)
{
	if (!settings->container && machine_start(pod, settings, err) < 0)
		return -1;
	if (pod_user_data_start(pod, err) < 0)
		return -1;
	/* What the user data has no part in is done while it is read. */
	if (!settings->container && machine_finish(settings, err) < 0)
		return -1;
	if (podns_make(INIT_POD_NETNS, err) < 0)
		return -1;
	int stopped = pod_user_data_finish(pod, err);
	if (stopped)
		return stopped < 0 ? -1 : 0;
	if (pod_start(pod, err) < 0)
		return -1;
	return pod_run(pod, err);
}

static int help_or_failure(bool help, struct error *err)
{
	if (!help) {
		fprintf(stderr, "podvm-init: %s\n", error_message(err));
		return 2;
	}
	struct settings none;
	struct option_set set = {"Options", settings_options, settings_option_count, &none};
	printf("Usage: podvm-init [OPTIONS]\nThe first process of a pod VM.\n\n");
	options_help(&set, 1, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	cleanup_error err = ERROR_INIT;
	cleanup(settings_free) struct settings settings = {0};
	bool help = false;
	int parsed = settings_parse(argc, argv, &settings, &help, &err);
	if (parsed < 0 || help)
		return help_or_failure(help, &err);
	if (getpid() != 1) {
		fprintf(stderr,
			"podvm-init: this is the first process of a pod VM, or of a PID "
			"namespace with -container (unshare --pid --fork); it is process %d here\n",
			(int)getpid());
		return 2;
	}

	enum log_level level = LOG_INFO;
	if (log_level_parse(settings.log_level, &level, NULL) == 0)
		log_init("podvm-init", level, LOG_TEXT);
	if (settings.container)
		stage_count_from_now();
	stage_line("podvm-init %s", PEERPOD_VERSION);

	if (*settings.root) {
		root_switch(&settings, &err);
		stage_line("failed: %s", error_message(&err));
		machine_end();
	}

	struct pod pod = {0};
	int result = services_init(&err);
	if (result == 0)
		result = pod_init(&pod, &settings, &err);
	if (result == 0)
		result = run_pod(&pod, &settings, &err);
	if (result < 0)
		stage_line("failed: %s", error_message(&err));
	else
		stage_line("ended");
	pod_free(&pod);
	if (!settings.container)
		machine_end();
	return result < 0 ? 1 : 0;
}
