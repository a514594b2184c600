/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tunnel_private.h - struct tunnel, shared by tunnel.c (its life), tunnel_link.c (its connection), opener.c (who
 * waits for it) and tunnel_state.c (its way to another process)
 */
#ifndef PEERPOD_VSOCK_TUNNEL_PRIVATE_H
#define PEERPOD_VSOCK_TUNNEL_PRIVATE_H

#include "vsock-proxy/tunnel.h"

#define SESSION_ID_SIZE 16

struct opener {
	struct tunnel *tunnel;
	struct opener *next;
	struct timer timer;
	struct deferred grave;
	uint64_t since_ns;
	tunnel_opened *opened;
	void *context;
};

struct tunnel {
	struct loop *loop;
	char *sandbox, *pod, *pod_namespace, *socket_path, *address; /* owned */
	struct log_context log;
	uint8_t digest[32];
	struct listener listener;
	struct relay relay;
	struct rule_set rules;
	struct dialer *dialer;
	enum tunnel_state state;
	bool answered;      /* the agent has answered a Health.Check at least once */
	bool patience_over; /* down for longer than the grace period: calls are refused */
	uint64_t grace_ns;
	struct timer grace;
	uint64_t down_since_ns; /* or since when it is being dialled */

	/* the connection: tunnel_link.c */
	uint8_t session_id[SESSION_ID_SIZE];
	bool has_session;       /* the peer knows session_id */
	uint32_t underlay_mtu;  /* of the way from the VM to here; 0: not known */
	uint32_t attach_stream; /* of the Attach that is under way */
	struct timer greeting;  /* bounds it */
	uint32_t check_id;      /* our own Health.Check, 0: none under way */
	struct timer check;
	char *check_trouble; /* what the last one was answered; owned */
	char *last_error;    /* owned */
	bool refused;        /* by the peer's identity: dialling is slow now */
	uint32_t reconnects;
	uint64_t first_shim_ns; /* when a shim connected first; 0: none yet */

	struct opener *openers;
	struct deferred grave;
};

/* tunnel_link.c */
extern const struct dialer_ops link_dialer_ops;
int link_init(struct tunnel *t, const struct tunnel_settings *settings, struct error *err);
void link_dial(struct tunnel *t);
void link_close(struct tunnel *t);
void link_lost(struct relay *relay, const struct error *why);
void link_greeting(struct relay *relay, const struct ttrpc_header *header, const uint8_t *data);
void link_own_reply(struct relay *relay, uint32_t id, const struct ttrpc_response *response);

/* tunnel.c: a tunnel that neither listens nor dials yet; tunnel_close undoes it. NULL: no memory. */
struct tunnel *tunnel_make(struct loop *loop, const struct tunnel_settings *settings,
	struct error *err);
listener_accept tunnel_shim_connected;
/* the link is up, or down */
void tunnel_went_up(struct tunnel *t);
void tunnel_went_down(struct tunnel *t, const char *why);
void tunnel_note(struct tunnel *t, const char *why);

/* opener.c */
void openers_tell(struct tunnel *t, const struct error *err);

#endif
