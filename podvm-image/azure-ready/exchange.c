/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exchange.c - see exchange.h
 *
 * Plain HTTP to an address of the host's, past any proxy: which version to speak, which instance of which container
 * this is, and then that it is ready. Whoever answers gets nothing from here but what it said itself.
 */
#include "exchange.h"

#include <stdio.h>

#include "base/log.h"
#include "document.h"
#include "http/http.h"

#define BODY_MAX ((size_t)1 << 20)

DEFINE_CLEANUP(struct http_client, http_client_free)

struct server {
	struct http_client *client;
	const char *endpoint;
	uint64_t timeout_ns;
	char version[sizeof("x-ms-version: ") +
		     DOCUMENT_VALUE_MAX]; /* the header; empty: not known yet */
};

/* One request; fails unless the status says that it went well. body NULL: GET, else POST. */
static int ask(const struct server *server, const char *path, const struct buf *body,
	struct http_response *response, struct error *err)
{
	cleanup(free_ptr) char *url = NULL;
	const char *headers[4] = {"x-ms-agent-name: azure-ready"};
	size_t count = 1;
	if (*server->version)
		headers[count++] = server->version;
	if (body)
		headers[count++] = "Content-Type: text/xml; charset=utf-8";
	if (asprintf(&url, "%s%s", server->endpoint, path) < 0)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	const struct http_request request = {
		.method = body ? "POST" : "GET",
		.url = url,
		.headers = headers,
		.body = body ? buf_text(body) : NULL,
		.body_len = body ? body->len : 0,
		.body_max = BODY_MAX,
		.connect_ns = server->timeout_ns,
		.direct = true,
	};
	struct bound bound = bound_within(&BOUND_NONE, server->timeout_ns);
	log_debug("%s %s", request.method, url);
	if (http_call(server->client, &request, response, &bound, err) < 0)
		return -1;
	if (response->status >= 200 && response->status < 300)
		return 0;
	error_set(err, ERROR_RETRY, "%s %s: answered with status %d", request.method, url,
		response->status);
	if (err)
		err->status = response->status;
	return -1;
}

static int ask_versions(struct server *server, struct error *err)
{
	cleanup_response response = {0};
	struct document_value version;
	if (ask(server, "/?comp=versions", NULL, &response, err) < 0 ||
		versions_read(buf_text(&response.body), response.body.len, &version, err) < 0)
		return error_prefix(err, "versions");
	log_debug("speaking version %s", version.text);
	snprintf(server->version, sizeof(server->version), "x-ms-version: %s", version.text);
	return 0;
}

static int ask_goal_state(const struct server *server, struct goal_state *state, struct error *err)
{
	cleanup_response response = {0};
	if (ask(server, "/machine/?comp=goalstate", NULL, &response, err) < 0 ||
		goal_state_read(buf_text(&response.body), response.body.len, state, err) < 0)
		return error_prefix(err, "goal state");
	log_debug("incarnation %s, container %s, instance %s", state->incarnation.text,
		state->container_id.text, state->instance_id.text);
	return 0;
}

static int send_health(const struct server *server, const struct goal_state *state,
	struct error *err)
{
	cleanup_response response = {0};
	cleanup(buf_free) struct buf body = BUF_INIT;
	if (health_write(state, &body, err) < 0 ||
		ask(server, "/machine?comp=health", &body, &response, err) < 0)
		return error_prefix(err, "health report");
	return 0;
}

int report_ready(const char *endpoint, uint64_t timeout_ns, struct error *err)
{
	cleanup(http_client_free_ptr) struct http_client *client = http_client_new(NULL, err);
	struct server server = {client, endpoint, timeout_ns, ""};
	struct goal_state state;
	if (!client || ask_versions(&server, err) < 0 || ask_goal_state(&server, &state, err) < 0 ||
		send_health(&server, &state, err) < 0)
		return -1;
	return 0;
}
