/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover_take.c - see handover_take.h
 *
 * Whatever goes wrong on the socket, only the life line says what becomes of the one who serves: a successor that
 * is not told "granted" and does not see it dead must not serve.
 */
#include "vsock-proxy/handover_take.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/log.h"
#include "proto/proxy.pb-c.h"
#include "ttrpc/message.h"
#include "vsock-proxy/handover_wire.h"

#define STREAM 1u
/* The other side gives up after 10 s; it may be busy with another successor before. */
#define TAKE_NS (30 * NS_PER_S)

/* -1: nobody serves there, or it will be seen when we try to listen. */
static int reach(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path))
		return -1;
	memcpy(address.sun_path, path, strlen(path));
	cleanup(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval patience = {.tv_sec = 10};
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
		connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -1;
	return take_fd(&fd);
}

static int ask(int fd, const struct bound *bound, struct error *err)
{
	Agentproxy__HandOverRequest request = AGENTPROXY__HAND_OVER_REQUEST__INIT;
	request.oldest_format = HANDOVER_FORMAT_OLDEST;
	request.newest_format = HANDOVER_FORMAT;
	request.version = (char *)PEERPOD_VERSION;
	cleanup(buf_free) struct buf payload = BUF_INIT, frame = BUF_INIT;
	if (message_pack(&request.base, &payload, err) < 0)
		return -1;
	static const char service[] = "peerpod.AgentProxy", method[] = "HandOver";
	const struct ttrpc_request call = {
		.service = {(const uint8_t *)service, sizeof(service) - 1},
		.method = {(const uint8_t *)method, sizeof(method) - 1},
		.payload = {payload.data, payload.len},
	};
	if (ttrpc_request_write(&frame, STREAM, TTRPC_FLAG_REMOTE_OPEN, &call, err) < 0)
		return -1;
	buf_consume(&frame, TTRPC_HEADER_SIZE); /* made anew by handover_send */
	const struct ttrpc_header header = {.stream = STREAM,
		.type = TTRPC_REQUEST,
		.flags = TTRPC_FLAG_REMOTE_OPEN};
	return handover_send(fd, &header, &frame, NULL, 0, bound, err);
}

/* A response instead of the first item. */
static int refused(const struct handover_taking *taking, const struct handover_frame *frame,
	struct error *err)
{
	struct ttrpc_response answer;
	if (ttrpc_response_read(frame->data.data, frame->data.len, &answer, err) < 0)
		return -1;
	if (answer.code == TTRPC_UNIMPLEMENTED)
		return error_set(err, ERROR_UNSUPPORTED,
			"the agent-proxy that serves %s is too old to hand over; it can be "
			"replaced when it serves no pod",
			taking->socket_path);
	return error_set(err, ERROR_UNSUPPORTED,
		"the agent-proxy that serves %s keeps serving: %s: %.*s", taking->socket_path,
		ttrpc_code_name(answer.code), (int)answer.message.len,
		(const char *)answer.message.data);
}

static int take_step(const struct handover_taking *taking, struct handover_reader *reader,
	int progress, struct error *err)
{
	if (progress == HANDOVER_BEGUN) {
		fault_point("takeover-begun");
		return taking->control(taking->context, take_fd(&reader->control),
			&reader->control_file, err);
	}
	if (progress == HANDOVER_SANDBOX) {
		int result = taking->sandbox(taking->context, &reader->told, err);
		told_sandbox_free(&reader->told);
		fault_point("takeover-sandbox");
		return result;
	}
	return 0;
}

/* 1: everything was told; 0: the other one stopped in the middle; -1: it is not to be taken. */
static int take_all(const struct handover_taking *taking, int fd, struct handover_reader *reader,
	const struct bound *bound, struct error *err)
{
	cleanup(handover_frame_free) struct handover_frame frame = HANDOVER_FRAME_INIT;
	for (;;) {
		int got = handover_receive(fd, &frame, bound, err);
		if (got <= 0)
			return got;
		if (frame.header.stream != STREAM)
			return error_set(err, ERROR_INVALID, "hand-over: frame of another stream");
		if (frame.header.type == TTRPC_RESPONSE)
			return refused(taking, &frame, err);
		if (frame.header.type != TTRPC_DATA)
			return error_set(err, ERROR_INVALID, "hand-over: frame of type %u",
				frame.header.type);
		int progress = handover_read(reader, frame.data.data, frame.data.len, frame.fds,
			frame.fd_count, err);
		frame.fd_count = 0; /* kept or closed */
		if (progress < 0 || take_step(taking, reader, progress, err) < 0)
			return -1;
		if (progress == HANDOVER_DONE)
			return 1;
	}
}

/* 1: serve; -1: do not. */
static int read_lifeline(int lifeline, bool whole, const struct bound *bound, struct error *err)
{
	char decision;
	ssize_t n;
	do {
		if (bound_poll(bound, lifeline, POLLIN, "the decision of who serves", err) < 0)
			return -1;
		n = read(lifeline, &decision, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		return 1; /* dead */
	if (n == 1 && whole && decision == HANDOVER_GRANTED)
		return 1;
	return error_set(err, ERROR_CANCELED,
		"whoever serves has changed its mind: look at its log");
}

static int reply(int fd, Handover__Reply *message, struct error *err)
{
	const struct bound soon = bound_within(&BOUND_NONE, NS_PER_S);
	return handover_send_message(fd, STREAM, &message->base, NULL, 0, &soon, err);
}

static void say_ready(int fd, uint32_t sandboxes)
{
	Handover__Ready ready = HANDOVER__READY__INIT;
	ready.sandboxes = sandboxes;
	Handover__Reply message = HANDOVER__REPLY__INIT;
	message.reply_case = HANDOVER__REPLY__REPLY_READY;
	message.ready = &ready;
	reply(fd, &message, NULL);
}

static void say_started(int fd)
{
	Handover__Started started = HANDOVER__STARTED__INIT;
	Handover__Reply message = HANDOVER__REPLY__INIT;
	message.reply_case = HANDOVER__REPLY__REPLY_STARTED;
	message.started = &started;
	reply(fd, &message, NULL);
}

static void say_no(int fd, const struct error *why)
{
	Handover__Refusal refusal = HANDOVER__REFUSAL__INIT;
	refusal.why = (char *)error_message(why);
	Handover__Reply message = HANDOVER__REPLY__INIT;
	message.reply_case = HANDOVER__REPLY__REPLY_REFUSAL;
	message.refusal = &refusal;
	reply(fd, &message, NULL);
}

int handover_take(const struct handover_taking *taking, struct error *err)
{
	cleanup(close_fd) int fd = reach(taking->socket_path);
	const struct bound bound = bound_within(&BOUND_NONE, TAKE_NS);
	cleanup(handover_reader_free) struct handover_reader reader;
	handover_reader_init(&reader);
	if (fd < 0)
		return 0;
	if (ask(fd, &bound, err) < 0)
		return err->kind == ERROR_GONE ? 0 : -1;
	fault_point("takeover-asked");
	int told = take_all(taking, fd, &reader, &bound, err);
	if (told < 0) {
		say_no(fd, err);
		return err->kind == ERROR_TIMEOUT
			       ? error_prefix(err, "take over from who serves %s",
					 taking->socket_path)
			       : -1;
	}
	if (!reader.begun)
		return 0; /* it ended: perhaps there is nobody now */
	if (told) {
		fault_point("takeover-told");
		say_ready(fd, reader.seen);
		fault_point("takeover-ready");
	}
	if (read_lifeline(reader.lifeline, told, &bound, err) < 0)
		return -1;
	fault_point("takeover-granted");
	say_started(fd);
	fault_point("takeover-started");
	if (told)
		log_info("took %u sandboxes over from agent-proxy %s", reader.seen, reader.version);
	else
		log_warn("agent-proxy %s died while it handed over: %u of %u sandboxes came whole "
			 "and are served on",
			reader.version, reader.seen, reader.sandboxes);
	return 1;
}
