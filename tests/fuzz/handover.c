/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handover.c - whatever an agent-proxy might tell the one that takes over from it
 *
 * The input is a list of frames: how many descriptors come with it (one byte), its length (two), its bytes. A sandbox
 * that came whole is made: its relay gets the connections and calls, and the loop has a few rounds.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vsock-proxy/handover.h"
#include "vsock-proxy/relay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void back_lost(struct relay *relay, const struct error *why)
{
	(void)relay;
	(void)why;
}

static const struct relay_ops ops = {.back_lost = back_lost};
static const struct rule_set rules; /* none */

static void make(struct told_sandbox *told)
{
	struct loop loop;
	struct relay relay;
	if (loop_init(&loop, true, NULL) < 0)
		return;
	relay_init(&relay, &loop, &ops, &rules, NULL);
	relay.keep_copies = true;
	if (relay_restore(&relay, told, NULL) == 0) {
		for (int i = 0; i < 3; i++) {
			loop_settle(&loop);
			event_base_loop(loop.base, EVLOOP_NONBLOCK);
		}
		relay_answer_checks(&relay, "", 0);
		relay_restart(&relay, "fuzzing", NULL, NULL);
		relay_fail_all(&relay, TTRPC_UNAVAILABLE, "fuzzing");
		loop_settle(&loop);
	}
	relay_close(&relay);
	loop_free(&loop);
}

/* Ends of connections whose other end is closed. */
static void make_fds(int fds[HANDOVER_FDS], size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int pair[2];
		fds[i] = -1;
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
			close(pair[1]);
			fds[i] = pair[0];
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct handover_reader reader;
	handover_reader_init(&reader);
	for (size_t at = 0; size - at >= 3;) {
		size_t fd_count = data[at] % (HANDOVER_FDS + 1);
		size_t len = data[at + 1] | (size_t)data[at + 2] << 8;
		int fds[HANDOVER_FDS] = {-1, -1};
		at += 3;
		if (len > size - at)
			len = size - at;
		make_fds(fds, fd_count);
		int progress = handover_read(&reader, data + at, len, fds, fd_count, NULL);
		at += len;
		if (progress < 0 || progress == HANDOVER_DONE)
			break;
		if (progress == HANDOVER_SANDBOX) {
			make(&reader.told);
			told_sandbox_free(&reader.told);
		}
	}
	handover_reader_free(&reader);
	return 0;
}
