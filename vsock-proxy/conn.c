/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c - see conn.h
 *
 * Plain and TLS connections share the descriptor and its two events. TLS runs with partial writes
 * and with its buffers released when empty, so that an idle tunnel costs little memory; read-ahead
 * fetches a record's header and body with one system call.
 */
#include "vsock-proxy/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/socket.h>

#include "tls/tls.h"

/*
 * Bytes that a peer may send before it has proven who it is. A TLS 1.3 client's hello and
 * certificate chain need 2-6 KiB.
 */
#define HANDSHAKE_BYTES_MAX UINT64_C(65536)

struct conn_fd {
	struct conn conn;
	int fd;
	struct event readable, writable;
	bool watch_read, watch_write; /* what the events are set to */
	SSL *ssl;                     /* NULL: plain */
	bool server;
	bool read_wants_write; /* TLS: a read can go on once the socket takes bytes */
	bool write_wants_read;
	bool owner_reads, owner_writes; /* what the owner asked for */
};

static struct conn_fd *conn_fd(struct conn *conn)
{
	return (struct conn_fd *)conn;
}

static void set_event(struct event *event, bool *is, bool wanted)
{
	if (*is == wanted)
		return;
	*is = wanted;
	if (wanted)
		event_add(event, NULL);
	else
		event_del(event);
}

static void watch_anew(struct conn_fd *c)
{
	bool readable = (c->owner_reads && !c->read_wants_write) ||
			(c->owner_writes && c->write_wants_read);
	bool writable = (c->owner_writes && !c->write_wants_read) ||
			(c->owner_reads && c->read_wants_write);
	set_event(&c->readable, &c->watch_read, readable);
	set_event(&c->writable, &c->watch_write, writable);
}

static void fd_watch(struct conn *conn, bool readable, bool writable)
{
	struct conn_fd *c = conn_fd(conn);
	bool starts = readable && !c->owner_reads;
	c->owner_reads = readable;
	c->owner_writes = writable;
	watch_anew(c);
	/* Bytes that TLS holds already make no event of their own. */
	if (starts && c->ssl && SSL_has_pending(c->ssl))
		event_active(&c->readable, EV_READ, 0);
}

static void fd_event(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	struct conn_fd *c = context;
	bool readable = what & EV_READ, writable = what & EV_WRITE;
	/* TLS may have waited for one direction on behalf of the other: then both are worth a try. */
	if (c->read_wants_write || c->write_wants_read) {
		c->read_wants_write = c->write_wants_read = false;
		watch_anew(c);
		readable = c->owner_reads;
		writable = c->owner_writes;
	}
	c->conn.ready(c->conn.context, readable, writable);
}

static ssize_t fd_failed(struct conn *conn, const char *doing)
{
	int errnum = errno;
	if (errnum == EAGAIN || errnum == EWOULDBLOCK || errnum == EINTR)
		return CONN_AGAIN;
	error_set_errno(&conn->error, errnum, "%s", doing);
	return CONN_FAILED;
}

static ssize_t fd_read(struct conn *conn, void *out, size_t len)
{
	ssize_t n = recv(conn_fd(conn)->fd, out, len, 0);
	return n >= 0 ? n : fd_failed(conn, "receive");
}

static ssize_t fd_write(struct conn *conn, const void *bytes, size_t len)
{
	ssize_t n = send(conn_fd(conn)->fd, bytes, len, MSG_NOSIGNAL);
	return n >= 0 ? n : fd_failed(conn, "send");
}

static bool fd_pending(struct conn *conn)
{
	(void)conn;
	return false;
}

static void fd_free(struct conn *conn)
{
	struct conn_fd *c = conn_fd(conn);
	set_event(&c->readable, &c->watch_read, false);
	set_event(&c->writable, &c->watch_write, false);
	/* An event made active by hand is not "added"; event_del removes that as well. */
	event_del(&c->readable);
	if (c->ssl) {
		/* close_notify where it fits into the socket at once; a dead peer is not waited for. */
		if (SSL_is_init_finished(c->ssl) && !conn->error.kind) {
			ERR_clear_error();
			SSL_shutdown(c->ssl);
		}
		SSL_free(c->ssl);
		ERR_clear_error();
	}
	close(c->fd);
	error_clear(&conn->error);
	free(c);
}

static const struct conn_type plain_type = {
	.name = "plain",
	.read = fd_read,
	.write = fd_write,
	.pending = fd_pending,
	.watch = fd_watch,
	.free = fd_free,
};

/* What to do after an SSL call that moved nothing. */
static ssize_t tls_result(struct conn_fd *c, int result, bool reading, const char *doing)
{
	int errnum = errno;
	switch (SSL_get_error(c->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		if (!reading) {
			c->write_wants_read = true;
			watch_anew(c);
		}
		return CONN_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		if (reading) {
			c->read_wants_write = true;
			watch_anew(c);
		}
		return CONN_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		tls_failure(c->ssl, result, errnum, doing, &c->conn.error);
		return CONN_FAILED;
	}
}

static ssize_t tls_read(struct conn *conn, void *out, size_t len)
{
	struct conn_fd *c = conn_fd(conn);
	ERR_clear_error();
	errno = 0;
	int n = SSL_read(c->ssl, out, len > INT32_MAX ? INT32_MAX : (int)len);
	return n > 0 ? n : tls_result(c, n, true, "receive");
}

static ssize_t tls_write(struct conn *conn, const void *bytes, size_t len)
{
	struct conn_fd *c = conn_fd(conn);
	ERR_clear_error();
	errno = 0;
	int n = SSL_write(c->ssl, bytes, len > INT32_MAX ? INT32_MAX : (int)len);
	if (n > 0)
		return n;
	ssize_t result = tls_result(c, n, false, "send");
	if (result == 0) { /* the peer has closed its direction: nobody reads this any more */
		error_set(&conn->error, ERROR_RETRY, "send: the peer closed the connection");
		return CONN_FAILED;
	}
	return result;
}

/* Each record is a write of its own; this way the kernel puts them together, and the peer wakes up for several. */
static void tls_gather(struct conn *conn, bool on)
{
	int value = on;
	setsockopt(conn_fd(conn)->fd, IPPROTO_TCP, TCP_CORK, &value, sizeof(value));
}

static bool tls_pending(struct conn *conn)
{
	return SSL_has_pending(conn_fd(conn)->ssl);
}

static const struct conn_type tls_type = {
	.name = "tls",
	.read = tls_read,
	.write = tls_write,
	.gather = tls_gather,
	.pending = tls_pending,
	.watch = fd_watch,
	.free = fd_free,
};

int conn_handshake(struct conn *conn)
{
	struct conn_fd *c = conn_fd(conn);
	if (!c->ssl)
		return 0;
	ERR_clear_error();
	errno = 0;
	int n = c->server ? SSL_accept(c->ssl) : SSL_connect(c->ssl);
	if (n == 1) {
		/* Shown and proven; neither side may ask again (no renegotiation, no post-handshake authentication). */
		if (!c->server)
			SSL_certs_clear(c->ssl);
		return 0;
	}
	int errnum = errno;
	if (BIO_number_read(SSL_get_rbio(c->ssl)) > HANDSHAKE_BYTES_MAX) {
		error_set(&conn->error, ERROR_DENIED,
			"TLS handshake: the peer sent more than %llu bytes without proving who it is",
			(unsigned long long)HANDSHAKE_BYTES_MAX);
		return CONN_FAILED;
	}
	switch (SSL_get_error(c->ssl, n)) {
	case SSL_ERROR_WANT_READ:
		fd_watch(conn, true, false);
		return CONN_AGAIN;
	case SSL_ERROR_WANT_WRITE:
		fd_watch(conn, false, true);
		return CONN_AGAIN;
	default:
		tls_failure(c->ssl, n, errnum, "TLS handshake", &conn->error);
		return CONN_FAILED;
	}
}

static struct conn_fd *conn_fd_new(struct loop *loop, int fd)
{
	struct conn_fd *c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return NULL;
	}
	c->fd = fd;
	c->conn.type = &plain_type;
	event_assign(&c->readable, loop->base, fd, EV_READ | EV_PERSIST, fd_event, c);
	event_assign(&c->writable, loop->base, fd, EV_WRITE | EV_PERSIST, fd_event, c);
	return c;
}

struct conn *conn_new_fd(struct loop *loop, int fd)
{
	struct conn_fd *c = conn_fd_new(loop, fd);
	return c ? &c->conn : NULL;
}

int conn_descriptor(const struct conn *conn)
{
	return conn && conn->type == &plain_type ? ((const struct conn_fd *)conn)->fd : -1;
}

bool conn_fits(int fd)
{
	int type = 0, listening = 0;
	socklen_t len = sizeof(type);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM ||
		getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 || listening)
		return false;
	int flags = fcntl(fd, F_GETFL);
	return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

int conn_secure(struct conn *conn, SSL *ssl, bool server, struct error *err)
{
	struct conn_fd *c = conn_fd(conn);
	if (SSL_set_fd(ssl, c->fd) != 1) {
		SSL_free(ssl);
		return error_set(err, ERROR_INTERNAL, "TLS connection: out of memory");
	}
	SSL_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_set_read_ahead(ssl, 1);
	c->conn.type = &tls_type;
	c->ssl = ssl;
	c->server = server;
	return 0;
}

int conn_fingerprint(struct conn *conn, uint8_t out[FINGERPRINT_SIZE])
{
	memset(out, 0, FINGERPRINT_SIZE);
	struct conn_fd *c = conn_fd(conn);
	if (conn->type != &tls_type)
		return 0;
	X509 *peer = SSL_get0_peer_certificate(c->ssl);
	unsigned int len = FINGERPRINT_SIZE;
	return peer && X509_digest(peer, EVP_sha256(), out, &len) == 1 ? 0 : -1;
}

void conn_free(struct conn *conn)
{
	if (conn)
		conn->type->free(conn);
}

void conn_set_owner(struct conn *conn, void (*ready)(void *, bool, bool), void *context)
{
	conn->ready = ready;
	conn->context = context;
}

void conn_tune_tcp(int fd)
{
	static const struct {
		int level, name, value;
	} settings[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		/* Silence: probed after 5 s, given up after three more probes, 20 s in all. */
		{IPPROTO_TCP, TCP_KEEPIDLE, 5},
		{IPPROTO_TCP, TCP_KEEPINTVL, 5},
		{IPPROTO_TCP, TCP_KEEPCNT, 3},
		/* Sent and not acknowledged: milliseconds. */
		{IPPROTO_TCP, TCP_USER_TIMEOUT, 20000},
	};
	for (size_t i = 0; i < array_size(settings); i++)
		setsockopt(fd, settings[i].level, settings[i].name, &settings[i].value,
			sizeof(settings[i].value));
}
