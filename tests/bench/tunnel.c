/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel.c - tunnel-bench: what the agent tunnel costs
 *
 * Three ways to the same agent, measured in turns so that a busy machine hits all alike:
 *   direct  the agent's Unix socket
 *   proxy   agent-proxy, plain TCP to the agent
 *   tunnel  agent-proxy, mutual TLS, agent-protocol-forwarder, the agent
 * The best of several rounds counts: what disturbs a round only makes it slower. Prints JSON.
 *
 *   tunnel-bench [folder of the programs]
 */
#include <arpa/inet.h>
#include <errno.h>
#include <ftw.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bound.h"
#include "base/file.h"
#include "base/json.h"
#include "proto/proxy.pb-c.h"
#include "tests/bench/agent.h"
#include "tests/bench/raw_tls.h"
#include "tls/tls.h"
#include "ttrpc/client.h"

#define NAME "podvm-bench-00000000"
#define ROUNDS 5
#define CALLS 4000         /* a round, one after the other */
#define CALLS_FLOWING 8000 /* a round, FLOW at once */
#define FLOW 32
#define BULK_PIECE (256 * 1024)
#define BULK_FLOW 8
#define RECEIVE_SIZE ((size_t)512 * 1024)
#define BULK_BYTES (192u * 1024 * 1024) /* a round */

enum way { DIRECT, PROXY, TUNNEL, WAYS };
static const char *const way_names[] = {"direct", "proxy", "tunnel"};

struct bench {
	char folder[64], programs[512];
	pid_t children[8];
	size_t child_count;
	int agent_port, forwarder_port;
	struct tls_identity server, client;
	struct tls_ca *ca;
};

static struct bench bench;

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *where)
{
	(void)st;
	(void)what;
	(void)where;
	return remove(path);
}

static void stop_all(void)
{
	for (size_t i = 0; i < bench.child_count; i++)
		kill(bench.children[i], SIGKILL);
	for (size_t i = 0; i < bench.child_count; i++)
		waitpid(bench.children[i], NULL, 0);
	bench.child_count = 0;
	nftw(bench.folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void die(const char *doing, const struct error *err)
{
	fprintf(stderr, "tunnel-bench: %s: %s\n", doing,
		err && err->kind ? error_message(err) : strerror(errno));
	stop_all();
	exit(1);
}

/* ---- processes ---------------------------------------------------------------------------------- */

static pid_t start(const char *const argv[])
{
	pid_t pid = fork();
	if (pid < 0)
		die("fork", NULL);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execv(argv[0], (char *const *)argv);
		_exit(127);
	}
	bench.children[bench.child_count++] = pid;
	return pid;
}

static void stop(pid_t pid)
{
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	for (size_t i = 0; i < bench.child_count; i++) {
		if (bench.children[i] == pid)
			bench.children[i] = bench.children[--bench.child_count];
	}
}

static int listen_tcp(int *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, 512) < 0 ||
		getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		die("listen", NULL);
	*port = ntohs(address.sin_port);
	return fd;
}

static void socket_address(struct sockaddr_un *address, const char *name)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s", bench.folder, name);
}

static void start_agent(void)
{
	struct sockaddr_un address;
	socket_address(&address, "agent.sock");
	int unix_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(unix_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(unix_fd, 16) < 0)
		die("agent", NULL);
	int tcp_fd = listen_tcp(&bench.agent_port);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		bench_agent(unix_fd, tcp_fd);
		_exit(0);
	}
	bench.children[bench.child_count++] = pid;
	close(unix_fd);
	close(tcp_fd);
}

static void start_forwarder(void)
{
	cleanup_error err = ERROR_INIT;
	close(listen_tcp(&bench.forwarder_port));
	json_t *apf = json_pack("{s:s, s:s, s:s, s:s, s:s}", "pod-name", "bench", "pod-namespace",
		"bench", "tls-server-cert", bench.server.cert_pem, "tls-server-key",
		secret_reveal(&bench.server.key_pem), "tls-client-ca", bench.client.cert_pem);
	char *text = json_dumps(apf, 0);
	char config[128], program[600], listen_on[40], agent[128];
	snprintf(config, sizeof(config), "%s/apf.json", bench.folder);
	snprintf(program, sizeof(program), "%s/agent-protocol-forwarder", bench.programs);
	snprintf(listen_on, sizeof(listen_on), "127.0.0.1:%d", bench.forwarder_port);
	snprintf(agent, sizeof(agent), "%s/agent.sock", bench.folder);
	if (file_write(config, 0600, text, strlen(text), &err) < 0)
		die("apf.json", &err);
	free(text);
	json_decref(apf);
	start((const char *[]){program, "-config", config, "-listen", listen_on,
		"-kata-agent-socket", agent, "-skip-pod-network", "-log-level", "error",
		"-max-connections", "512", NULL});
}

static pid_t start_proxy(const char *name, struct ttrpc_client **control)
{
	char path[128], program[600];
	snprintf(path, sizeof(path), "%s/%s", bench.folder, name);
	snprintf(program, sizeof(program), "%s/agent-proxy", bench.programs);
	pid_t pid = start(
		(const char *[]){program, "-control-socket", path, "-log-level", "error", NULL});
	struct bound bound = {.deadline_ns = deadline_in(10 * NS_PER_S)};
	cleanup_error err = ERROR_INIT;
	while (!(*control = ttrpc_client_connect(path, &bound, &err))) {
		if (bound_sleep(&bound, 5 * NS_PER_MS, "agent-proxy", NULL) < 0)
			die("agent-proxy", &err);
	}
	return pid;
}

static void open_sandbox(struct ttrpc_client *control, const char *name, enum way way)
{
	Agentproxy__TlsSettings tls;
	agentproxy__tls_settings__init(&tls);
	tls.server_name = (char *)NAME;
	tls.ca_pem = (char *)tls_ca_cert_pem(bench.ca);
	tls.client_cert_pem = bench.client.cert_pem;
	tls.client_key_pem = (char *)secret_reveal(&bench.client.key_pem);
	Agentproxy__OpenRequest request;
	agentproxy__open_request__init(&request);
	char path[128], address[40];
	snprintf(path, sizeof(path), "%s/%s", bench.folder, name);
	snprintf(address, sizeof(address), "127.0.0.1:%d",
		way == TUNNEL ? bench.forwarder_port : bench.agent_port);
	request.sandbox = request.pod = (char *)name;
	request.pod_namespace = (char *)"bench";
	request.socket_path = path;
	request.address = address;
	request.tls = way == TUNNEL ? &tls : NULL;
	request.timeout_ns = 10 * NS_PER_S;
	struct bound bound = {.deadline_ns = deadline_in(15 * NS_PER_S)};
	cleanup_error err = ERROR_INIT;
	ProtobufCMessage *answer = ttrpc_client_call_message(control, "peerpod.AgentProxy", "Open",
		&request.base, &agentproxy__open_response__descriptor, &bound, &err);
	if (!answer)
		die("open", &err);
	protobuf_c_message_free_unpacked(answer, NULL);
}

/* ---- a client that costs little -------------------------------------------------------------------- */

struct client {
	int fd;
	uint32_t stream;
	struct buf in;
	size_t at; /* of the next frame in `in` */
};

static void client_open(struct client *c, const char *name)
{
	struct sockaddr_un address;
	socket_address(&address, name);
	*c = (struct client){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .stream = 1};
	if (connect(c->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die("connect", NULL);
}

static void client_close(struct client *c)
{
	close(c->fd);
	buf_free(&c->in);
}

static void send_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
		if (n <= 0)
			die("send", NULL);
		bytes += n;
		len -= (size_t)n;
	}
}

static void client_send(struct client *c, struct buf *frame)
{
	/* The stream id is all that differs between calls. */
	uint32_t stream = htonl(c->stream);
	memcpy(frame->data + 4, &stream, 4);
	c->stream += 2;
	send_all(c->fd, frame->data, frame->len);
}

static size_t client_receive(struct client *c)
{
	for (;;) {
		struct ttrpc_header header;
		size_t have = c->in.len - c->at;
		if (have >= TTRPC_HEADER_SIZE) {
			ttrpc_header_read(c->in.data + c->at, &header);
			if (have >= TTRPC_HEADER_SIZE + header.length) {
				c->at += TTRPC_HEADER_SIZE + header.length;
				return header.length;
			}
		}
		buf_consume(&c->in, c->at);
		c->at = 0;
		uint8_t *to = buf_reserve(&c->in, RECEIVE_SIZE);
		ssize_t n = to ? recv(c->fd, to, RECEIVE_SIZE, 0) : -1;
		if (n <= 0)
			die("receive", NULL);
		c->in.len += (size_t)n;
	}
}

static void make_request(struct buf *frame, const char *service, const char *method,
	const void *payload, size_t len)
{
	const struct ttrpc_request request = {
		.service = {(const uint8_t *)service, strlen(service)},
		.method = {(const uint8_t *)method, strlen(method)},
		.payload = {payload, len},
	};
	if (ttrpc_request_write(frame, 1, 0, &request, NULL) < 0)
		die("request", NULL);
}

/* ---- measurements ------------------------------------------------------------------------------------ */

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void measure_latency(struct client *c, double *p50, double *p99)
{
	static double us[CALLS];
	cleanup(buf_free) struct buf frame = BUF_INIT;
	make_request(&frame, "grpc.Health", "Check", NULL, 0);
	for (int i = 0; i < CALLS; i++) {
		uint64_t start_ns = clock_ns();
		client_send(c, &frame);
		client_receive(c);
		us[i] = (double)(clock_ns() - start_ns) / 1e3;
	}
	qsort(us, CALLS, sizeof(us[0]), by_size);
	*p50 = us[CALLS / 2];
	*p99 = us[CALLS * 99 / 100];
}

/* Calls `count` times with `flow` under way; returns seconds. */
static double flow(struct client *c, struct buf *frame, unsigned int count, unsigned int at_once)
{
	uint64_t start_ns = clock_ns();
	unsigned int sent = 0;
	while (sent < at_once && sent < count) {
		client_send(c, frame);
		sent++;
	}
	for (unsigned int got = 0; got < count; got++) {
		client_receive(c);
		if (sent < count) {
			client_send(c, frame);
			sent++;
		}
	}
	return (double)(clock_ns() - start_ns) / 1e9;
}

static double measure_rate(struct client *c)
{
	cleanup(buf_free) struct buf frame = BUF_INIT;
	make_request(&frame, "grpc.Health", "Check", NULL, 0);
	return CALLS_FLOWING / flow(c, &frame, CALLS_FLOWING, FLOW);
}

static double measure_bulk(struct client *c, bool reading)
{
	static const uint8_t zeroes[BULK_PIECE];
	cleanup(buf_free) struct buf frame = BUF_INIT;
	uint32_t size = htonl(BULK_PIECE);
	if (reading)
		make_request(&frame, "grpc.AgentService", "Read", &size, sizeof(size));
	else
		make_request(&frame, "grpc.AgentService", "Write", zeroes, sizeof(zeroes));
	return BULK_BYTES / 1e6 / flow(c, &frame, BULK_BYTES / BULK_PIECE, BULK_FLOW);
}

enum metric { P50, P99, RATE, READ, WRITE, METRICS };

struct numbers {
	double of[METRICS];
};

static void keep_least(double *best, double value)
{
	if (*best == 0 || value < *best)
		*best = value;
}

static void keep_most(double *best, double value)
{
	if (value > *best)
		*best = value;
}

static void measure_round(const char *const sockets[WAYS], struct numbers n[WAYS])
{
	for (int way = 0; way < WAYS; way++) {
		struct client c;
		double p50, p99;
		client_open(&c, sockets[way]);
		measure_latency(&c, &p50, &p99);
		keep_least(&n[way].of[P50], p50);
		keep_least(&n[way].of[P99], p99);
		keep_most(&n[way].of[RATE], measure_rate(&c));
		keep_most(&n[way].of[READ], measure_bulk(&c, true));
		keep_most(&n[way].of[WRITE], measure_bulk(&c, false));
		client_close(&c);
	}
}

static long rss_kib(pid_t pid)
{
	char path[64], line[256];
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "re");
	long kib = -1;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "VmRSS: %ld kB", &kib) == 1)
			break;
	}
	if (f)
		fclose(f);
	return kib;
}

static json_t *measure_memory(void)
{
	static const int counts[] = {0, 1, 50, 250};
	json_t *result = json_object();
	struct ttrpc_client *control;
	pid_t pid = start_proxy("memory.sock", &control);
	int open = 0;
	for (size_t i = 0; i < array_size(counts); i++) {
		for (; open < counts[i]; open++) {
			char name[40];
			snprintf(name, sizeof(name), "m%d", open);
			open_sandbox(control, name, TUNNEL);
			/* One call of a shim, and its connection stays, as a pod's does. */
			struct client c;
			double p50, p99;
			client_open(&c, name);
			if (open == 0)
				measure_latency(&c, &p50, &p99);
			buf_free(&c.in);
		}
		/* Acknowledgements and what hangs on them are done with within a tenth of a second. */
		usleep(300000);
		char key[16];
		snprintf(key, sizeof(key), "%d", counts[i]);
		json_object_set_new(result, key, json_integer(rss_kib(pid)));
	}
	ttrpc_client_free(control);
	stop(pid);
	return result;
}

/* ---- main ---------------------------------------------------------------------------------------------- */

static void make_certificates(void)
{
	cleanup_error err = ERROR_INIT;
	bench.ca = tls_ca_new(&err);
	if (!bench.ca || tls_issue_server(bench.ca, NAME, &bench.server, &err) < 0 ||
		tls_issue_client(&bench.client, &err) < 0)
		die("certificates", &err);
}

static double measure_raw_tls(void)
{
	cleanup_error err = ERROR_INIT;
	SSL_CTX *server =
		tls_server_context(&(struct tls_server_settings){.cert_pem = bench.server.cert_pem,
					   .key_pem = &bench.server.key_pem,
					   .client_ca_pem = bench.client.cert_pem},
			&err);
	struct tls_client *client =
		tls_client_new(&(struct tls_client_settings){.ca_pem = tls_ca_cert_pem(bench.ca),
				       .cert_pem = bench.client.cert_pem,
				       .key_pem = &bench.client.key_pem},
			&err);
	double result = server && client ? raw_tls_mb_s(server, client, NAME, 0.3, &err) : -1;
	SSL_CTX_free(server);
	tls_client_free(client);
	if (result < 0)
		die("raw TLS", &err);
	return result;
}

/* One decimal is as much as a measurement of this kind can say. */
static json_t *rounded(double value)
{
	return json_real((double)(int64_t)(value * 10 + 0.5) / 10);
}

static json_t *by_way(const struct numbers n[WAYS], enum metric metric)
{
	json_t *object = json_object();
	for (int way = 0; way < WAYS; way++)
		json_object_set_new(object, way_names[way], rounded(n[way].of[metric]));
	return object;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	snprintf(bench.folder, sizeof(bench.folder), "/tmp/tunnel-bench.XXXXXX");
	if (argc > 1) {
		snprintf(bench.programs, sizeof(bench.programs), "%s", argv[1]);
	} else {
		ssize_t n = readlink("/proc/self/exe", bench.programs, sizeof(bench.programs) - 1);
		char *slash = n > 0 ? strrchr(bench.programs, '/') : NULL;
		if (slash)
			*slash = 0;
	}
	if (!mkdtemp(bench.folder))
		die("folder", NULL);
	make_certificates();
	start_agent();
	start_forwarder();
	struct ttrpc_client *control;
	start_proxy("control.sock", &control);
	open_sandbox(control, "proxy", PROXY);
	open_sandbox(control, "tunnel", TUNNEL);

	const char *const sockets[WAYS] = {"agent.sock", "proxy", "tunnel"};
	struct numbers n[WAYS] = {0};
	double raw = 0;
	for (int round = 0; round < ROUNDS; round++) {
		keep_most(&raw, measure_raw_tls());
		measure_round(sockets, n);
	}
	json_t *read = by_way(n, READ);
	json_t *written = by_way(n, WRITE);
	json_object_set_new(read, "raw_tls", rounded(raw));
	json_object_set_new(written, "raw_tls", rounded(raw));
	json_t *result = json_pack("{s:o, s:o, s:o, s:o, s:o, s:{s:o}}", "rpc_p50_us",
		by_way(n, P50), "rpc_p99_us", by_way(n, P99), "rpc_per_s", by_way(n, RATE),
		"bulk_read_mb_s", read, "bulk_write_mb_s", written, "rss_kib", "agent_proxy",
		measure_memory());
	json_dumpf(result, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
	printf("\n");
	json_decref(result);
	ttrpc_client_free(control);
	stop_all();
	tls_identity_free(&bench.server);
	tls_identity_free(&bench.client);
	tls_ca_free(bench.ca);
	return 0;
}
