/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http_test.c - lib/http against a server in this process that is slow, hangs, sends too much or hangs up
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "http/http.h"
#include "http/throttle.h"

/* Answers by path, one thread per connection. */
struct server {
	int fd;
	unsigned port;
	pthread_t thread;
	atomic_uint connections; /* accepted so far */
};

static void send_text(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		return;
}

static void drip(int fd)
{
	send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n");
	for (int i = 0; i < 4000 && send(fd, "x", 1, MSG_NOSIGNAL) == 1; i++)
		usleep(20000);
}

static void flood(int fd)
{
	send_text(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	char block[1024 + 7];
	memcpy(block, "400\r\n", 5);
	memset(block + 5, 'x', 1024);
	memcpy(block + 5 + 1024, "\r\n", 2);
	for (int i = 0; i < 1000 && send(fd, block, sizeof(block), MSG_NOSIGNAL) > 0; i++)
		continue;
}

static void header_flood(int fd)
{
	send_text(fd, "HTTP/1.1 200 OK\r\n");
	char line[1024];
	memset(line, 'x', sizeof(line));
	memcpy(line, "X: ", 3);
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	for (int i = 0; i < 100 && send(fd, line, sizeof(line), MSG_NOSIGNAL) > 0; i++)
		continue;
}

static void hang(int fd)
{
	char byte;
	while (read(fd, &byte, 1) > 0)
		continue; /* until the caller hangs up */
}

static void cut(int fd)
{
	send_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
}

static void nothing(int fd)
{
	(void)fd;
}

static void redirect(int fd)
{
	send_text(fd,
		"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n");
}

static void busy(int fd)
{
	send_text(fd, "HTTP/1.1 503 Service Unavailable\r\nretry-after:  7 \r\n"
		      "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nno");
}

static const struct {
	const char *path;
	void (*answer)(int fd);
} answers[] = {
	{"GET /drip ", drip},
	{"GET /flood ", flood},
	{"GET /headers ", header_flood},
	{"GET /hang ", hang},
	{"GET /cut ", cut},
	{"GET /nothing ", nothing},
	{"GET /redirect ", redirect},
	{"GET /busy ", busy},
};

static void *serve_one(void *opaque)
{
	int fd = *(int *)opaque;
	free(opaque);
	char request[4096];
	for (;;) {
		size_t len = 0;
		ssize_t n;
		char *end = NULL;
		while (!end && (n = read(fd, request + len, sizeof(request) - 1 - len)) > 0) {
			len += (size_t)n;
			request[len] = '\0';
			end = strstr(request, "\r\n\r\n");
		}
		if (!end)
			break;
		bool known = false;
		for (size_t i = 0; i < array_size(answers); i++) {
			if (!strncmp(request, answers[i].path, strlen(answers[i].path))) {
				answers[i].answer(fd);
				known = true;
			}
		}
		if (known)
			break;
		/* The head comes back as the body. */
		char head[128];
		snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
		send_text(fd, head);
		send_text(fd, request);
	}
	close(fd);
	return NULL;
}

static void *serve(void *opaque)
{
	struct server *s = opaque;
	int fd;
	while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
		pthread_t thread;
		s->connections++;
		int *given = malloc(sizeof(*given));
		if (given)
			*given = fd;
		if (given && pthread_create(&thread, NULL, serve_one, given) == 0) {
			pthread_detach(thread);
		} else {
			free(given);
			close(fd);
		}
	}
	return NULL;
}

static int server_start(void **state)
{
	static struct server server;
	server.fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t len = sizeof(address);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(server.fd, (struct sockaddr *)&address, len) < 0 || listen(server.fd, 64) < 0 ||
		getsockname(server.fd, (struct sockaddr *)&address, &len) < 0)
		return -1;
	server.port = ntohs(address.sin_port);
	*state = &server;
	return pthread_create(&server.thread, NULL, serve, &server);
}

static int server_stop(void **state)
{
	struct server *server = *state;
	shutdown(server->fd, SHUT_RDWR);
	pthread_join(server->thread, NULL);
	close(server->fd);
	return 0;
}

static int get(struct http_client *client, const struct server *server, const char *path,
	size_t max, const struct bound *bound, struct http_response *response, struct error *err)
{
	char url[200];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", server->port, path);
	const struct http_request request = {.method = "GET",
		.url = url,
		.body_max = max,
		.headers_max = max,
		.direct = true};
	return http_call(client, &request, response, bound, err);
}

DEFINE_CLEANUP(struct http_client, http_client_free)
#define cleanup_client cleanup(http_client_free_ptr) struct http_client

static void test_connection_is_used_again(void **state)
{
	struct server *server = *state;
	unsigned before = server->connections;
	cleanup_error err = ERROR_INIT;
	cleanup_client *client = http_client_new(NULL, &err);
	struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S)};
	for (int i = 0; i < 5; i++) {
		cleanup_response response = {0};
		assert_int_equal(get(client, server, "/echo", 0, &bound, &response, &err), 0);
		assert_int_equal(response.status, 200);
		assert_non_null(strstr(buf_text(&response.body), "GET /echo HTTP/1.1"));
	}
	assert_int_equal(server->connections - before, 1);
}

static void test_body_and_headers_are_sent(void **state)
{
	struct server *server = *state;
	cleanup_error err = ERROR_INIT;
	cleanup_client *client = http_client_new(NULL, &err);
	struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S)};
	char url[200];
	snprintf(url, sizeof(url), "http://127.0.0.1:%u/x", server->port);
	const char *const headers[] = {"X-One: 1", "Content-Type: text/plain", NULL};
	const struct http_request request = {.method = "PUT",
		.url = url,
		.headers = headers,
		.body = "",
		.body_len = 0,
		.direct = true};
	cleanup_response response = {0};
	assert_int_equal(http_call(client, &request, &response, &bound, &err), 0);
	assert_non_null(strstr(buf_text(&response.body), "PUT /x HTTP/1.1"));
	assert_non_null(strstr(buf_text(&response.body), "X-One: 1\r\n"));
	assert_null(strstr(buf_text(&response.body), "Expect:"));
	const char *const broken[] = {"X-One: 1\r\nX-Two: 2", NULL};
	const struct http_request bad = {.method = "GET", .url = url, .headers = broken};
	http_response_free(&response);
	assert_int_equal(http_call(client, &bad, &response, &bound, &err), -1);
	assert_non_null(strstr(error_message(&err), "the header X-One has a line break in it"));
}

static void test_failures_are_told_apart(void **state)
{
	struct server *server = *state;
	static const struct {
		const char *path;
		enum error_kind kind;
		const char *text;
	} cases[] = {
		{"/flood", ERROR_INVALID, "the body of the answer has more than 5000 bytes"},
		{"/headers", ERROR_INVALID, "the header of the answer has more than 5000 bytes"},
		{"/cut", ERROR_RETRY, "bytes remaining to read"},
		{"/nothing", ERROR_RETRY, "Empty reply from server"},
		{"/hang", ERROR_TIMEOUT, "GET 127.0.0.1"},
		{"/drip", ERROR_TIMEOUT, "GET 127.0.0.1"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		cleanup_client *client = http_client_new(NULL, &err);
		cleanup_response response = {0};
		struct bound bound = {.deadline_ns = deadline_in(300 * NS_PER_MS)};
		if (cases[i].kind != ERROR_TIMEOUT)
			bound = (struct bound){.deadline_ns = deadline_in(20 * NS_PER_S)};
		assert_int_equal(get(client, server, cases[i].path, 5000, &bound, &response, &err),
			-1);
		if (err.kind != cases[i].kind || !strstr(error_message(&err), cases[i].text))
			fail_msg("%s: %s: %s", cases[i].path, error_kind_name(err.kind),
				error_message(&err));
		assert_int_equal(response.body.len, 0);
		/* The client is of use afterwards. */
		struct bound more = {.deadline_ns = deadline_in(10 * NS_PER_S)};
		assert_int_equal(get(client, server, "/echo", 0, &more, &response, &err), 0);
	}
}

static void test_nobody_listens(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	cleanup_client *client = http_client_new(NULL, &err);
	cleanup_response response = {0};
	struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S)};
	struct http_request request = {.method = "GET",
		.url = "http://u:secret@127.0.0.1:1/p?token=secret",
		.direct = true};
	assert_int_equal(http_call(client, &request, &response, &bound, &err), -1);
	assert_int_equal(err.kind, ERROR_RETRY);
	assert_null(strstr(error_message(&err), "secret"));
	request.url = "file:///etc/passwd";
	assert_int_equal(http_call(client, &request, &response, &bound, &err), -1);
	assert_int_equal(err.kind, ERROR_INVALID);
}

static void test_redirects_are_answers(void **state)
{
	cleanup_error err = ERROR_INIT;
	cleanup_client *client = http_client_new(NULL, &err);
	cleanup_response response = {0};
	struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S)};
	assert_int_equal(get(client, *state, "/redirect", 0, &bound, &response, &err), 0);
	assert_int_equal(response.status, 302);
	assert_int_equal(response.body.len, 0);
}

static void test_retry_after_and_date_are_read(void **state)
{
	cleanup_error err = ERROR_INIT;
	cleanup_client *client = http_client_new(NULL, &err);
	cleanup_response response = {0};
	struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S)};
	assert_int_equal(get(client, *state, "/busy", 0, &bound, &response, &err), 0);
	assert_int_equal(response.status, 503);
	assert_int_equal(http_response_retry_after_ns(&response), 7 * NS_PER_S);
	assert_int_equal(http_response_date(&response), 784111777);
	static const struct {
		const char *headers;
		uint64_t seconds;
	} cases[] = {
		{"HTTP/1.1 503\r\n", 0},
		{"Retry-After: soon\r\n", 0},
		{"Retry-After: -5\r\n", 0},
		{"Retry-After: 99999999999999999999\r\n", 3600},
		{"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:47 GMT\r\n",
			10},
		{"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:07 GMT\r\n",
			0},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_response made = {0};
		buf_append_text(&made.headers, cases[i].headers);
		assert_int_equal(http_response_retry_after_ns(&made), cases[i].seconds * NS_PER_S);
	}
}

static void *cancel_soon(void *opaque)
{
	usleep(50000);
	cancel_fire(opaque);
	return NULL;
}

static void test_cancel_ends_a_hanging_call_at_once(void **state)
{
	cleanup_error err = ERROR_INIT;
	cleanup_client *client = http_client_new(NULL, &err);
	cleanup_response response = {0};
	struct cancel *cancel = cancel_new();
	struct bound bound = {.deadline_ns = deadline_in(60 * NS_PER_S), .cancel = cancel};
	pthread_t thread;
	uint64_t began = clock_ns();
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, cancel), 0);
	assert_int_equal(get(client, *state, "/hang", 0, &bound, &response, &err), -1);
	assert_int_equal(err.kind, ERROR_CANCELED);
	assert_true(clock_ns() - began < 10 * NS_PER_S);
	pthread_join(thread, NULL);
	cancel_unref(cancel);
}

struct many {
	struct http_client *client;
	const struct server *server;
	unsigned failed;
};

static void *call_many(void *opaque)
{
	struct many *m = opaque;
	struct bound bound = {.deadline_ns = deadline_in(60 * NS_PER_S)};
	for (int i = 0; i < 20; i++) {
		cleanup_response response = {0};
		if (get(m->client, m->server, "/echo", 0, &bound, &response, NULL) < 0 ||
			response.status != 200)
			__atomic_fetch_add(&m->failed, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void test_many_threads_share_a_client(void **state)
{
	cleanup_error err = ERROR_INIT;
	cleanup_client *client = http_client_new(NULL, &err);
	struct many many = {client, *state, 0};
	pthread_t threads[16];
	for (size_t i = 0; i < array_size(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, call_many, &many), 0);
	for (size_t i = 0; i < array_size(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(many.failed, 0);
}

static void test_throttle_lets_the_burst_through_and_then_the_rate(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	struct throttle *t = throttle_new("calls", 50, 5);
	struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S)};
	uint64_t began = clock_ns();
	for (int i = 0; i < 5; i++)
		assert_int_equal(throttle_take(t, &bound, &err), 0);
	uint64_t burst = clock_ns() - began;
	for (int i = 0; i < 10; i++)
		assert_int_equal(throttle_take(t, &bound, &err), 0);
	uint64_t all = clock_ns() - began;
	assert_true(burst < 10 * NS_PER_S);
	assert_true(all >= 195 * NS_PER_MS); /* ten intervals of 20 ms */
	throttle_free(t);
}

static void test_throttle_says_at_once_what_comes_too_late(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	struct throttle *t = throttle_new("RunInstances", 2, 1);
	struct bound bound = {.deadline_ns = deadline_in(30 * NS_PER_S)};
	throttle_hold(t, 60 * NS_PER_S);
	assert_int_equal(throttle_take(t, &bound, &err), -1);
	assert_int_equal(err.kind, ERROR_THROTTLED);
	assert_non_null(strstr(error_message(&err), "RunInstances: the rate limit has a turn in "));
	throttle_free(t);
}

static void test_throttle_takes_no_blame_for_a_time_that_is_over(void **state)
{
	(void)state;
	struct throttle *t = throttle_new("calls", 50, 5);
	struct bound over = {.deadline_ns = clock_ns()};
	cleanup_error err = ERROR_INIT;
	assert_int_equal(throttle_take(t, &over, &err), -1);
	assert_int_equal(err.kind, ERROR_TIMEOUT);
	throttle_free(t);
}

static void test_throttle_obeys_a_hold(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	struct throttle *t = throttle_new("calls", 100, 10);
	struct bound bound = {.deadline_ns = deadline_in(30 * NS_PER_S)};
	throttle_hold(t, 200 * NS_PER_MS);
	throttle_hold(t, 1); /* a shorter one changes nothing */
	uint64_t began = clock_ns();
	assert_int_equal(throttle_take(t, &bound, &err), 0);
	assert_true(clock_ns() - began >= 190 * NS_PER_MS);
	assert_int_equal(throttle_take(t, &bound, &err), 0);
	assert_true(clock_ns() - began >= 200 * NS_PER_MS); /* no burst after a hold */
	throttle_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connection_is_used_again),
		cmocka_unit_test(test_body_and_headers_are_sent),
		cmocka_unit_test(test_failures_are_told_apart),
		cmocka_unit_test(test_nobody_listens),
		cmocka_unit_test(test_redirects_are_answers),
		cmocka_unit_test(test_retry_after_and_date_are_read),
		cmocka_unit_test(test_cancel_ends_a_hanging_call_at_once),
		cmocka_unit_test(test_many_threads_share_a_client),
		cmocka_unit_test(test_throttle_lets_the_burst_through_and_then_the_rate),
		cmocka_unit_test(test_throttle_says_at_once_what_comes_too_late),
		cmocka_unit_test(test_throttle_takes_no_blame_for_a_time_that_is_over),
		cmocka_unit_test(test_throttle_obeys_a_hold),
	};
	return cmocka_run_group_tests(tests, server_start, server_stop);
}
