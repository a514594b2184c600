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
#include "base/descriptors.h"
#include "base/log.h"
#include "base/option.h"
#include "vsock-proxy/control.h"
#include "vsock-proxy/isolation.h"
#include "vsock-proxy/listen.h"

#define PROGRAM "agent-proxy"

static struct settings {
	char *control_socket;
	uint64_t grace_ns, handover_wait_ns;
	bool handover_stay;
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
	{"handover-wait", "AGENT_PROXY_HANDOVER_WAIT", "0s",
		"after SIGTERM, how long to go on serving pods until another agent-proxy takes over",
		offsetof(struct settings, handover_wait_ns), OPTION_DURATION},
	{"handover-stay", "AGENT_PROXY_HANDOVER_STAY", NULL,
		"after another agent-proxy took over, wait for SIGTERM instead of ending: for a "
		"supervisor that would start this one again",
		offsetof(struct settings, handover_stay), OPTION_BOOL},
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

/* How the process ends. */
struct ending {
	struct loop loop;
	struct control *control;
	struct timer patience;
	bool asked; /* by a signal */
};

static void end(void *context)
{
	loop_stop(&((struct ending *)context)->loop);
}

/* Handed over, or the last sandbox was closed after a signal: there is nothing left to do. */
static void nothing_left(void *context)
{
	struct ending *ending = context;
	if (ending->asked || !settings.handover_stay)
		end(ending);
	else
		log_info("waiting for SIGTERM");
}

static void on_signal(evutil_socket_t number, short what, void *context)
{
	(void)what;
	struct ending *ending = context;
	size_t serving = control_serving(ending->control);
	if (number == SIGTERM && serving && settings.handover_wait_ns && !ending->asked) {
		log_info(
			"signal %d: serving %zu sandboxes until another agent-proxy takes over, or "
			"for %.0f s",
			(int)number, serving, (double)settings.handover_wait_ns / (double)NS_PER_S);
		ending->asked = true;
		control_end_when_idle(ending->control);
		timer_start(&ending->patience, settings.handover_wait_ns);
		return;
	}
	log_info("signal %d: ending", (int)number);
	end(ending);
}

static void wait_over(void *context)
{
	log_warn("no other agent-proxy took over: ending");
	end(context);
}

static int serve_until_ended(struct ending *ending, struct error *err)
{
	const struct control_settings control = {
		.socket_path = settings.control_socket,
		.grace_ns = settings.grace_ns,
		.ended = nothing_left,
		.context = ending,
	};
	ending->control = control_new(&ending->loop, &control, err);
	if (!ending->control)
		return -1;
	int result = isolation_drop_rights(err);
	if (result == 0) {
		log_info("serving on %s", settings.control_socket);
		notify_service_manager("READY=1");
		loop_run(&ending->loop);
		notify_service_manager("STOPPING=1");
	}
	timer_stop(&ending->patience);
	control_free(ending->control);
	return result;
}

static int serve(struct error *err)
{
	struct ending ending = {.asked = false};
	if (loop_init(&ending.loop, true, err) < 0)
		return -1;
	timer_init(&ending.patience, &ending.loop, wait_over, &ending);
	/* First: a signal that comes while another process hands over to us is answered once that is done. */
	struct event *ends[] = {
		evsignal_new(ending.loop.base, SIGTERM, on_signal, &ending),
		evsignal_new(ending.loop.base, SIGINT, on_signal, &ending),
	};
	for (size_t i = 0; i < array_size(ends); i++)
		event_add(ends[i], NULL);
	int result = serve_until_ended(&ending, err);
	for (size_t i = 0; i < array_size(ends); i++)
		event_free(ends[i]);
	loop_free(&ending.loop);
	return result;
}

int main(int argc, char **argv)
{
	cleanup_error err = ERROR_INIT;
	bool help = false;
	log_init(PROGRAM, LOG_INFO, LOG_TEXT);
	log_never_wait();
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
	descriptors_allow_many();
	int result = serve(&err);
	if (result < 0)
		log_error("%s", error_message(&err));
	options_free(sets, array_size(sets));
	return result < 0 ? 1 : 0;
}
