/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session_frame.c - a relay whose two peers send whatever the input says, in whatever pieces, over
 * connections that break
 *
 * The input is a list of commands: one byte says who sends and how much of what follows, or that a
 * connection breaks and the session is resumed.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/memory_conn.h"
#include "vsock-proxy/relay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void greeting(struct relay *relay, const struct ttrpc_header *header, const uint8_t *data)
{
	(void)relay;
	(void)header;
	(void)data;
}

static void back_lost(struct relay *relay, const struct error *why)
{
	(void)relay;
	(void)why;
}

static bool front_lost(struct relay *relay, struct front *front, const struct error *why)
{
	(void)relay;
	(void)front;
	(void)why;
	return true; /* kept, as a session is */
}

static const struct relay_ops ops = {.greeting = greeting,
	.back_lost = back_lost,
	.front_lost = front_lost};

static const struct rule_set rules; /* none */

/* A wire of which we are the far end. */
static void join(struct wire *wire, struct port *port, uint64_t peer_received)
{
	port_attach(port, &wire->ends[0].conn, true);
	if (port_begin_session(port, peer_received, NULL) < 0) {
		port_reset(port);
		port_begin_plain(port);
	}
}

static void renew(struct wire *wire, struct port *port, uint64_t peer_received)
{
	struct error why = ERROR_INIT;
	error_set(&why, ERROR_RETRY, "cut");
	port_break(port, &why);
	error_clear(&why);
	wire_free(wire);
	wire_init(wire, 0, SIZE_MAX, false);
	join(wire, port, peer_received);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop loop;
	struct relay relay;
	if (loop_init(&loop, false, NULL) < 0)
		return 0;
	relay_init(&relay, &loop, &ops, &rules, NULL);
	relay.keep_copies = true;
	relay.max_calls = 50;
	struct front *front = relay_add_front(&relay, NULL);
	struct port *ports[] = {&front->port, &relay.back};
	struct wire wires[2];
	for (int i = 0; i < 2; i++) {
		wire_init(&wires[i], 0, SIZE_MAX, false);
		join(&wires[i], ports[i], 0);
	}
	for (size_t at = 0; at < size;) {
		uint8_t command = data[at++];
		int who = command & 1;
		switch (command >> 1 & 3) {
		case 0:
		case 1: {
			size_t len = command >> 3;
			if (len > size - at)
				len = size - at;
			buf_append(&wires[who].ends[0].in, data + at, len);
			at += len;
			break;
		}
		case 2:
			renew(&wires[who], ports[who], ports[who]->out.start + (command >> 3));
			break;
		case 3:
			if (command >> 3 == 1)
				relay_restart(&relay, "fuzzing", NULL, NULL);
			else if (command >> 3 == 2)
				relay_fail_all(&relay, TTRPC_UNAVAILABLE, "fuzzing");
			break;
		}
		for (int i = 0; i < 2; i++) {
			while (wire_pump(&wires[i], &loop))
				buf_consume(&wires[i].ends[1].in, SIZE_MAX);
			buf_consume(&wires[i].ends[1].in, SIZE_MAX);
		}
	}
	relay_close(&relay);
	loop_free(&loop);
	for (int i = 0; i < 2; i++)
		wire_free(&wires[i]);
	return 0;
}
