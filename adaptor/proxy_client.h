/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_client.h - the control connection to agent-proxy, and agent-proxy's life where it is ours
 *
 * A thread keeps one connection. When agent-proxy is not there it is started, if the settings name
 * its program; when it dies or is replaced, the connection is made again and the sandboxes that run are
 * opened again. Calls of the verbs use the connection that is there, and wait for one within their
 * bound.
 */
#ifndef PEERPOD_ADAPTOR_PROXY_CLIENT_H
#define PEERPOD_ADAPTOR_PROXY_CLIENT_H

#include "adaptor/world.h"

struct proxy_client;

/*
 * Called on the client's thread after every (re)connection. Its own calls of the verbs fail with ERROR_CANCELED once that
 * connection is broken: it is to return then, and is called again with the next one.
 */
typedef void proxy_connected(void *context, const struct bound *bound);

struct proxy_client_settings {
	const char *socket;
	const char *program; /* "": never start one */
	const char *log_level, *log_format;
};

struct proxy_client *proxy_client_new(const struct proxy_client_settings *settings,
	struct error *err);

/* Starts the thread. Before, every call waits. */
int proxy_client_start(struct proxy_client *client, proxy_connected *connected, void *context,
	struct error *err);

/*
 * Ends the thread and frees. With quit, an agent-proxy whose program the settings name is told to end if it
 * serves no sandbox.
 */
void proxy_client_free(struct proxy_client *client, bool quit);

extern const struct proxy_ops
	proxy_client_ops; /* their first argument is a struct proxy_client * */

#endif
