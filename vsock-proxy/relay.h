/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.h - many front connections onto one back connection, call by call
 *
 * agent-proxy: fronts are the shim's connections, the back is the tunnel. Forwarder: fronts are
 * tunnels, the back is the agent. A call of a front gets a stream id of the back's own, odd and
 * always increasing (a Go peer insists on that; a Rust client's ids may come out of order), and its answer is
 * handed back under the front's id. Only the header and the service and method of a request are
 * looked at; a request that a rule names is edited, everything else passes as it is.
 *
 * A front that closes is forgotten together with its calls; late answers are dropped. What happens
 * when the back breaks is the owner's business: it restarts or resumes (relay_restart, relay_resume).
 */
#ifndef PEERPOD_VSOCK_RELAY_H
#define PEERPOD_VSOCK_RELAY_H

#include "vsock-proxy/calls.h"
#include "vsock-proxy/port.h"
#include "vsock-proxy/rules.h"

struct relay;

struct front {
	struct port port;
	struct relay *relay;
	struct front *next, **link; /* in relay->fronts */
	struct deferred grave;
	void *data; /* the owner's, freed by its front_closed */
	bool closing;
};

struct relay_ops {
	/*
	 * A request of a front, before anything is done with it. May answer it with
	 * relay_answer or take the front's connection away; then true.
	 */
	bool (*request)(struct relay *relay, struct front *front, const struct ttrpc_header *header,
		const struct ttrpc_request *request);
	/* The answer to a call of our own. */
	void (*own_reply)(struct relay *relay, uint32_t id, const struct ttrpc_response *response);
	/* A frame on the back while it is greeting. */
	void (*greeting)(struct relay *relay, const struct ttrpc_header *header,
		const uint8_t *data);
	void (*back_lost)(struct relay *relay, const struct error *why);
	/* A front's connection broke. true: keep the front (a session that may come back). */
	bool (*front_lost)(struct relay *relay, struct front *front, const struct error *why);
	/* A front is about to go. */
	void (*front_closed)(struct relay *relay, struct front *front);
};

struct relay {
	struct loop *loop;
	const struct relay_ops *ops; /* members may be NULL, except back_lost */
	void *owner;
	struct port back;
	struct front *fronts;
	size_t front_count;
	struct calls calls;
	size_t max_calls;
	uint32_t next_id;
	const struct rule_set *rules;
	bool keep_copies;     /* of requests that may be sent again */
	uint64_t max_wait_ns; /* how long a request may wait for the back; 0: as long as it takes */
	bool fronts_paused;   /* the back is full */
	uint64_t call_count;  /* calls relayed so far */
};

void relay_init(struct relay *relay, struct loop *loop, const struct relay_ops *ops,
	const struct rule_set *rules, void *owner);
/* Closes everything; fronts are freed at the end of the loop's round. */
void relay_close(struct relay *relay);

/* A new front on this connection (NULL: none yet); NULL: no memory (conn freed). */
struct front *relay_add_front(struct relay *relay, struct conn *conn);
/* Closes and forgets it; calls front_closed. */
void relay_drop_front(struct front *front);

/* Answers a front's request. */
void relay_answer(struct front *front, uint32_t stream, int32_t code, const char *message);
void relay_answer_payload(struct front *front, uint32_t stream, const void *payload, size_t len);

/* A call of our own on the back. Returns its id, 0: no memory. */
uint32_t relay_call(struct relay *relay, const struct ttrpc_request *request);
/* Forgets it: a late answer is dropped. */
void relay_forget(struct relay *relay, uint32_t id);

/*
 * The back is a new peer that knows nothing: requests of which no byte was sent stay, those that may
 * be repeated are sent again, all others fail with Unavailable and this message. The log begins anew at
 * offset 0. Counts go to the log line that the owner writes (may be NULL).
 */
void relay_restart(struct relay *relay, const char *message, size_t *replayed, size_t *failed);

/*
 * The session goes on (port_begin_session was called): drops requests that nobody waits for any more
 * from what is to be sent.
 */
int relay_resume(struct relay *relay);

/* Answers all calls with this status and forgets them. */
void relay_fail_all(struct relay *relay, int32_t code, const char *message);

/* Answers the Health.Check calls under way with this payload. */
void relay_answer_checks(struct relay *relay, const void *payload, size_t len);

/* Answers calls that have waited longer than they may for a back that is not there. */
void relay_expire(struct relay *relay, uint64_t now_ns, int32_t code, const char *message);

/* Lets the fronts send although the back is full: their requests are being refused. */
void relay_unblock(struct relay *relay);

#endif
