/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent_link.c - the one connection to kata-agent
 *
 * Made as early as possible and kept for the VM's whole life: CreateSandbox makes the agent delete the
 * folder that holds its socket, so that nobody can connect afterwards. Until it is there, requests
 * wait, each for as long as its caller does and no longer than 150 s.
 */
#include "vsock-proxy/forwarder.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/bound.h"
#include "base/log.h"

#define BACKOFF_MIN_NS (5 * NS_PER_MS)
#define BACKOFF_MAX_NS (250 * NS_PER_MS)
#define TICK_NS (200 * NS_PER_MS)
/* After this long without an agent it is worth a line in the journal. */
#define COMPLAIN_AFTER_NS (5 * NS_PER_S)

static int parse_unix(const char *path, const char *text, struct sockaddr_storage *out,
	socklen_t *len, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t size = strlen(path);
	bool abstract = path[0] == '@';
	if ((path[0] != '/' && !abstract) || size < 2 || size >= sizeof(address.sun_path))
		return error_set(err, ERROR_INVALID,
			"kata-agent-socket: \"%s\": the path must be absolute and at most %zu bytes long",
			text, sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, size);
	if (abstract)
		address.sun_path[0] = 0;
	memcpy(out, &address, sizeof(address));
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + !abstract);
	return 0;
}

static int parse_vsock(const char *place, const char *text, struct sockaddr_storage *out,
	socklen_t *len, struct error *err)
{
	/* The agent's own form for "any" is -1. */
	long long cid;
	unsigned int port;
	int end = 0;
	if (sscanf(place, "%lld:%u%n", &cid, &port, &end) != 2 || place[end] || cid < -1 ||
		cid > UINT32_MAX)
		return error_set(err, ERROR_INVALID,
			"kata-agent-socket: \"%s\": write vsock://<cid>:<port>", text);
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK,
		.svm_cid = cid == -1 ? VMADDR_CID_LOCAL : (unsigned int)cid,
		.svm_port = port,
	};
	memcpy(out, &address, sizeof(address));
	*len = sizeof(address);
	return 0;
}

int agent_address_parse(const char *text, struct sockaddr_storage *out, socklen_t *len,
	struct error *err)
{
	static const struct {
		const char *prefix;
		int (*parse)(const char *rest, const char *text, struct sockaddr_storage *out,
			socklen_t *len, struct error *err);
	} forms[] = {
		{"unix://", parse_unix},
		{"unix:", parse_unix},
		{"vsock://", parse_vsock},
		{"vsock:", parse_vsock},
		{"", parse_unix},
	};
	memset(out, 0, sizeof(*out));
	size_t i = 0;
	while (strncmp(text, forms[i].prefix, strlen(forms[i].prefix)) != 0)
		i++;
	return forms[i].parse(text + strlen(forms[i].prefix), text, out, len, err);
}

static void note(struct agent_link *link, const char *doing, int errnum)
{
	free(link->trouble);
	if (asprintf(&link->trouble, "%s: %s", doing, strerror(errnum)) < 0)
		link->trouble = NULL;
	if (!link->complained && clock_ns() - link->since_ns > COMPLAIN_AFTER_NS) {
		link->complained = true;
		log_warn("kata-agent is not there: %s: %s; trying on", link->text,
			link->trouble ? link->trouble : "");
	}
}

static void again(struct agent_link *link)
{
	conn_free(take_ptr(link->connecting));
	timer_start(&link->retry, jitter_ns(link->backoff_ns / 2, link->backoff_ns));
	link->backoff_ns = backoff_longer(link->backoff_ns, BACKOFF_MAX_NS);
}

static void connected(struct agent_link *link)
{
	struct forwarder *f = link->forwarder;
	struct conn *conn = take_ptr(link->connecting);
	conn_watch(conn, false, false);
	link->state = AGENT_UP;
	timer_stop(&link->tick);
	log_info("connected to kata-agent on %s after %llu ms", link->text,
		(unsigned long long)((clock_ns() - link->since_ns) / NS_PER_MS));
	/* Requests that gave up waiting meanwhile are not sent. */
	relay_restart(&f->relay, "the connection to kata-agent broke", NULL, NULL);
	port_attach(&f->relay.back, conn, false);
}

static void connecting_ready(void *context, bool readable, bool writable)
{
	(void)readable;
	(void)writable;
	struct agent_link *link = context;
	int errnum = 0;
	socklen_t len = sizeof(errnum);
	if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &errnum, &len) < 0)
		errnum = errno;
	if (errnum) {
		note(link, "connect", errnum);
		again(link);
		return;
	}
	connected(link);
}

static void dial(void *context)
{
	struct agent_link *link = context;
	int fd = socket(link->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		note(link, "socket", errno);
		again(link);
		return;
	}
	bool done = connect(fd, (struct sockaddr *)&link->address, link->address_len) == 0;
	if (!done && errno != EINPROGRESS) {
		note(link, "connect", errno);
		close(fd);
		again(link);
		return;
	}
	link->fd = fd;
	link->connecting = conn_new_fd(&link->forwarder->loop, fd);
	if (!link->connecting) {
		note(link, "connect", ENOMEM);
		again(link);
		return;
	}
	if (done) {
		connected(link);
		return;
	}
	conn_set_owner(link->connecting, connecting_ready, link);
	conn_watch(link->connecting, false, true);
}

static void tick(void *context)
{
	struct agent_link *link = context;
	cleanup(free_ptr) char *why = NULL;
	if (asprintf(&why, "kata-agent is not there: %s: %s", link->text,
		    link->trouble ? link->trouble : "no answer") < 0)
		why = NULL;
	relay_expire(&link->forwarder->relay, clock_ns(), TTRPC_UNAVAILABLE,
		why ? why : "kata-agent is not there");
	timer_start(&link->tick, TICK_NS);
}

static void begin_dialing(struct agent_link *link)
{
	link->state = AGENT_DIALING;
	link->since_ns = clock_ns();
	link->complained = false;
	link->backoff_ns = BACKOFF_MIN_NS;
	timer_start(&link->tick, TICK_NS);
	dial(link);
}

static const char gone[] =
	"kata-agent closed its connection, and its socket is gone since CreateSandbox: the pod VM "
	"cannot go on";

void agent_link_lost(struct relay *relay, const struct error *why)
{
	struct forwarder *f = relay->owner;
	struct agent_link *link = &f->agent;
	if (link->sandbox_created) {
		log_warn("%s (%s)", gone, error_message(why));
		link->state = AGENT_GONE;
		relay_fail_all(relay, TTRPC_UNAVAILABLE, gone);
		relay_unblock(relay);
		return;
	}
	log_warn("the connection to kata-agent broke before CreateSandbox: %s; dialling again",
		error_message(why));
	/* What the agent may have seen fails now; what it has not waits. */
	relay_restart(relay, "the connection to kata-agent broke", NULL, NULL);
	begin_dialing(link);
}

bool agent_link_request(struct agent_link *link, struct front *front,
	const struct ttrpc_header *header, const struct ttrpc_request *request)
{
	if (link->state == AGENT_GONE) {
		relay_answer(front, header->stream, TTRPC_UNAVAILABLE, gone);
		return true;
	}
	if (request_is(request, "grpc.AgentService", "CreateSandbox"))
		link->sandbox_created = true;
	return false;
}

int agent_link_start(struct agent_link *link, struct forwarder *f, const char *address,
	struct error *err)
{
	*link = (struct agent_link){.forwarder = f};
	if (agent_address_parse(address, &link->address, &link->address_len, err) < 0)
		return -1;
	link->text = strdup(address);
	if (!link->text)
		return error_set(err, ERROR_INTERNAL, "out of memory");
	timer_init(&link->retry, &f->loop, dial, link);
	timer_init(&link->tick, &f->loop, tick, link);
	begin_dialing(link);
	return 0;
}

void agent_link_stop(struct agent_link *link)
{
	if (!link->text)
		return;
	timer_stop(&link->retry);
	timer_stop(&link->tick);
	conn_free(take_ptr(link->connecting));
	free(take_ptr(link->trouble));
	free(take_ptr(link->text));
}
