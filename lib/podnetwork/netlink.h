/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netlink.h - requests to the kernel's rtnetlink and what it answers
 *
 * libnl's core makes the messages and reads the attributes. Its object layer (libnl-route) is not
 * used: it turns EADDRINUSE and EEXIST into one code and drops the kernel's own words (extended
 * acknowledgements), and both decide what happens next here.
 *
 * A socket belongs for life to the netns in which it was opened, whichever thread uses it.
 */
#ifndef PEERPOD_PODNETWORK_NETLINK_H
#define PEERPOD_PODNETWORK_NETLINK_H

#include <linux/netlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdbool.h>
#include "base/bound.h"
#include "base/buf.h"
#include "base/error.h"

#define NETLINK_TEXT_MAX 160

struct netlink {
	struct nl_sock *sock;
	int netns_fd;                /* where it lives; -1: our own. Not owned. */
	char text[NETLINK_TEXT_MAX]; /* the kernel's words on the last failure, or "" */
};

int netlink_open(struct netlink *nl, int netns_fd, struct error *err);
void netlink_close(struct netlink *nl);
#define cleanup_netlink cleanup(netlink_close) struct netlink

/* A request with its fixed header; flags beside REQUEST and ACK. NULL: no memory. */
struct nl_msg *netlink_request(int type, int flags, const void *header, size_t size);

/*
 * Sends it (and frees it; NULL stands for "no memory") and waits for the end of the answer.
 * Messages other than acknowledgements are appended to replies, unless that is NULL. 0 or a
 * positive errno, with nl->text.
 */
int netlink_talk(struct netlink *nl, struct nl_msg *msg, struct buf *replies);

/* A dump of one type; started again when something changed under it. 0 or a positive errno. */
int netlink_dump(struct netlink *nl, int type, int family, struct buf *replies);

/*
 * Sets err from a result of netlink_talk: "<what>: <errno's text> (<the kernel's words>)". Returns
 * -1.
 */
int netlink_error(const struct netlink *nl, int errnum, struct error *err, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The next message of a run of messages, NULL at the end or where the rest is malformed. */
const struct nlmsghdr *netlink_next(const struct buf *messages, size_t *offset);

/*
 * The kernel's words in an NLMSG_ERROR message, into text[NETLINK_TEXT_MAX]; "" where there are
 * none.
 */
void netlink_read_text(const struct nlmsghdr *message, char *text);

/* Waits for a notification on a socket that netlink_subscribe prepared, and drops all that came. */
int netlink_subscribe(struct netlink *nl, const unsigned int *groups, size_t count,
	struct error *err);
int netlink_wait(struct netlink *nl, const struct bound *bound, const char *what,
	struct error *err);

#endif
