/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forwarder.h - the parts of agent-protocol-forwarder and how they meet
 *
 * door.c lets tunnels in (TCP, TLS handshake, limits) -> sessions.c makes sessions or plain fronts of
 * them -> the relay -> agent_link.c holds the one connection to kata-agent.
 */
#ifndef PEERPOD_VSOCK_FORWARDER_H
#define PEERPOD_VSOCK_FORWARDER_H

#include <sys/socket.h>
#include "vsock-proxy/listen.h"
#include "vsock-proxy/relay.h"

struct forwarder;

/* ---- door.c ---- */

struct visitor;

struct door {
	struct forwarder *forwarder;
	struct listener listener;
	SSL_CTX *tls;             /* NULL: plain TCP (testing only) */
	struct visitor *visitors; /* handshake not done yet; the newest first */
	size_t visitor_count;
	size_t max_connections;
};

int door_open(struct door *door, struct forwarder *forwarder, const char *address, SSL_CTX *tls,
	size_t max_connections, struct error *err);
void door_close(struct door *door);

/* ---- sessions.c ---- */

#define SESSION_ID_SIZE 16

/* What a front is: the data of struct front. */
struct tunnel_end {
	struct front *front;
	uint8_t fingerprint[FINGERPRINT_SIZE]; /* of the client certificate */
	uint8_t session_id[SESSION_ID_SIZE];
	bool session;
	bool spoke; /* a request has come: too late for Attach */
	uint64_t away_since_ns;
	struct timer expiry; /* runs while the session has no connection */
};

/* A tunnel that has shown who it is. Takes conn over. */
void sessions_admit(struct forwarder *forwarder, struct conn *conn);
/* Connections that are up. */
size_t sessions_connected(const struct forwarder *forwarder);

/* Handles Attach: true where the request was one. */
bool sessions_request(struct forwarder *forwarder, struct front *front,
	const struct ttrpc_header *header, const struct ttrpc_request *request);
bool sessions_front_lost(struct relay *relay, struct front *front, const struct error *why);
void sessions_front_closed(struct relay *relay, struct front *front);

/* ---- agent_link.c ---- */

enum agent_state {
	AGENT_DIALING,
	AGENT_UP,
	AGENT_GONE, /* its connection broke after CreateSandbox: its socket is not there any more */
};

struct agent_link {
	struct forwarder *forwarder;
	char *text; /* of the address, as given; owned */
	struct sockaddr_storage address;
	socklen_t address_len;
	enum agent_state state;
	bool sandbox_created;
	struct conn *connecting;
	int fd; /* of connecting */
	struct timer retry, tick;
	uint64_t backoff_ns, since_ns;
	char *trouble; /* why the last attempt failed; owned */
	bool complained;
};

/*
 * "unix:///path", "unix://@abstract", "/path", "vsock://cid:port", "vsock:cid:port".
 */
int agent_address_parse(const char *text, struct sockaddr_storage *out, socklen_t *len,
	struct error *err);
int agent_link_start(struct agent_link *link, struct forwarder *forwarder, const char *address,
	struct error *err);
void agent_link_stop(struct agent_link *link);
void agent_link_lost(struct relay *relay, const struct error *why);
/* A request on its way to the agent. true: answered here, the agent is gone. */
bool agent_link_request(struct agent_link *link, struct front *front,
	const struct ttrpc_header *header, const struct ttrpc_request *request);

struct forwarder {
	struct loop loop;
	struct relay relay;
	struct rule_set rules;
	struct door door;
	struct agent_link agent;
	uint32_t underlay_mtu;    /* of the way to the worker, told to it; 0: not known */
	uint64_t session_keep_ns; /* how long a session is kept without a connection */
	int signals;
};

#endif
