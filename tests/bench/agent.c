/* SPDX-License-Identifier: Apache-2.0 */
/* agent.c - see agent.h. One thread per connection; reads in large pieces, one write per burst. */
#include "tests/bench/agent.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ttrpc/frame.h"

#define READ_SIZE ((size_t)256 * 1024)

static void answer(struct buf *out, const struct ttrpc_header *header, const uint8_t *data)
{
	static const uint8_t zeroes[TTRPC_DATA_MAX];
	static const uint8_t serving[] = {0x08, 0x01};
	struct ttrpc_request request;
	struct ttrpc_response response = {0};
	if (ttrpc_request_read(data, header->length, &request, NULL) < 0)
		return;
	if (ttrpc_bytes_equal(request.service, "peerpod.Session")) {
		response.code = TTRPC_UNIMPLEMENTED;
	} else if (ttrpc_bytes_equal(request.method, "Check")) {
		response.payload = (struct ttrpc_bytes){serving, sizeof(serving)};
	} else if (ttrpc_bytes_equal(request.method, "Read") && request.payload.len == 4) {
		uint32_t size;
		memcpy(&size, request.payload.data, 4);
		response.payload = (struct ttrpc_bytes){zeroes, ntohl(size)};
	}
	ttrpc_response_write(out, header->stream, &response, NULL);
}

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
		if (n <= 0)
			return -1;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

static void *serve(void *context)
{
	int fd = *(int *)context;
	free(context);
	struct buf in = BUF_INIT, out = BUF_INIT;
	for (;;) {
		uint8_t *to = buf_reserve(&in, READ_SIZE);
		ssize_t n = to ? recv(fd, to, READ_SIZE, 0) : -1;
		if (n <= 0)
			break;
		in.len += (size_t)n;
		size_t at = 0;
		struct ttrpc_header header;
		while (in.len - at >= TTRPC_HEADER_SIZE) {
			ttrpc_header_read(in.data + at, &header);
			if (in.len - at - TTRPC_HEADER_SIZE < header.length)
				break;
			if (header.type == TTRPC_REQUEST)
				answer(&out, &header, in.data + at + TTRPC_HEADER_SIZE);
			at += TTRPC_HEADER_SIZE + header.length;
		}
		buf_consume(&in, at);
		if (write_all(fd, out.data, out.len) < 0)
			break;
		out.len = 0;
	}
	buf_free(&in);
	buf_free(&out);
	close(fd);
	return NULL;
}

void bench_agent(int unix_fd, int tcp_fd)
{
	struct pollfd listeners[] = {{unix_fd, POLLIN, 0}, {tcp_fd, POLLIN, 0}};
	while (poll(listeners, 2, -1) > 0) {
		for (int i = 0; i < 2; i++) {
			int fd = listeners[i].revents ? accept(listeners[i].fd, NULL, NULL) : -1;
			if (fd < 0)
				continue;
			int on = 1;
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
			int *handed = malloc(sizeof(*handed));
			if (!handed)
				continue;
			*handed = fd;
			pthread_t thread;
			if (pthread_create(&thread, NULL, serve, handed) == 0)
				pthread_detach(thread);
		}
	}
}
