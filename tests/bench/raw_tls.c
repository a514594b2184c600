/* SPDX-License-Identifier: Apache-2.0 */
/* raw_tls.c - see raw_tls.h. The child writes, the parent reads and takes the time. */
#include "tests/bench/raw_tls.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bound.h"

#define PIECE (64 * 1024)

static void write_for_ever(int fd, SSL_CTX *context)
{
	static uint8_t bytes[PIECE];
	SSL *ssl = SSL_new(context);
	if (ssl && SSL_set_fd(ssl, fd) && SSL_accept(ssl) == 1) {
		while (SSL_write(ssl, bytes, sizeof(bytes)) > 0)
			;
	}
	_exit(0);
}

static int connected_pair(int fds[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	cleanup(close_fd) int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, len) < 0 || listen(listener, 1) < 0 ||
		getsockname(listener, (struct sockaddr *)&address, &len) < 0)
		return -1;
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fds[0], (struct sockaddr *)&address, len) < 0)
		return -1;
	fds[1] = accept(listener, NULL, NULL);
	return fds[1] < 0 ? -1 : 0;
}

double raw_tls_mb_s(SSL_CTX *server, struct tls_client *client, const char *server_name,
	double seconds, struct error *err)
{
	int fds[2];
	if (connected_pair(fds) < 0)
		return error_set_errno(err, errno, "raw TLS");
	pid_t child = fork();
	if (child == 0) {
		close(fds[0]);
		write_for_ever(fds[1], server);
	}
	close(fds[1]);
	double result = -1;
	SSL *ssl = tls_client_connection(client, server_name, err);
	if (ssl && SSL_set_fd(ssl, fds[0])) {
		static uint8_t bytes[PIECE];
		SSL_set_read_ahead(ssl, 1);
		if (SSL_connect(ssl) != 1)
			error_set(err, ERROR_INTERNAL, "raw TLS: handshake failed");
		uint64_t total = 0, start = clock_ns(), end = start + (uint64_t)(seconds * 1e9),
			 now;
		int n;
		while ((n = SSL_read(ssl, bytes, sizeof(bytes))) > 0 && (now = clock_ns()) < end) {
			total += (uint64_t)n;
			result = (double)total / 1e6 / ((double)(now - start) / 1e9);
		}
	}
	SSL_free(ssl);
	close(fds[0]);
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	return result;
}
