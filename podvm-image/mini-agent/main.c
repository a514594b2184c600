/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - mini-agent: a small agent for local runs and tests
 *
 * Speaks kata-agent's protocol on a Unix socket and runs containers with crun from bundles. Ends
 * after DestroySandbox, as kata-agent does, or on SIGTERM or SIGINT, and then removes its
 * containers.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "agent.h"
#include "base/file.h"
#include "base/log.h"
#include "base/option.h"
#include "reaper.h"
#include "storage.h"

struct values {
	char *socket, *bundles, *state, *scratch, *crun, *cgroups, *log_level, *log_format;
	bool unlink_on_create_sandbox, version;
};

static const char *const cgroups_choices[] = {"auto", "on", "off", NULL};
static const char *const level_choices[] = {"debug", "info", "warn", "error", NULL};
static const char *const format_choices[] = {"text", "json", NULL};

#define at(member) offsetof(struct values, member)

static const struct option options[] = {
	{"socket", NULL, KATA_FOLDER "/agent.sock", "Unix socket to serve on", at(socket),
		OPTION_STRING},
	{"bundles", NULL, "/usr/share/peerpod/bundles",
		"folder of root file systems: DIR/<image name>/rootfs", at(bundles), OPTION_STRING},
	{"state", NULL, "/run/mini-agent", "folder for what is known of running containers",
		at(state), OPTION_STRING},
	{"scratch", NULL, KATA_FOLDER "/image",
		"folder for what containers write to their root file systems", at(scratch),
		OPTION_STRING},
	{"crun", NULL, "crun", "OCI runtime: a path, or a name to look up in PATH", at(crun),
		OPTION_STRING},
	{"cgroups", NULL, "auto", "a cgroup for each container: auto takes what the machine has",
		at(cgroups), OPTION_ENUM, .choices = cgroups_choices},
	{"unlink-on-create-sandbox", NULL, "true",
		"remove the socket's file on CreateSandbox, as kata-agent does",
		at(unlink_on_create_sandbox), OPTION_BOOL},
	{"log-level", NULL, "info", "least severe lines to log", at(log_level), OPTION_ENUM,
		.choices = level_choices},
	{"log-format", NULL, "text", "form of log lines", at(log_format), OPTION_ENUM,
		.choices = format_choices},
	{"version", NULL, NULL, "print the version and end", at(version), OPTION_BOOL},
};

static int block_signals(void)
{
	sigset_t ends;
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	return signalfd(-1, &ends, SFD_CLOEXEC);
}

static enum cgroups_use cgroups_use_of(const char *text)
{
	return !strcmp(text, "on") ? CGROUPS_ON : !strcmp(text, "off") ? CGROUPS_OFF : CGROUPS_AUTO;
}

static int prepare(const struct values *values, struct sandbox *sandbox, struct error *err)
{
	*sandbox = (struct sandbox){
		.places = {values->bundles, values->state, values->scratch},
		.unlink_socket = values->unlink_on_create_sandbox ? values->socket : NULL,
	};
	if (sandbox_init(sandbox, err) < 0 || dir_make(KATA_FOLDER, 0755, err) < 0 ||
		dir_make(values->state, 0700, err) < 0)
		return -1;
	if (crun_find(&sandbox->crun, values->crun, values->state, err) < 0 ||
		cgroups_open(&sandbox->cgroups, cgroups_use_of(values->cgroups), err) < 0)
		return -1;
	return reaper_start(err);
}

/* Until the sandbox is destroyed or a signal comes. */
static void serve(int signals, struct sandbox *sandbox)
{
	struct pollfd fds[] = {
		{.fd = signals, .events = POLLIN},
		{.fd = sandbox->destroyed_fd, .events = POLLIN},
	};
	while (poll(fds, array_size(fds), -1) < 0 && errno == EINTR)
		;
	log_info("ending%s", fds[1].revents ? " with the sandbox" : " on a signal");
}

static int listen_and_serve(const struct values *values, struct sandbox *sandbox, int signals,
	struct error *err)
{
	struct ttrpc_service services[AGENT_SERVICES];
	struct unix_socket_identity identity;
	agent_services(services, sandbox);
	int listener = unix_socket_listen(values->socket, &identity, err);
	if (listener < 0)
		return -1;
	struct ttrpc_server *server =
		ttrpc_server_start(listener, services, AGENT_SERVICES, NULL, err);
	if (server) {
		log_info("serving on %s, bundles in %s", values->socket, values->bundles);
		serve(signals, sandbox);
		ttrpc_server_stop(server);
	}
	unix_socket_remove(values->socket, &identity);
	return server ? 0 : -1;
}

static int run(const struct values *values, struct error *err)
{
	struct sandbox sandbox;
	cleanup(close_fd) int signals = block_signals();
	if (signals < 0)
		return error_set_errno(err, errno, "signals");
	int result = prepare(values, &sandbox, err);
	if (result == 0)
		result = listen_and_serve(values, &sandbox, signals, err);
	sandbox_destroy(&sandbox);
	sandbox_free(&sandbox);
	return result;
}

int main(int argc, char **argv)
{
	struct values values = {0};
	struct option_set set = {"Options", options, array_size(options), &values};
	cleanup_error err = ERROR_INIT;
	bool help = false;
	if (options_parse(&set, 1, argc - 1, argv + 1, NULL, &help, &err) < 0) {
		fprintf(stderr, "mini-agent: %s\n", error_message(&err));
		return 2;
	}
	if (help || values.version) {
		if (help) {
			puts("mini-agent: a small agent for local runs and tests; not kata-agent\n");
			options_help(&set, 1, stdout);
		} else {
			puts("mini-agent " PEERPOD_VERSION);
		}
		options_free(&set, 1);
		return 0;
	}
	enum log_level level = LOG_INFO;
	enum log_format format = LOG_TEXT;
	log_level_parse(values.log_level, &level, NULL);
	log_format_parse(values.log_format, &format, NULL);
	log_init("mini-agent", level, format);
	log_info(
		"this is mini-agent " PEERPOD_VERSION
		", for local runs and tests; it is not kata-agent: no image is pulled, no policy enforced, nothing attested");
	int result = run(&values, &err);
	if (result < 0)
		log_error("%s", error_message(&err));
	options_free(&set, 1);
	return result < 0 ? 1 : 0;
}
