/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - one byte stream: Unix, vsock, TCP or TLS socket behind one table of functions
 *
 * Nothing here blocks. A connection tells its owner when it is ready; the owner reads and writes
 * until it is told CONN_AGAIN. Whoever calls conn_free must not touch the connection afterwards;
 * doing so inside the `ready` call is fine.
 */
#ifndef PEERPOD_VSOCK_CONN_H
#define PEERPOD_VSOCK_CONN_H

#include <openssl/ssl.h>
#include <sys/types.h>
#include "base/error.h"
#include "vsock-proxy/loop.h"

#define CONN_AGAIN (-1)  /* nothing now: `ready` will be called (if it is watched for) */
#define CONN_FAILED (-2) /* conn->error says why; also an orderly end where bytes were to come */

struct conn;

struct conn_type {
	const char *name;
	/* > 0: bytes, 0: the peer ended the stream, or CONN_*. */
	ssize_t (*read)(struct conn *conn, void *out, size_t len);
	/* > 0: bytes taken, or CONN_*. After CONN_AGAIN the next call must offer the same bytes. */
	ssize_t (*write)(struct conn *conn, const void *bytes, size_t len);
	/* Many writes follow, until it is called with false. NULL: makes no difference. */
	void (*gather)(struct conn *conn, bool on);
	/* May a read give bytes although the descriptor is not readable? */
	bool (*pending)(struct conn *conn);
	void (*watch)(struct conn *conn, bool readable, bool writable);
	void (*free)(struct conn *conn);
};

struct conn {
	const struct conn_type *type;
	void (*ready)(void *context, bool readable, bool writable);
	void *context;
	struct error error;
};

/* Takes the descriptor over: a connected or connecting stream socket. NULL: no memory (fd closed). */
struct conn *conn_new_fd(struct loop *loop, int fd);

/* Puts TLS on a plain connection that is connected; takes ssl over. The handshake is still to be done. */
int conn_secure(struct conn *conn, SSL *ssl, bool server, struct error *err);

/*
 * Drives the handshake: 0 done, CONN_AGAIN, CONN_FAILED. Watches for what it needs by itself. A client's certificate
 * and key are freed once it is done.
 */
int conn_handshake(struct conn *conn);

/*
 * SHA-256 of the certificate that the peer showed; all zero without TLS. 0 or -1.
 */
#define FINGERPRINT_SIZE 32
int conn_fingerprint(struct conn *conn, uint8_t out[FINGERPRINT_SIZE]);

/* The descriptor of a connection without TLS, which stays the connection's; -1: there is none. */
int conn_descriptor(const struct conn *conn);
/* Is this a connected stream socket, as conn_new_fd takes them? Makes it non-blocking. */
bool conn_fits(int fd);

static inline ssize_t conn_read(struct conn *conn, void *out, size_t len)
{
	return conn->type->read(conn, out, len);
}

static inline ssize_t conn_write(struct conn *conn, const void *bytes, size_t len)
{
	return conn->type->write(conn, bytes, len);
}

static inline void conn_gather(struct conn *conn, bool on)
{
	if (conn->type->gather)
		conn->type->gather(conn, on);
}

static inline void conn_watch(struct conn *conn, bool readable, bool writable)
{
	conn->type->watch(conn, readable, writable);
}

static inline bool conn_pending(struct conn *conn)
{
	return conn->type->pending(conn);
}

void conn_free(struct conn *conn);
void conn_set_owner(struct conn *conn, void (*ready)(void *, bool, bool), void *context);

/* Socket options of the tunnel leg: no delay, and a dead peer is noticed within 20 s. */
void conn_tune_tcp(int fd);

#endif
