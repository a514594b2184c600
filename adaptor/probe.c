/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.c - see probe.h
 *
 *   /startup  200 from the time on that the hypervisor socket is served. Never depends on user's pods.
 *   /livez    200 while the sandbox table can be locked and the thread that answers runs.
 *   /readyz   200 when agent-proxy is connected too; ?verbose adds a line for each.
 *
 * One thread with an event base of its own; bound to 127.0.0.1 only.
 */
#include "adaptor/probe.h"

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/thread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"

/* What a stuck lock may take before we are not alive. */
#define ALIVE_S 5
#define REQUEST_TIMEOUT_S 5
#define REQUEST_BYTES_MAX 8192

struct probe {
	struct adaptor *adaptor;
	struct event_base *base;
	struct evhttp *http;
	pthread_t thread;
	bool started;
};

static bool table_moves(struct probe *probe)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ALIVE_S;
	if (pthread_mutex_clocklock(&probe->adaptor->table.lock, CLOCK_MONOTONIC, &until) != 0)
		return false;
	pthread_mutex_unlock(&probe->adaptor->table.lock);
	return true;
}

static bool proxy_is_there(struct probe *probe)
{
	const struct world *world = probe->adaptor->world;
	struct bound now = bound_within(&BOUND_NONE, 50 * NS_PER_MS);
	return world->proxy_ops->ready(world->proxy, &now, NULL) == 0;
}

static void answer(struct evhttp_request *request, bool good, const char *text)
{
	struct evbuffer *body = evbuffer_new();
	if (body)
		evbuffer_add_printf(body, "%s", text);
	evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "text/plain");
	evhttp_send_reply(request, good ? HTTP_OK : HTTP_SERVUNAVAIL, good ? "OK" : "Unavailable",
		body);
	if (body)
		evbuffer_free(body);
}

static void startup(struct evhttp_request *request, void *context)
{
	(void)context;
	answer(request, true, "ok\n");
}

static void livez(struct evhttp_request *request, void *context)
{
	bool good = table_moves(context);
	answer(request, good, good ? "ok\n" : "the sandbox table is locked\n");
}

static void readyz(struct evhttp_request *request, void *context)
{
	const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));
	bool table = table_moves(context), proxy = proxy_is_there(context);
	char verbose[80];
	snprintf(verbose, sizeof(verbose), "serving: ok\ntable: %s\nagent-proxy: %s\n",
		table ? "ok" : "locked", proxy ? "ok" : "not connected");
	bool good = table && proxy;
	answer(request, good, !good || (query && !strcmp(query, "verbose")) ? verbose : "ok\n");
}

static void *run(void *argument)
{
	struct probe *probe = argument;
	event_base_loop(probe->base, EVLOOP_NO_EXIT_ON_EMPTY);
	return NULL;
}

struct probe *probe_start(uint16_t port, struct adaptor *adaptor, struct error *err)
{
	struct probe *probe = calloc(1, sizeof(*probe));
	if (probe) {
		probe->adaptor = adaptor;
		evthread_use_pthreads();
		probe->base = event_base_new();
		probe->http = probe->base ? evhttp_new(probe->base) : NULL;
	}
	if (!probe || !probe->http) {
		error_set(err, ERROR_CAPACITY, "probes: out of memory");
	} else if (evhttp_bind_socket(probe->http, "127.0.0.1", port) < 0) {
		error_set(err, ERROR_EXISTS,
			"probes: port %u of 127.0.0.1 cannot be had: is it in use?", port);
	} else {
		evhttp_set_timeout(probe->http, REQUEST_TIMEOUT_S);
		evhttp_set_max_headers_size(probe->http, REQUEST_BYTES_MAX);
		evhttp_set_max_body_size(probe->http, REQUEST_BYTES_MAX);
		evhttp_set_allowed_methods(probe->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
		evhttp_set_cb(probe->http, "/startup", startup, probe);
		evhttp_set_cb(probe->http, "/livez", livez, probe);
		evhttp_set_cb(probe->http, "/readyz", readyz, probe);
		int failed = pthread_create(&probe->thread, NULL, run, probe);
		probe->started = !failed;
		if (!failed)
			return probe;
		error_set_errno(err, failed, "probes: start a thread");
	}
	if (probe)
		probe_stop(probe);
	return NULL;
}

void probe_stop(struct probe *probe)
{
	if (probe->started) {
		event_base_loopbreak(probe->base);
		pthread_join(probe->thread, NULL);
	}
	if (probe->http)
		evhttp_free(probe->http);
	if (probe->base)
		event_base_free(probe->base);
	free(probe);
}
