/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port.h - one end of the relay: ttrpc frames in and out over whichever connection is attached
 *
 * A port outlives its connections. What is to be sent goes into a log of whole frames; a connection
 * that breaks leaves the log behind. In session mode (both ends are ours) the log keeps every frame
 * until the peer acknowledged it, and a new connection goes on exactly where the peer's receiving
 * stopped: each frame is delivered once and in order, wherever the connection broke. Otherwise the log
 * keeps what was not sent and the frame that is being sent.
 *
 * Session mode counts the bytes of whole relayed frames in each direction. Acknowledgements are
 * frames of a type of their own, are not counted, and travel between frames.
 *
 * Memory: a log over PORT_HIGH makes the port `full`; its owner then stops whoever feeds it. Reading
 * needs memory only while a frame is incomplete. An idle port holds neither.
 */
#ifndef PEERPOD_VSOCK_PORT_H
#define PEERPOD_VSOCK_PORT_H

#include "base/buf.h"
#include "ttrpc/frame.h"
#include "vsock-proxy/bytelog.h"
#include "vsock-proxy/conn.h"

/* Frame type of an acknowledgement: stream 0, 8 bytes: how many bytes of frames have arrived. */
#define PORT_FRAME_ACK 0x70u

/* Full above, drained below. One frame more than PORT_HIGH is the most that a log holds. */
#define PORT_HIGH (UINT64_C(2) * 1024 * 1024)
#define PORT_LOW (UINT64_C(1024) * 1024)

/* Received and not acknowledged: at once above this, else after this time. */
#define PORT_ACK_BYTES (UINT64_C(256) * 1024)
#define PORT_ACK_DELAY_NS (100 * UINT64_C(1000000))

struct port;

struct port_ops {
	/*
	 * A whole frame, header included, at most 4 MiB of data. The bytes may be changed in place and
	 * are gone afterwards. May pause, detach or close the port.
	 */
	void (*frame)(struct port *port, uint8_t *frame, size_t len);
	/* A frame over 4 MiB came and its data was thrown away. */
	void (*oversized)(struct port *port, const struct ttrpc_header *header);
	/* The connection is gone (conn is NULL by now); why is the caller's. */
	void (*lost)(struct port *port, const struct error *why);
	/* A full log went below PORT_LOW. */
	void (*drained)(struct port *port);
};

struct port {
	struct loop *loop;
	const struct port_ops *ops;
	void *owner;
	struct conn *conn; /* NULL: nothing attached */

	struct bytelog out;
	uint64_t boundary;  /* start of the frame that `out.sent` is in */
	struct buf control; /* goes out before the log's next frame; not counted */
	bool control_begun; /* part of it is out */
	bool log_committed; /* the connection holds on to bytes of the log: offer the same again */
	bool blocked;       /* the connection takes nothing now */
	bool full;
	bool greeting; /* only control bytes go out, and nothing is counted */
	bool session;

	uint8_t *hold; /* read, and not delivered yet: part of a frame, or frames while paused */
	size_t hold_len, hold_cap;
	uint64_t skip; /* bytes of an oversized frame still to come */
	struct ttrpc_header skipped;
	uint64_t received; /* session: bytes of whole frames delivered */
	uint64_t acked;    /* session: what we acknowledged of them */
	bool paused, closed;

	struct deferred flush, intake;
	struct timer ack_timer;
};

void port_init(struct port *port, struct loop *loop, const struct port_ops *ops, void *owner);

/* Closes the connection without a word and frees what the port holds; `lost` is not called. */
void port_close(struct port *port);

/* Takes the connection over, replacing one that is attached. greeting: see port_begin. */
void port_attach(struct port *port, struct conn *conn, bool greeting);

/*
 * Ends the greeting: plain frames from here on; what is in the log goes out. The log must begin with a
 * whole frame: see port_reset.
 */
void port_begin_plain(struct port *port);

/*
 * Ends the greeting in session mode: the peer has got `peer_received` bytes. -1 where that cannot be
 * (not between what was acknowledged and what was sent).
 */
int port_begin_session(struct port *port, uint64_t peer_received, struct error *err);

/* Where the first frame begins of which no byte was ever written. */
uint64_t port_unsent(struct port *port);

/* Forgets counters and log: what comes is a new connection without a past, or a new session. */
void port_reset(struct port *port);

/* Hands the connection to somebody else; NULL where there is none. */
struct conn *port_detach(struct port *port);

/* Breaks the connection for this reason: as if it had failed, `lost` is called. */
void port_break(struct port *port, const struct error *why);

/* Appends a frame (header and data contiguous). -1: no memory; nothing was appended. */
int port_send(struct port *port, const void *frame, size_t len);
/* The same in two parts. */
int port_send_parts(struct port *port, const void *first, size_t first_len, const void *second,
	size_t second_len);
/* A response with a status, or with a payload. */
int port_respond(struct port *port, uint32_t stream, const struct ttrpc_response *response);

/* Appends a frame that goes out ahead of the log and is not counted. */
int port_send_control(struct port *port, const void *frame, size_t len);

void port_pause(struct port *port);
void port_resume(struct port *port);

#endif
