/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dial.h - reaching a pod VM: TCP connect and TLS handshake, again and again until it works
 *
 * A VM that boots refuses or does not answer at first; the moment it does is what a pod's start waits
 * for. So attempts follow each other quickly, and an attempt whose packets were dropped is joined by
 * another each second, since the kernel would repeat its own after 1, 3, 7 seconds only.
 */
#ifndef PEERPOD_VSOCK_DIAL_H
#define PEERPOD_VSOCK_DIAL_H

#include <sys/socket.h>
#include "tls/tls.h"
#include "vsock-proxy/conn.h"

enum dial_reason {
	DIAL_REFUSED,      /* the machine is there, nobody listens */
	DIAL_NO_ROUTE,     /* network or host unreachable */
	DIAL_NO_ANSWER,    /* packets vanish */
	DIAL_CERTIFICATE,  /* who answers is not who should, or does not want us */
	DIAL_NO_RESOURCES, /* this machine has no descriptor, memory or port left for a connection */
	DIAL_BROKEN,       /* connected, and the connection broke before the handshake was done */
};

struct dial_settings {
	const char *address;    /* "192.0.2.7:15150" or "[2001:db8::7]:15150" */
	struct tls_client *tls; /* NULL: plain TCP */
	const char *server_name;
	uint64_t backoff_min_ns, backoff_max_ns;
};

struct dialer;

struct dialer_ops {
	/* Connected, and the handshake is done. The dialer rests until dialer_start. */
	void (*connected)(void *context, struct conn *conn);
	/*
	 * The peer's identity is wrong, twice in a row: trying on is of no use. The dialer rests. Every
	 * other failure is only kept for dialer_trouble.
	 */
	void (*denied)(void *context, const struct error *why);
};

/* Numbers only: "192.0.2.7:15150", "[2001:db8::7]:15150". ERROR_INVALID names the text. */
int tunnel_address_parse(const char *text, struct sockaddr_storage *out, socklen_t *len,
	struct error *err);

/* Copies the settings. NULL on failure (ERROR_INVALID: the address). */
struct dialer *dialer_new(struct loop *loop, const struct dial_settings *settings,
	const struct dialer_ops *ops, void *context, struct error *err);
void dialer_free(struct dialer *dialer);

/* Starts dialling, at once or after a first pause. */
void dialer_start(struct dialer *dialer, bool at_once);
void dialer_stop(struct dialer *dialer);

/* The peer was the right one and well: the next failure is the first again. */
void dialer_forgive(struct dialer *dialer);

/* The peer broke the connection off over our identity after it was handed over: counts as a denial. */
void dialer_reject(struct dialer *dialer, const struct error *why);

/* Whom it dials as: the dialer's; NULL: plain TCP. */
const struct tls_client *dialer_identity(const struct dialer *dialer, const char **server_name);

/* The last failure since dialer_start, NULL where there was none yet. */
const struct error *dialer_trouble(const struct dialer *dialer, enum dial_reason *reason,
	unsigned int *attempts);

#endif
