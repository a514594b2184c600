/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_client.c - see proxy_client.h
 *
 * The keeper thread goes round: connect (starting agent-proxy if need be, or another version in the place of the
 * one that runs), tell that it is there, then sleep on the connection until it breaks. A second descriptor of the same connection serves for that:
 * poll(2) reports its hang-up without a byte being read.
 *
 * A connection is counted: a call that still uses an old one keeps it alive until it has failed.
 */
#include "adaptor/proxy_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "adaptor/notice.h"
#include "adaptor/proxy_process.h"
#include "adaptor/proxy_upgrade.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "proto/proxy.pb-c.h"
#include "ttrpc/client.h"
#include "ttrpc/message.h"

/* gcc 12's analyzer loses sight of what is kept through an index; LeakSanitizer does not. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

#define SERVICE "peerpod.AgentProxy"
#define BACKOFF_FIRST_NS (5 * NS_PER_MS)
#define BACKOFF_MOST_NS (500 * NS_PER_MS)
#define ADOPT_NS (30 * NS_PER_S)
#define QUIT_NS (2 * NS_PER_S)
/* What agent-proxy may need to answer after the time for reaching the agent is over. */
#define OPEN_ANSWER_NS (2 * NS_PER_S)

struct connection {
	struct ttrpc_client *ttrpc;
	int watch_fd; /* the same connection, to see it end */
	unsigned references;
};

struct proxy_client {
	struct proxy_client_settings settings;
	struct proxy_process process; /* the keeper's alone */
	proxy_connected *connected;
	void *context;
	pthread_t thread;
	bool started;
	struct cancel *stop;
	struct notice *changed; /* posted when `current` or `failure` is another */

	pthread_mutex_t lock;
	struct connection *current; /* NULL while there is none */
	char *failure;              /* why there is none */
};

/* On the keeper's thread: nobody else makes the connection for which a call there would wait. */
static _Thread_local bool keeping;

struct proxy_client *proxy_client_new(const struct proxy_client_settings *settings,
	struct error *err)
{
	struct proxy_client *client = calloc(1, sizeof(*client));
	if (!client) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	client->settings = *settings;
	client->process = PROXY_PROCESS_INIT;
	pthread_mutex_init(&client->lock, NULL);
	client->stop = cancel_new();
	client->changed = notice_new(err);
	if (client->stop && client->changed)
		return client;
	error_set(err, ERROR_CAPACITY, "out of memory or file descriptors");
	proxy_client_free(client, false);
	return NULL;
}

static void connection_unref(struct proxy_client *client, struct connection *connection)
{
	pthread_mutex_lock(&client->lock);
	bool last = --connection->references == 0;
	pthread_mutex_unlock(&client->lock);
	if (!last)
		return;
	ttrpc_client_free(connection->ttrpc);
	close(connection->watch_fd);
	free(connection);
}

/* With a reference for the caller, or NULL. */
static struct connection *current_connection(struct proxy_client *client)
{
	pthread_mutex_lock(&client->lock);
	struct connection *connection = client->current;
	if (connection)
		connection->references++;
	pthread_mutex_unlock(&client->lock);
	return connection;
}

static void set_failure(struct proxy_client *client, const struct error *why)
{
	char *text = strdup(error_message(why));
	pthread_mutex_lock(&client->lock);
	free(client->failure);
	client->failure = text;
	pthread_mutex_unlock(&client->lock);
}

/* Waits for a connection. The message says why there is none. */
static struct connection *wait_for_connection(struct proxy_client *client,
	const struct bound *bound, struct error *err)
{
	for (;;) {
		uint64_t seen = notice_count(client->changed);
		struct connection *connection = current_connection(client);
		if (connection && ttrpc_client_alive(connection->ttrpc))
			return connection;
		if (connection)
			connection_unref(client, connection);
		if (keeping) {
			error_set(err, ERROR_CANCELED, "the connection broke");
			return NULL;
		}
		if (notice_wait(client->changed, seen, bound, "agent-proxy", err) == 0)
			continue;
		pthread_mutex_lock(&client->lock);
		error_append(err,
			" (%s; it must serve %s: start it, or name its program with -agent-proxy)",
			client->failure ? client->failure : "not connected",
			client->settings.socket);
		pthread_mutex_unlock(&client->lock);
		return NULL;
	}
}

/* ---- the keeper ---- */

static int connect_socket(const char *path, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(err, ERROR_INVALID, "path of the socket %s is too long", path);
	memcpy(address.sun_path, path, strlen(path));
	cleanup(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set_errno(err, errno, "socket");
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return error_set_errno(err, errno, "connect to %s", path);
	return take_fd(&fd);
}

static struct connection *connect_proxy(struct proxy_client *client, struct error *err)
{
	int fd = connect_socket(client->settings.socket, err);
	if (fd < 0)
		return NULL;
	struct connection *connection = calloc(1, sizeof(*connection));
	int watch_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (!connection || watch_fd < 0) {
		error_set(err, ERROR_CAPACITY, "out of memory or file descriptors");
		close(fd);
	} else {
		connection->ttrpc = ttrpc_client_new(fd, err);
	}
	if (connection && connection->ttrpc) {
		connection->watch_fd = watch_fd;
		connection->references = 1;
		return connection;
	}
	if (watch_fd >= 0)
		close(watch_fd);
	free(connection);
	return NULL;
}

/* Takes the reference over; NULL: there is none now. */
static void set_connection(struct proxy_client *client, struct connection *connection)
{
	pthread_mutex_lock(&client->lock);
	struct connection *old = client->current;
	client->current = connection;
	pthread_mutex_unlock(&client->lock);
	if (old)
		connection_unref(client, old);
	notice_post(client->changed);
}

/* Tries until there is a connection or the client is to stop. */
static struct connection *reach_proxy(struct proxy_client *client, const struct bound *bound)
{
	uint64_t backoff = BACKOFF_FIRST_NS;
	bool told = false;
	for (;;) {
		cleanup_error why = ERROR_INIT;
		struct connection *connection = connect_proxy(client, &why);
		if (connection)
			return connection;
		if (*client->settings.program)
			proxy_process_ensure(&client->process, &client->settings, &why);
		set_failure(client, &why);
		if (!told && backoff >= BACKOFF_MOST_NS) {
			log_warn("agent-proxy: %s", error_message(&why));
			told = true;
		}
		if (bound_sleep(bound, backoff, "agent-proxy", NULL) < 0)
			return NULL;
		backoff = backoff * 2 < BACKOFF_MOST_NS ? backoff * 2 : BACKOFF_MOST_NS;
	}
}

static void *keep(void *argument)
{
	struct proxy_client *client = argument;
	struct bound until_stop = {.deadline_ns = DEADLINE_NEVER, .cancel = client->stop};
	struct connection *connection;
	keeping = true;
	while ((connection = reach_proxy(client, &until_stop))) {
		int watch_fd = connection->watch_fd;
		if (proxy_upgrade(&client->process, &client->settings, connection->ttrpc, watch_fd,
			    &until_stop)) {
			connection_unref(client, connection);
			continue;
		}
		pthread_mutex_lock(&client->lock);
		connection->references++; /* ours, for watch_fd */
		pthread_mutex_unlock(&client->lock);
		set_connection(client, connection);
		log_info("agent-proxy: connected to %s", client->settings.socket);
		struct bound soon = bound_within(&until_stop, ADOPT_NS);
		client->connected(client->context, &soon);
		bool stopped =
			bound_poll(&until_stop, watch_fd, POLLRDHUP, "agent-proxy", NULL) < 0;
		connection_unref(client, connection);
		if (stopped)
			break; /* proxy_client_free has a last word on it */
		set_connection(client, NULL);
		log_warn("agent-proxy: the connection broke; making it again");
		proxy_process_reap(&client->process);
	}
	return NULL;
}

int proxy_client_start(struct proxy_client *client, proxy_connected *connected, void *context,
	struct error *err)
{
	client->connected = connected;
	client->context = context;
	int failed = pthread_create(&client->thread, NULL, keep, client);
	if (failed)
		return error_set_errno(err, failed, "start a thread");
	client->started = true;
	return 0;
}

/* ---- calls ---- */

/*
 * One call; NULL on failure. A connection that broke before the answer came is no answer: all calls are
 * idempotent, so the next connection gets the same one.
 */
static ProtobufCMessage *call(struct proxy_client *client, const char *method,
	const ProtobufCMessage *request, const ProtobufCMessageDescriptor *reply_type,
	const struct bound *bound, struct error *err)
{
	for (;;) {
		struct connection *connection = wait_for_connection(client, bound, err);
		if (!connection)
			return NULL;
		ProtobufCMessage *reply = ttrpc_client_call_message(connection->ttrpc, SERVICE,
			method, request, reply_type, bound, err);
		bool broken = !reply && !ttrpc_client_alive(connection->ttrpc);
		connection_unref(client, connection);
		if (!broken)
			return reply;
		error_clear(err);
		if (bound_sleep(bound, BACKOFF_FIRST_NS, "agent-proxy", err) < 0)
			return NULL;
	}
}

static int proxy_ready(void *proxy, const struct bound *bound, struct error *err)
{
	struct connection *connection = wait_for_connection(proxy, bound, err);
	if (!connection)
		return -1;
	connection_unref(proxy, connection);
	return 0;
}

/* "192.0.2.7:15150" or "[2001:db8::7]:15150" */
static char *forwarder_address(const struct record *record)
{
	const char *ip = record->addresses[0];
	char *text;
	return asprintf(&text, strchr(ip, ':') ? "[%s]:%lld" : "%s:%lld", ip,
		       (long long)record->tunnel.port) < 0
		       ? NULL
		       : text;
}

static size_t count_suites(char **suites)
{
	size_t count = 0;
	while (suites && suites[count])
		count++;
	return count;
}

static int proxy_open(void *proxy, const struct record *record, uint64_t timeout_ns,
	const struct bound *bound, uint32_t *underlay_mtu, struct error *err)
{
	const struct tunnel *tunnel = &record->tunnel;
	cleanup(free_ptr) char *address = forwarder_address(record);
	if (!address)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	Agentproxy__TlsSettings tls = AGENTPROXY__TLS_SETTINGS__INIT;
	tls.server_name = tunnel->server_name;
	tls.ca_pem = tunnel->ca_pem;
	tls.client_cert_pem = tunnel->client_cert_pem;
	tls.client_key_pem = (char *)secret_reveal(&tunnel->client_key_pem);
	tls.pinned_cert_pem = tunnel->pinned_cert_pem;
	tls.min_version = tunnel->min_version;
	tls.cipher_suites = tunnel->cipher_suites;
	tls.n_cipher_suites = count_suites(tunnel->cipher_suites);
	Agentproxy__OpenRequest request = AGENTPROXY__OPEN_REQUEST__INIT;
	request.sandbox = record->sandbox;
	request.pod = record->pod;
	request.pod_namespace = record->pod_namespace;
	request.socket_path = record->agent_socket;
	request.address = address;
	request.tls = tunnel->tls ? &tls : NULL;
	request.timeout_ns = timeout_ns;
	/* Its own word on why the agent was not reached is better than our "timed out". */
	struct bound answer = *bound;
	if (timeout_ns && answer.deadline_ns != DEADLINE_NEVER)
		answer.deadline_ns += OPEN_ANSWER_NS;
	cleanup(message_ptr) ProtobufCMessage *reply = call(proxy, "Open", &request.base,
		&agentproxy__open_response__descriptor, &answer, err);
	if (reply && underlay_mtu)
		*underlay_mtu = ((Agentproxy__OpenResponse *)reply)->underlay_mtu;
	return reply ? 0 : -1;
}

static int proxy_close(void *proxy, const char *sandbox, const struct bound *bound,
	struct error *err)
{
	Agentproxy__CloseRequest request = AGENTPROXY__CLOSE_REQUEST__INIT;
	request.sandbox = (char *)sandbox;
	cleanup(message_ptr) ProtobufCMessage *reply = call(proxy, "Close", &request.base,
		&agentproxy__close_response__descriptor, bound, err);
	return reply ? 0 : -1;
}

void proxy_sandboxes_free(struct proxy_sandbox *sandboxes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(sandboxes[i].sandbox);
	free(sandboxes);
}

static int proxy_list(void *proxy, struct proxy_sandbox **sandboxes, size_t *count,
	const struct bound *bound, struct error *err)
{
	*sandboxes = NULL;
	*count = 0;
	Agentproxy__ListRequest request = AGENTPROXY__LIST_REQUEST__INIT;
	cleanup(message_ptr) Agentproxy__ListResponse *reply =
		(Agentproxy__ListResponse *)call(proxy, "List", &request.base,
			&agentproxy__list_response__descriptor, bound, err);
	if (!reply)
		return -1;
	struct proxy_sandbox *list = calloc(reply->n_sandboxes + 1, sizeof(*list));
	bool failed = !list;
	for (size_t i = 0; list && i < reply->n_sandboxes; i++) {
		list[i].sandbox = strdup(reply->sandboxes[i]->sandbox);
		list[i].shim_connections = reply->sandboxes[i]->shim_connections;
		failed |= !list[i].sandbox;
	}
	if (failed) {
		proxy_sandboxes_free(list, list ? reply->n_sandboxes : 0);
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	*sandboxes = list;
	*count = reply->n_sandboxes;
	return 0;
}

const struct proxy_ops proxy_client_ops = {
	.ready = proxy_ready,
	.open = proxy_open,
	.close = proxy_close,
	.list = proxy_list,
};

/* The keeper may have been stopped while the agent-proxy that it had started was still on its way. */
static void await_started(struct proxy_client *client, const struct bound *bound)
{
	while (!client->current && client->process.pid >= 0) {
		client->current = connect_proxy(client, NULL);
		proxy_process_reap(&client->process);
		if (!client->current &&
			bound_sleep(bound, BACKOFF_FIRST_NS, "agent-proxy", NULL) < 0)
			return;
	}
}

static void quit_proxy(struct proxy_client *client)
{
	struct bound soon = bound_within(&BOUND_NONE, QUIT_NS);
	Agentproxy__QuitRequest request = AGENTPROXY__QUIT_REQUEST__INIT;
	await_started(client, &soon);
	struct connection *connection = current_connection(client);
	cleanup_error why = ERROR_INIT;
	if (!connection)
		return;
	cleanup(message_ptr) Agentproxy__QuitResponse *reply =
		(Agentproxy__QuitResponse *)ttrpc_client_call_message(connection->ttrpc, SERVICE,
			"Quit", &request.base, &agentproxy__quit_response__descriptor, &soon, &why);
	if (reply && reply->serving)
		log_info("agent-proxy goes on: it serves %u sandboxes", reply->serving);
	connection_unref(client, connection);
}

void proxy_client_free(struct proxy_client *client, bool quit)
{
	if (!client)
		return;
	if (client->stop)
		cancel_fire(client->stop);
	if (client->started)
		pthread_join(client->thread, NULL);
	/* After the keeper, which would start it again. */
	if (quit && *client->settings.program)
		quit_proxy(client);
	if (client->current)
		connection_unref(client, client->current);
	notice_free(client->changed);
	if (client->stop)
		cancel_unref(client->stop);
	free(client->failure);
	pthread_mutex_destroy(&client->lock);
	free(client);
}
