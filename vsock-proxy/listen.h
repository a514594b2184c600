/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.h - listening sockets in the loop
 */
#ifndef PEERPOD_VSOCK_LISTEN_H
#define PEERPOD_VSOCK_LISTEN_H

#include "ttrpc/server.h"
#include "vsock-proxy/loop.h"

/* Called with a connected, non-blocking descriptor, which it takes over. */
typedef void listener_accept(void *context, int fd);

struct listener {
	struct loop *loop;
	int fd; /* -1: none */
	struct event event;
	struct timer pause; /* after "too many open files" */
	char *path;         /* Unix: owned; NULL for TCP */
	struct unix_socket_identity identity;
	listener_accept *accept;
	void *context;
};

/*
 * A Unix socket of mode 0600; its folder is made (0700) where it is missing. A stale file is replaced,
 * one that a live process answers on is ERROR_EXISTS.
 */
int listener_open_unix(struct listener *listener, struct loop *loop, const char *path,
	listener_accept *accept, void *context, struct error *err);

/*
 * The same with a socket that another process made and listens on: takes fd over, also on failure. The file at path is
 * removed with it where it is that of the identity.
 */
int listener_adopt_unix(struct listener *listener, struct loop *loop, int fd, const char *path,
	const struct unix_socket_identity *identity, listener_accept *accept, void *context,
	struct error *err);

/* An adopted one is ours from now on: whoever connects is told our process (SO_PEERCRED). */
void listener_claim(struct listener *listener);

/* TCP: "0.0.0.0:15150" and "[::]:15150" listen on both IPv4 and IPv6 where the machine has both. */
int listener_open_tcp(struct listener *listener, struct loop *loop, const char *address,
	listener_accept *accept, void *context, struct error *err);

/* Closes it, and removes the file where it is still ours. Closing twice is fine. */
void listener_close(struct listener *listener);

/* Closes it only: another process listens there, and the file is its. */
void listener_let_go(struct listener *listener);

/* Tells the service manager (NOTIFY_SOCKET, path or abstract): "READY=1", "STOPPING=1". */
void notify_service_manager(const char *state);

#endif
