/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.c - see connection.h
 *
 * States of the holder, under its mutex: closed (conn NULL), opening (a thread is at it), open. `generation` counts
 * the openings; a loss reported for an earlier generation is old news. The opening thread and the close callback of
 * libvirt each hold a reference to the holder, so that it can be freed at any time.
 */
#include "providers/libvirt/connection.h"

#include <libvirt/virterror.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/thread.h"
#include "providers/libvirt/failure.h"

/* libvirt's own defaults; a stopped daemon is noticed after interval x (count + 1) = 20 s. */
#define KEEPALIVE_INTERVAL_S 5
#define KEEPALIVE_COUNT 3

#define BACKOFF_FIRST_NS (100 * NS_PER_MS)
#define BACKOFF_MAX_NS (5 * NS_PER_S)
/* How often a waiting caller looks at its cancel flag. */
#define LOOK_NS (100 * NS_PER_MS)

struct connection {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	char *uri;
	const char *purpose;
	unsigned references; /* the owner, the opening thread, the close callback */
	unsigned borrowed;
	virConnectPtr conn;
	uint64_t generation;
	bool opening, lost, freed;
	bool opened_before;
	pthread_t opener; /* the thread that opens, or opened last; to be joined where has_opener */
	bool has_opener;
	struct error failure;    /* of the last opening */
	uint64_t failure_number; /* openings that failed, counted */
};

/* ---- the event loop, one for the process ------------------------------------------------------ */

static void *event_loop(void *unused)
{
	(void)unused;
	for (;;) {
		if (virEventRunDefaultImpl() < 0)
			log_warn("libvirt's event loop: %s", failure_text());
	}
	return NULL;
}

static void no_timer(int timer, void *opaque)
{
	(void)timer;
	(void)opaque;
}

static void event_loop_start(void)
{
	failure_silence();
	if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0) {
		log_error("libvirt's event loop cannot be registered: %s", failure_text());
		return;
	}
	/* A timer that never fires keeps the loop from being empty. */
	virEventAddTimeout(-1, no_timer, NULL, NULL);
	pthread_t thread;
	if (thread_start(&thread, 0, event_loop, NULL))
		log_error("no thread for libvirt's event loop: losses are noticed late");
	else
		pthread_detach(thread);
}

static pthread_once_t event_loop_once = PTHREAD_ONCE_INIT;

/* ---- the holder --------------------------------------------------------------------------------- */

struct connection *connection_new(const char *uri, const char *purpose)
{
	pthread_once(&event_loop_once, event_loop_start);
	struct connection *c = calloc(1, sizeof(*c));
	if (!c || !(c->uri = strdup(uri))) {
		free(c);
		return NULL;
	}
	c->purpose = purpose;
	c->references = 1;
	pthread_mutex_init(&c->mutex, NULL);
	pthread_condattr_t monotonic;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&c->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return c;
}

static void unref(struct connection *c)
{
	pthread_mutex_lock(&c->mutex);
	bool last = --c->references == 0;
	pthread_mutex_unlock(&c->mutex);
	if (!last)
		return;
	error_clear(&c->failure);
	pthread_cond_destroy(&c->changed);
	pthread_mutex_destroy(&c->mutex);
	free(c->uri);
	free(c);
}

static void unref_opaque(void *opaque)
{
	unref(opaque);
}

static void mark_lost(struct connection *c, uint64_t generation, const char *why)
{
	pthread_mutex_lock(&c->mutex);
	bool news = c->conn && !c->lost && c->generation == generation;
	if (news)
		c->lost = true;
	bool freed = c->freed;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->mutex);
	if (news && !freed)
		log_warn(
			"connection to libvirt for %s was lost: %s; it is opened again when needed",
			c->purpose, why);
}

static void on_close(virConnectPtr conn, int reason, void *opaque)
{
	static const char *const reasons[] = {
		[VIR_CONNECT_CLOSE_REASON_ERROR] = "input or output error",
		[VIR_CONNECT_CLOSE_REASON_EOF] = "the daemon closed it",
		[VIR_CONNECT_CLOSE_REASON_KEEPALIVE] = "the daemon did not answer for 20 s",
		[VIR_CONNECT_CLOSE_REASON_CLIENT] = "closed here",
	};
	struct connection *c = opaque;
	pthread_mutex_lock(&c->mutex);
	uint64_t generation = c->conn == conn ? c->generation : 0;
	pthread_mutex_unlock(&c->mutex);
	if (generation)
		mark_lost(c, generation,
			(size_t)reason < array_size(reasons) ? reasons[reason] : "unknown reason");
}

/* Releases a connection that the holder has given up. */
static void close_conn(virConnectPtr conn)
{
	virConnectUnregisterCloseCallback(conn, on_close);
	virConnectClose(conn);
}

static virConnectPtr open_conn(struct connection *c, struct error *err)
{
	virConnectPtr conn = virConnectOpen(c->uri);
	if (!conn) {
		error_set(err, failure_kind(failure_code(), failure_domain(), failure_text()),
			"connect to libvirt at %s: %s", c->uri, failure_text());
		return NULL;
	}
	/* Some drivers (embed, test) have neither; then a loss cannot happen. */
	if (virConnectSetKeepAlive(conn, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT) == 0) {
		pthread_mutex_lock(&c->mutex);
		c->references++;
		pthread_mutex_unlock(&c->mutex);
		if (virConnectRegisterCloseCallback(conn, on_close, c, unref_opaque) < 0) {
			/* Never the last one: the thread that opens holds its own. */
			pthread_mutex_lock(&c->mutex);
			c->references--;
			pthread_mutex_unlock(&c->mutex);
		}
	}
	return conn;
}

static void *open_thread(void *opaque)
{
	struct connection *c = opaque;
	cleanup_error err = ERROR_INIT;
	virConnectPtr conn = open_conn(c, &err);

	pthread_mutex_lock(&c->mutex);
	c->opening = false;
	virConnectPtr unwanted = NULL;
	bool again = false;
	if (conn && c->freed) {
		unwanted = conn;
	} else if (conn) {
		c->conn = conn;
		c->lost = false;
		c->generation++;
		again = c->opened_before;
		c->opened_before = true;
	} else {
		c->failure_number++;
		error_move(&c->failure, &err);
	}
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->mutex);
	if (unwanted)
		close_conn(unwanted);
	else if (again)
		log_info("connected to libvirt again for %s", c->purpose);
	unref(c);
	return NULL;
}

/*
 * With the mutex held, which is let go meanwhile: the thread that has opened. It is joined, not detached, as it has not
 * ended when it is done (base/thread.h).
 */
static void join_opener(struct connection *c)
{
	pthread_t opener = c->opener;
	bool join = c->has_opener;
	c->has_opener = false;
	pthread_mutex_unlock(&c->mutex);
	if (join)
		pthread_join(opener, NULL);
	pthread_mutex_lock(&c->mutex);
}

/* With the mutex held: starts an opening where none runs. */
static int start_opening(struct connection *c, struct error *err)
{
	c->references++;
	c->opening = true;
	join_opener(c);
	int failed = thread_start(&c->opener, 0, open_thread, c);
	c->has_opener = !failed;
	if (!failed)
		return 0;
	c->references--;
	c->opening = false;
	return error_set_errno(err, failed, "no thread to connect to libvirt");
}

/* With the mutex held: waits for a change, at most ns. */
static int wait_change(struct connection *c, const struct bound *bound, uint64_t ns,
	struct error *err)
{
	if (bound_check(bound, "a connection to libvirt", err) < 0) {
		if (c->failure.message)
			error_append(err, " (%s)", c->failure.message);
		return -1;
	}
	uint64_t left = bound_left_ns(bound);
	uint64_t until = deadline_in(ns < left ? ns : left);
	struct timespec at = {(time_t)(until / NS_PER_S), (long)(until % NS_PER_S)};
	pthread_cond_timedwait(&c->changed, &c->mutex, &at);
	return 0;
}

/* With the mutex held: returns once conn is usable. */
static int ensure_open(struct connection *c, const struct bound *bound, struct error *err)
{
	uint64_t patience = deadline_in(RECONNECT_PATIENCE_NS);
	uint64_t pause = BACKOFF_FIRST_NS, next_try = 0;
	uint64_t seen = c->failure_number;
	while (!c->conn || c->lost) {
		if (c->conn) {
			virConnectPtr old = c->conn;
			c->conn = NULL;
			pthread_mutex_unlock(&c->mutex);
			close_conn(old);
			pthread_mutex_lock(&c->mutex);
			continue;
		}
		if (c->failure_number != seen) {
			seen = c->failure_number;
			if (c->failure.kind != ERROR_RETRY || clock_ns() >= patience)
				return error_set(err, c->failure.kind, "%s",
					error_message(&c->failure));
			next_try = deadline_in(pause);
			pause = pause * 2 < BACKOFF_MAX_NS ? pause * 2 : BACKOFF_MAX_NS;
		}
		if (!c->opening && clock_ns() >= next_try && start_opening(c, err) < 0)
			return -1;
		if (wait_change(c, bound, LOOK_NS, err) < 0)
			return -1;
	}
	return 0;
}

int call_begin(struct connection *c, struct call *call, const struct bound *bound,
	struct error *err)
{
	*call = CALL_INIT;
	pthread_mutex_lock(&c->mutex);
	int result = 0;
	while (result == 0 && c->borrowed >= CALLS_IN_FLIGHT)
		result = wait_change(c, bound, LOOK_NS, err);
	if (result == 0) {
		c->borrowed++;
		result = ensure_open(c, bound, err);
		if (result < 0) {
			c->borrowed--;
			pthread_cond_broadcast(&c->changed);
		}
	}
	if (result == 0) {
		*call = (struct call){.connection = c,
			.conn = c->conn,
			.generation = c->generation};
		virConnectRef(c->conn);
	}
	pthread_mutex_unlock(&c->mutex);
	return result;
}

void call_end(struct call *call)
{
	struct connection *c = call->connection;
	if (!c)
		return;
	virConnectClose(call->conn);
	pthread_mutex_lock(&c->mutex);
	c->borrowed--;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->mutex);
	*call = CALL_INIT;
}

enum error_kind call_note(struct call *call)
{
	call->code = failure_code();
	call->domain = failure_domain();
	snprintf(call->text, sizeof(call->text), "%s", failure_text());
	if (failure_is_loss(call->code, call->domain))
		mark_lost(call->connection, call->generation, call->text);
	return failure_kind(call->code, call->domain, call->text);
}

int call_report(struct call *call, struct error *err, const char *format, ...)
{
	cleanup(free_ptr) char *what = NULL;
	va_list arguments;
	va_start(arguments, format);
	if (vasprintf(&what, format, arguments) < 0)
		what = NULL;
	va_end(arguments);
	return error_set(err, failure_kind(call->code, call->domain, call->text), "%s: %s",
		what ? what : "libvirt", call->text);
}

void connection_free(struct connection *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->mutex);
	c->freed = true;
	virConnectPtr conn = c->conn;
	c->conn = NULL;
	/* One that still opens may do so for minutes: it finds that nobody wants the connection. */
	if (c->opening && c->has_opener)
		pthread_detach(c->opener);
	else
		join_opener(c);
	pthread_mutex_unlock(&c->mutex);
	if (conn)
		close_conn(conn);
	unref(c);
}
