/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.h - one connection to libvirt that many threads share and that comes back after a loss
 *
 * A caller borrows it for a few calls (call_begin ... call_end) and never keeps a domain, pool, volume or network
 * handle beyond. Two limits are kept here:
 *
 * - At most CALLS_IN_FLIGHT borrowers at once. libvirtd works on max_client_requests (5) requests of one client at a
 *   time and stops reading from it when more come, hence also its keepalive answers, and then closes the connection
 *   after 30 s with everything that was running on it.
 * - Opening happens on a thread of its own, so that a host that does not answer holds nobody beyond his bound.
 *
 * A loss is noticed by the close callback (keepalive) and by the error of a call. The next caller opens anew,
 * repeating with a growing pause inside his bound, at most RECONNECT_PATIENCE_NS.
 */
#ifndef PEERPOD_LIBVIRT_CONNECTION_H
#define PEERPOD_LIBVIRT_CONNECTION_H

#include <libvirt/libvirt.h>
#include "base/bound.h"
#include "base/error.h"

#define CALLS_IN_FLIGHT 4
#define RECONNECT_PATIENCE_NS (30 * NS_PER_S)

struct connection;

/* purpose is for messages: "calls", "uploads". Nothing is opened yet. NULL: no memory. */
struct connection *connection_new(const char *uri, const char *purpose);

/* The last borrower must have returned it. */
void connection_free(struct connection *connection);

/* A borrowed connection. */
struct call {
	struct connection *connection;
	virConnectPtr conn;
	uint64_t generation;
	int code, domain; /* of the failure that was looked at last */
	char text[512];   /* and libvirt's message */
};

#define CALL_INIT ((struct call){0})

int call_begin(struct connection *connection, struct call *call, const struct bound *bound,
	struct error *err);
void call_end(struct call *call); /* safe on one that never began */
#define cleanup_call cleanup(call_end) struct call

/*
 * Looks at this thread's last error before any other call to libvirt wipes it (even virDomainGetName does): keeps code,
 * domain and text in *call, tells the holder about a loss, and returns the kind.
 */
enum error_kind call_note(struct call *call);

/*
 * After a libvirt function failed: takes over its error, with the kind that it means and the text
 * "<what was done>: <libvirt's message>". The error is noted before the arguments are evaluated. Value: -1.
 */
#define call_failed(call, err, ...) (call_note(call), call_report(call, err, __VA_ARGS__))
int call_report(struct call *call, struct error *err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Handles by scope. */
static inline void domain_unref(virDomainPtr *domain)
{
	if (*domain)
		virDomainFree(*domain);
}
static inline void pool_unref(virStoragePoolPtr *pool)
{
	if (*pool)
		virStoragePoolFree(*pool);
}
static inline void volume_unref(virStorageVolPtr *volume)
{
	if (*volume)
		virStorageVolFree(*volume);
}
static inline void network_unref(virNetworkPtr *network)
{
	if (*network)
		virNetworkFree(*network);
}
#define cleanup_domain cleanup(domain_unref) virDomainPtr
#define cleanup_pool cleanup(pool_unref) virStoragePoolPtr
#define cleanup_volume cleanup(volume_unref) virStorageVolPtr
#define cleanup_network cleanup(network_unref) virNetworkPtr

#endif
