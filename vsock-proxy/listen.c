/* SPDX-License-Identifier: Apache-2.0 */
/* listen.c - see listen.h */
#include "vsock-proxy/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bound.h"
#include "base/file.h"
#include "base/log.h"
#include "vsock-proxy/dial.h"

/* How many one wake-up takes in, so that a flood of connections does not starve those we have. */
#define ACCEPT_BURST 16

static void accept_ready(evutil_socket_t fd, short what, void *context)
{
	(void)what;
	struct listener *l = context;
	for (int i = 0; i < ACCEPT_BURST && l->fd >= 0; i++) {
		int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (accepted >= 0) {
			l->accept(l->context, accepted);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			/* It would wake us at once again, for nothing. */
			log_error("accept a connection: %s; trying again in 200 ms",
				strerror(errno));
			event_del(&l->event);
			timer_start(&l->pause, 200 * NS_PER_MS);
			return;
		}
		if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

static void pause_over(void *context)
{
	struct listener *l = context;
	event_add(&l->event, NULL);
}

static int listener_begin(struct listener *l, struct loop *loop, int fd, listener_accept *accept,
	void *context)
{
	l->loop = loop;
	l->fd = fd;
	l->accept = accept;
	l->context = context;
	timer_init(&l->pause, loop, pause_over, l);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	event_assign(&l->event, loop->base, fd, EV_READ | EV_PERSIST, accept_ready, l);
	event_add(&l->event, NULL);
	return 0;
}

static int make_parent(const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/');
	if (!slash || slash == path)
		return 0;
	cleanup(free_ptr) char *folder = strndup(path, (size_t)(slash - path));
	if (!folder)
		return error_set(err, ERROR_INTERNAL, "out of memory");
	return dir_make(folder, 0700, err);
}

int listener_open_unix(struct listener *l, struct loop *loop, const char *path,
	listener_accept *accept, void *context, struct error *err)
{
	*l = (struct listener){.fd = -1};
	l->path = strdup(path);
	if (!l->path)
		return error_set(err, ERROR_INTERNAL, "out of memory");
	int fd = -1;
	if (make_parent(path, err) == 0)
		fd = unix_socket_listen(path, &l->identity, err);
	if (fd < 0) {
		free(take_ptr(l->path));
		return -1;
	}
	return listener_begin(l, loop, fd, accept, context);
}

int listener_adopt_unix(struct listener *l, struct loop *loop, int fd, const char *path,
	const struct unix_socket_identity *identity, listener_accept *accept, void *context,
	struct error *err)
{
	*l = (struct listener){.fd = -1, .identity = *identity};
	int listening = 0;
	socklen_t len = sizeof(listening);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0 || !listening) {
		close(fd);
		return error_set(err, ERROR_INVALID, "listen on %s: not a listening socket", path);
	}
	l->path = strdup(path);
	if (!l->path) {
		close(fd);
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	return listener_begin(l, loop, fd, accept, context);
}

void listener_claim(struct listener *l)
{
	listen(l->fd, SOMAXCONN);
}

static int bind_tcp(const struct sockaddr_storage *address, socklen_t len)
{
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	int on = 1, off = 0;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address->ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, (const struct sockaddr *)address, len) == 0 && listen(fd, 16) == 0)
		return fd;
	int errnum = errno;
	close(fd);
	errno = errnum;
	return -1;
}

/* "0.0.0.0:port" becomes "[::]:port", which takes IPv4 as well. */
static bool widen(struct sockaddr_storage *address, socklen_t *len)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
	if (address->ss_family != AF_INET || v4->sin_addr.s_addr != htonl(INADDR_ANY))
		return false;
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4->sin_port};
	memcpy(address, &v6, sizeof(v6));
	*len = sizeof(v6);
	return true;
}

int listener_open_tcp(struct listener *l, struct loop *loop, const char *text,
	listener_accept *accept, void *context, struct error *err)
{
	*l = (struct listener){.fd = -1};
	struct sockaddr_storage address, wide;
	socklen_t len, wide_len;
	char any_host[32];
	if (text[0] == ':') { /* Go's way to say: all addresses */
		snprintf(any_host, sizeof(any_host), "0.0.0.0%.20s", text);
		text = any_host;
	}
	if (tunnel_address_parse(text, &address, &len, err) < 0)
		return -1;
	wide = address;
	wide_len = len;
	int fd = -1;
	/* A machine without IPv6 cannot have the wide one. */
	if (widen(&wide, &wide_len))
		fd = bind_tcp(&wide, wide_len);
	if (fd < 0)
		fd = bind_tcp(&address, len);
	if (fd < 0)
		return error_set_errno(err, errno, "listen on %s", text);
	return listener_begin(l, loop, fd, accept, context);
}

void listener_close(struct listener *l)
{
	if (l->fd < 0 || !l->loop)
		return;
	event_del(&l->event);
	timer_stop(&l->pause);
	if (l->path)
		unix_socket_remove(l->path, &l->identity);
	close(take_fd(&l->fd));
	free(take_ptr(l->path));
}

void listener_let_go(struct listener *l)
{
	free(take_ptr(l->path));
	listener_close(l);
}

void notify_service_manager(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (!path || (path[0] != '/' && path[0] != '@') || !path[1] ||
		strlen(path) >= sizeof(address.sun_path))
		return;
	size_t len = strlen(path);
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = 0;
	cleanup(close_fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		log_warn("tell the service manager %s on %s: %s", state, path, strerror(errno));
}
