/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent-proxy.c - the worker's end of the agent tunnels: main
 *
 * A process of its own, so that the adaptor can crash and be upgraded while pods run: the shim keeps
 * one connection for a pod's whole life and takes its end for the pod's.
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/bound.h"
#include "base/log.h"
#include "base/option.h"
#include "vsock-proxy/control.h"
#include "vsock-proxy/isolation.h"
#include "vsock-proxy/listen.h"

#define PROGRAM "agent-proxy"

static struct settings {
	char *control_socket;
	uint64_t grace_ns;
	char *log_level, *log_format;
	bool version;
} settings;

static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const log_formats[] = {"text", "json", NULL};

static const struct option options[] = {
	{"control-socket", "AGENT_PROXY_SOCKET", "/run/peerpod/agent-proxy.sock",
		"Unix socket on which the adaptor says which sandboxes to serve",
		offsetof(struct settings, control_socket), OPTION_STRING},
	{"grace", "AGENT_PROXY_GRACE", "30s",
		"how long a pod VM may be unreachable before calls to its agent fail",
		offsetof(struct settings, grace_ns), OPTION_DURATION},
	{"log-level", "LOG_LEVEL", "info", "what to log", offsetof(struct settings, log_level),
		OPTION_ENUM, .choices = log_levels},
	{"log-format", "LOG_FORMAT", "text", "how to log", offsetof(struct settings, log_format),
		OPTION_ENUM, .choices = log_formats},
	{"version", NULL, NULL, "print the version and end", offsetof(struct settings, version),
		OPTION_BOOL},
};

static struct option_set sets[] = {
	{"Options", options, array_size(options), &settings},
};

static void on_signal(evutil_socket_t number, short what, void *context)
{
	(void)what;
	log_info("signal %d: ending", (int)number);
	loop_stop(context);
}

static int serve(struct error *err)
{
	struct loop loop;
	if (loop_init(&loop, true, err) < 0)
		return -1;
	struct control *control =
		control_new(&loop, settings.control_socket, settings.grace_ns, err);
	if (!control || isolation_drop_rights(err) < 0) {
		if (control)
			control_free(control);
		loop_free(&loop);
		return -1;
	}
	struct event *ends[] = {
		evsignal_new(loop.base, SIGTERM, on_signal, &loop),
		evsignal_new(loop.base, SIGINT, on_signal, &loop),
	};
	for (size_t i = 0; i < array_size(ends); i++)
		event_add(ends[i], NULL);
	log_info("serving on %s", settings.control_socket);
	notify_service_manager("READY=1");
	loop_run(&loop);
	notify_service_manager("STOPPING=1");
	control_free(control);
	for (size_t i = 0; i < array_size(ends); i++)
		event_free(ends[i]);
	loop_free(&loop);
	return 0;
}

int main(int argc, char **argv)
{
	cleanup_error err = ERROR_INIT;
	bool help = false;
	log_init(PROGRAM, LOG_INFO, LOG_TEXT);
	if (isolation_hide_memory(&err) < 0 ||
		options_parse(sets, array_size(sets), argc - 1, argv + 1, NULL, &help, &err) < 0) {
		log_error("%s", error_message(&err));
		return 1;
	}
	if (help || settings.version) {
		if (help) {
			printf("usage: " PROGRAM
			       " [options]\n\nRelays the agent protocol between the shims "
			       "of this node and their pod VMs.\n\n");
			options_help(sets, array_size(sets), stdout);
		} else {
			printf(PROGRAM " " PEERPOD_VERSION "\n");
		}
		options_free(sets, array_size(sets));
		return 0;
	}
	enum log_level level = LOG_INFO;
	enum log_format format = LOG_TEXT;
	log_level_parse(settings.log_level, &level, NULL);
	log_format_parse(settings.log_format, &format, NULL);
	log_init(PROGRAM, level, format);
	signal(SIGPIPE, SIG_IGN);
	int result = serve(&err);
	if (result < 0)
		log_error("%s", error_message(&err));
	options_free(sets, array_size(sets));
	return result < 0 ? 1 : 0;
}
