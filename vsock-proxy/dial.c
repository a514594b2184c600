/* SPDX-License-Identifier: Apache-2.0 */
/* dial.c - see dial.h */
#include "vsock-proxy/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/bound.h"
#include "base/log.h"

/* Attempts at once; a new one joins each second, the oldest leaves. */
#define PARALLEL 3
#define JOIN_AFTER_NS NS_PER_S
/* A server that has accepted answers its part of the handshake within this time, or never. */
#define HANDSHAKE_NS (10 * NS_PER_S)

struct attempt {
	struct dialer *dialer;
	struct conn *conn; /* NULL: this place is free */
	int fd;            /* borrowed from conn */
	bool handshaking;
	uint64_t since_ns;
};

struct dialer {
	struct loop *loop;
	struct sockaddr_storage address;
	socklen_t address_len;
	struct tls_client *tls;
	char *server_name;
	const struct dialer_ops *ops;
	void *context;
	uint64_t backoff_min_ns, backoff_max_ns, backoff_ns;
	struct attempt attempts[PARALLEL];
	struct timer timer;
	struct error trouble;
	enum dial_reason reason;
	unsigned int count, denials;
	bool running;
};

int tunnel_address_parse(const char *text, struct sockaddr_storage *out, socklen_t *len,
	struct error *err)
{
	char host[80];
	const char *colon = strrchr(text, ':');
	size_t host_len = colon ? (size_t)(colon - text) : 0;
	const char *start = text;
	if (host_len > 1 && text[0] == '[' && text[host_len - 1] == ']') {
		start++;
		host_len -= 2;
	} else if (host_len && memchr(text, ':', host_len)) {
		host_len = 0; /* IPv6 without brackets: where the port begins is a guess */
	}
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
		.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	if (host_len == 0 || host_len >= sizeof(host))
		return error_set(err, ERROR_INVALID,
			"\"%s\" is no address: write 192.0.2.7:15150 or [2001:db8::7]:15150", text);
	memcpy(host, start, host_len);
	host[host_len] = 0;
	if (getaddrinfo(host, colon + 1, &hints, &found) != 0 || !found)
		return error_set(err, ERROR_INVALID,
			"\"%s\" is no address: write 192.0.2.7:15150 or [2001:db8::7]:15150", text);
	memcpy(out, found->ai_addr, found->ai_addrlen);
	*len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

static void attempt_end(struct attempt *a)
{
	conn_free(take_ptr(a->conn));
}

static enum dial_reason reason_of(int errnum)
{
	switch (errnum) {
	case ECONNREFUSED:
		return DIAL_REFUSED;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENETDOWN:
	case EHOSTDOWN:
	case EACCES:
	case EPERM: /* a local firewall says no */
		return DIAL_NO_ROUTE;
	case ETIMEDOUT:
		return DIAL_NO_ANSWER;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
	case EADDRNOTAVAIL: /* no port of our own is free */
		return DIAL_NO_RESOURCES;
	default:
		return DIAL_BROKEN;
	}
}

static bool any_running(const struct dialer *d)
{
	for (size_t i = 0; i < PARALLEL; i++) {
		if (d->attempts[i].conn)
			return true;
	}
	return false;
}

static void next_after_pause(struct dialer *d)
{
	if (!d->backoff_ns)
		d->backoff_ns = d->backoff_min_ns;
	timer_start(&d->timer, jitter_ns(d->backoff_ns / 2, d->backoff_ns));
	d->backoff_ns = backoff_longer(d->backoff_ns, d->backoff_max_ns);
}

static void note_trouble(struct dialer *d, enum dial_reason reason, struct error *why)
{
	error_clear(&d->trouble);
	error_move(&d->trouble, why);
	d->reason = reason;
}

static void failed(struct dialer *d, enum dial_reason reason, struct error *why)
{
	note_trouble(d, reason, why);
	/* A foreign certificate stays foreign. Once more, in case an old VM was just leaving the address. */
	if (reason == DIAL_CERTIFICATE && ++d->denials >= 2) {
		dialer_stop(d);
		d->ops->denied(d->context, &d->trouble);
		return;
	}
	if (!any_running(d))
		next_after_pause(d);
}

static void attempt_failed(struct attempt *a, enum dial_reason reason, struct error *why)
{
	struct dialer *d = a->dialer;
	attempt_end(a);
	failed(d, reason, why);
}

void dialer_reject(struct dialer *d, const struct error *why)
{
	cleanup_error copy = ERROR_INIT;
	error_set(&copy, why->kind, "%s", error_message(why));
	d->running = true;
	failed(d, DIAL_CERTIFICATE, &copy);
}

static void attempt_succeeded(struct attempt *a)
{
	struct dialer *d = a->dialer;
	struct conn *conn = take_ptr(a->conn);
	conn_watch(conn, false, false);
	dialer_stop(d);
	d->ops->connected(d->context, conn);
}

static void attempt_handshake(struct attempt *a)
{
	switch (conn_handshake(a->conn)) {
	case 0:
		attempt_succeeded(a);
		return;
	case CONN_AGAIN:
		return;
	default: {
		cleanup_error why = ERROR_INIT;
		error_move(&why, &a->conn->error);
		attempt_failed(a, why.kind == ERROR_DENIED ? DIAL_CERTIFICATE : DIAL_BROKEN, &why);
	}
	}
}

/* Connected: TLS begins. Not before, since most attempts at a VM that boots get no further. */
static int attempt_secure(struct attempt *a, struct error *err)
{
	const struct dialer *d = a->dialer;
	if (!d->tls)
		return 0;
	SSL *ssl = tls_client_connection(d->tls, d->server_name, err);
	if (!ssl)
		return -1;
	return conn_secure(a->conn, ssl, false, err);
}

static void attempt_ready(void *context, bool readable, bool writable)
{
	(void)readable;
	(void)writable;
	struct attempt *a = context;
	if (!a->handshaking) {
		int errnum = 0;
		socklen_t len = sizeof(errnum);
		if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &errnum, &len) < 0)
			errnum = errno;
		if (errnum) {
			cleanup_error why = ERROR_INIT;
			error_set_errno(&why, errnum, "connect");
			attempt_failed(a, reason_of(errnum), &why);
			return;
		}
		a->handshaking = true;
		a->since_ns = clock_ns();
		conn_watch(a->conn, false, false);
		timer_start(&a->dialer->timer, HANDSHAKE_NS);
		cleanup_error why = ERROR_INIT;
		if (attempt_secure(a, &why) < 0) {
			attempt_failed(a, DIAL_BROKEN, &why);
			return;
		}
	}
	attempt_handshake(a);
}

/* Opens the socket and begins to connect: 0, or an errno. */
static int attempt_begin(struct dialer *d, struct attempt *a)
{
	int fd = socket(d->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	conn_tune_tcp(fd);
	if (connect(fd, (struct sockaddr *)&d->address, d->address_len) < 0 &&
		errno != EINPROGRESS) {
		int errnum = errno;
		close(fd);
		return errnum;
	}
	*a = (struct attempt){.dialer = d, .fd = fd, .since_ns = clock_ns()};
	a->conn = conn_new_fd(d->loop, fd);
	if (!a->conn)
		return ENOMEM;
	conn_set_owner(a->conn, attempt_ready, a);
	conn_watch(a->conn, false, true);
	return 0;
}

/* The place for a new attempt: a free one, else that of the oldest. NULL: one is shaking hands. */
static struct attempt *place(struct dialer *d)
{
	struct attempt *best = NULL;
	for (size_t i = 0; i < PARALLEL; i++) {
		struct attempt *a = &d->attempts[i];
		if (a->conn && a->handshaking) {
			if (clock_ns() - a->since_ns < HANDSHAKE_NS)
				return NULL;
			cleanup_error why = ERROR_INIT;
			error_set(&why, ERROR_TIMEOUT,
				"TLS handshake: no answer within %d s of connecting",
				(int)(HANDSHAKE_NS / NS_PER_S));
			note_trouble(d, DIAL_BROKEN, &why);
			attempt_end(a);
		}
		if (!best || (best->conn && (!a->conn || a->since_ns < best->since_ns)))
			best = a;
	}
	if (best->conn) {
		attempt_end(best);
		cleanup_error why = ERROR_INIT;
		error_set(&why, ERROR_TIMEOUT, "connect: no answer");
		note_trouble(d, DIAL_NO_ANSWER, &why);
	}
	return best;
}

static void try_now(void *context)
{
	struct dialer *d = context;
	if (!d->running)
		return;
	struct attempt *a = place(d);
	if (!a) {
		timer_start(&d->timer, JOIN_AFTER_NS);
		return;
	}
	/* Something that is still on its way after a second had no answer so far. */
	if (any_running(d) && !d->trouble.kind) {
		cleanup_error silent = ERROR_INIT;
		error_set(&silent, ERROR_TIMEOUT, "connect: no answer");
		note_trouble(d, DIAL_NO_ANSWER, &silent);
	}
	d->count++;
	int errnum = attempt_begin(d, a);
	if (errnum) {
		cleanup_error why = ERROR_INIT;
		error_set_errno(&why, errnum, "connect");
		note_trouble(d, reason_of(errnum), &why);
		next_after_pause(d);
		return;
	}
	timer_start(&d->timer, JOIN_AFTER_NS);
}

struct dialer *dialer_new(struct loop *loop, const struct dial_settings *settings,
	const struct dialer_ops *ops, void *context, struct error *err)
{
	struct dialer *d = calloc(1, sizeof(*d));
	if (!d) {
		error_set(err, ERROR_INTERNAL, "dial %s: out of memory", settings->address);
		return NULL;
	}
	d->loop = loop;
	d->ops = ops;
	d->context = context;
	d->backoff_min_ns = settings->backoff_min_ns;
	d->backoff_max_ns = settings->backoff_max_ns;
	d->server_name = strdup(settings->server_name ? settings->server_name : "");
	timer_init(&d->timer, loop, try_now, d);
	if (settings->tls)
		d->tls = tls_client_ref(settings->tls);
	if (!d->server_name ||
		tunnel_address_parse(settings->address, &d->address, &d->address_len, err) < 0) {
		dialer_free(d);
		return NULL;
	}
	return d;
}

void dialer_free(struct dialer *d)
{
	if (!d)
		return;
	dialer_stop(d);
	tls_client_free(d->tls);
	error_clear(&d->trouble);
	free(d->server_name);
	free(d);
}

void dialer_start(struct dialer *d, bool at_once)
{
	dialer_stop(d);
	error_clear(&d->trouble);
	d->count = d->denials = 0;
	d->running = true;
	if (at_once) {
		d->backoff_ns = 0;
		try_now(d);
	} else {
		next_after_pause(d);
	}
}

void dialer_forgive(struct dialer *d)
{
	d->backoff_ns = 0;
	d->denials = 0;
}

void dialer_stop(struct dialer *d)
{
	d->running = false;
	timer_stop(&d->timer);
	for (size_t i = 0; i < PARALLEL; i++)
		attempt_end(&d->attempts[i]);
}

const struct tls_client *dialer_identity(const struct dialer *d, const char **server_name)
{
	*server_name = d->server_name;
	return d->tls;
}

const struct error *dialer_trouble(const struct dialer *d, enum dial_reason *reason,
	unsigned int *attempts)
{
	if (attempts)
		*attempts = d->count;
	if (reason)
		*reason = d->reason;
	return d->trouble.kind ? &d->trouble : NULL;
}
