/* SPDX-License-Identifier: Apache-2.0 */
/* netlink.c - see netlink.h */
#include "podnetwork/netlink.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/socket.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include "podnetwork/netns.h"

/* A busy node changes links all the time; beyond this the dump is an error and not a livelock. */
#define DUMP_ATTEMPTS 20
/* All of one namespace's links or routes fits many times over. */
#define REPLIES_MAX (64 * 1024 * 1024)

struct opening {
	struct nl_sock *sock;
	int errnum;
};

/* Runs inside the netns. */
static void open_socket(void *arg)
{
	struct opening *opening = arg;
	struct nl_sock *sock = nl_socket_alloc();
	if (!sock) {
		opening->errnum = ENOMEM;
		return;
	}
	errno = 0;
	if (nl_connect(sock, NETLINK_ROUTE) < 0) {
		opening->errnum = errno ? errno : EIO;
		nl_socket_free(sock);
		return;
	}
	int on = 1;
	/* Kernels before 4.12 know neither: their failures just come without words. */
	setsockopt(nl_socket_get_fd(sock), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	setsockopt(nl_socket_get_fd(sock), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	nl_socket_enable_msg_peek(sock);
	opening->sock = sock;
}

int netlink_open(struct netlink *nl, int netns_fd, struct error *err)
{
	struct opening opening = {0};
	*nl = (struct netlink){.netns_fd = netns_fd};
	if (netns_run(netns_fd, open_socket, &opening, err))
		return -1;
	if (!opening.sock)
		return error_set_errno(err, opening.errnum, "open a netlink socket");
	nl->sock = opening.sock;
	return 0;
}

void netlink_close(struct netlink *nl)
{
	if (nl->sock)
		nl_socket_free(nl->sock);
	nl->sock = NULL;
}

struct nl_msg *netlink_request(int type, int flags, const void *header, size_t size)
{
	struct nl_msg *msg = nlmsg_alloc_simple(type, NLM_F_REQUEST | NLM_F_ACK | flags);
	if (msg && nlmsg_append(msg, (void *)header, size, NLMSG_ALIGNTO) < 0) {
		nlmsg_free(msg);
		return NULL;
	}
	return msg;
}

const struct nlmsghdr *netlink_next(const struct buf *messages, size_t *offset)
{
	size_t left = messages->len - *offset;
	if (left < NLMSG_HDRLEN)
		return NULL;
	const struct nlmsghdr *message = (const struct nlmsghdr *)(messages->data + *offset);
	if (message->nlmsg_len < NLMSG_HDRLEN || message->nlmsg_len > left)
		return NULL;
	size_t step = NLMSG_ALIGN(message->nlmsg_len);
	*offset += step < left ? step : left;
	return message;
}

void netlink_read_text(const struct nlmsghdr *message, char *text)
{
	text[0] = 0;
	if (message->nlmsg_len < NLMSG_HDRLEN + sizeof(struct nlmsgerr) ||
		!(message->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	const struct nlmsgerr *ack = NLMSG_DATA(message);
	size_t skip = sizeof(*ack), len = message->nlmsg_len - NLMSG_HDRLEN;
	/* Without the capped flag the whole request comes back before the attributes. */
	if (!(message->nlmsg_flags & NLM_F_CAPPED)) {
		if (ack->msg.nlmsg_len < NLMSG_HDRLEN ||
			ack->msg.nlmsg_len - NLMSG_HDRLEN > len - skip)
			return;
		skip += NLMSG_ALIGN(ack->msg.nlmsg_len - NLMSG_HDRLEN);
	}
	if (skip >= len)
		return;
	struct nlattr *attribute = nla_find((struct nlattr *)((uint8_t *)ack + skip),
		(int)(len - skip), NLMSGERR_ATTR_MSG);
	if (!attribute || nla_len(attribute) <= 0)
		return;
	size_t size = (size_t)nla_len(attribute);
	size = strnlen(nla_data(attribute), size < NETLINK_TEXT_MAX ? size : NETLINK_TEXT_MAX - 1);
	memcpy(text, nla_data(attribute), size);
	text[size] = 0;
}

/* What one message means for the talk it belongs to. */
enum step { STEP_MORE, STEP_DONE };

static enum step take_message(struct netlink *nl, const struct nlmsghdr *message, bool dump,
	struct buf *replies, int *errnum, bool *interrupted)
{
	if (message->nlmsg_flags & NLM_F_DUMP_INTR)
		*interrupted = true;
	switch (message->nlmsg_type) {
	case NLMSG_NOOP:
		return STEP_MORE;
	case NLMSG_ERROR: {
		const struct nlmsgerr *ack = NLMSG_DATA(message);
		if (message->nlmsg_len < NLMSG_HDRLEN + sizeof(*ack)) {
			*errnum = EBADMSG;
			return STEP_DONE;
		}
		*errnum = ack->error < 0 ? -ack->error : 0;
		netlink_read_text(message, nl->text);
		/* With NLM_F_ACK a dump is acknowledged by its end, not here. */
		return dump && !*errnum ? STEP_MORE : STEP_DONE;
	}
	case NLMSG_DONE:
		if (message->nlmsg_len >= NLMSG_HDRLEN + sizeof(int)) {
			int code = *(const int *)NLMSG_DATA(message);
			*errnum = code < 0 ? -code : 0;
		}
		return STEP_DONE;
	default:
		if (replies) {
			static const uint8_t padding[NLMSG_ALIGNTO];
			buf_append(replies, message, message->nlmsg_len);
			buf_append(replies, padding,
				NLMSG_ALIGN(message->nlmsg_len) - message->nlmsg_len);
			if (replies->failed || replies->len > REPLIES_MAX) {
				*errnum = ENOMEM;
				return STEP_DONE;
			}
		}
		return STEP_MORE;
	}
}

/* All of one answer. */
static int receive(struct netlink *nl, uint32_t seq, bool dump, struct buf *replies,
	bool *interrupted)
{
	int errnum = 0;
	for (;;) {
		struct sockaddr_nl from;
		cleanup(free_ptr) unsigned char *bytes = NULL;
		errno = 0;
		int n = nl_recv(nl->sock, &from, &bytes, NULL);
		if (n <= 0)
			return errno ? errno : EIO;
		if (from.nl_pid != 0) /* only the kernel is listened to */
			continue;
		struct buf datagram = {.data = bytes, .len = (size_t)n};
		size_t offset = 0;
		const struct nlmsghdr *message;
		while ((message = netlink_next(&datagram, &offset))) {
			if (message->nlmsg_seq == seq && take_message(nl, message, dump, replies,
								 &errnum, interrupted) == STEP_DONE)
				return errnum;
		}
	}
}

static int talk(struct netlink *nl, struct nl_msg *msg, bool dump, struct buf *replies,
	bool *interrupted)
{
	nl->text[0] = 0;
	if (!msg)
		return ENOMEM;
	nl_complete_msg(nl->sock, msg);
	uint32_t seq = nlmsg_hdr(msg)->nlmsg_seq;
	errno = 0;
	int sent = nl_send(nl->sock, msg);
	int errnum = errno ? errno : EIO;
	nlmsg_free(msg);
	return sent < 0 ? errnum : receive(nl, seq, dump, replies, interrupted);
}

int netlink_talk(struct netlink *nl, struct nl_msg *msg, struct buf *replies)
{
	bool interrupted = false;
	return talk(nl, msg, false, replies, &interrupted);
}

int netlink_dump(struct netlink *nl, int type, int family, struct buf *replies)
{
	size_t start = replies->len;
	for (int attempt = 0; attempt < DUMP_ATTEMPTS; attempt++) {
		struct rtgenmsg header = {.rtgen_family = (unsigned char)family};
		bool interrupted = false;
		replies->len = start;
		int errnum = talk(nl, netlink_request(type, NLM_F_DUMP, &header, sizeof(header)),
			true, replies, &interrupted);
		if (errnum && errnum != EINTR)
			return errnum;
		if (!errnum && !interrupted)
			return 0;
	}
	return EINTR;
}

int netlink_error(const struct netlink *nl, int errnum, struct error *err, const char *format, ...)
{
	char what[256];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	error_set_errno(err, errnum, "%s", what);
	if (nl->text[0])
		error_append(err, " (%s)", nl->text);
	if (errnum == EPERM)
		error_append(err, "; CAP_NET_ADMIN is needed");
	return -1;
}

int netlink_subscribe(struct netlink *nl, const unsigned int *groups, size_t count,
	struct error *err)
{
	for (size_t i = 0; i < count; i++) {
		if (nl_socket_add_membership(nl->sock, (int)groups[i]) < 0)
			return error_set(err, ERROR_INTERNAL,
				"no notifications of netlink group %u", groups[i]);
	}
	return 0;
}

int netlink_wait(struct netlink *nl, const struct bound *bound, const char *what, struct error *err)
{
	int fd = nl_socket_get_fd(nl->sock);
	if (bound_poll(bound, fd, POLLIN, what, err) < 0)
		return -1;
	char dropped[4096];
	while (recv(fd, dropped, sizeof(dropped), MSG_DONTWAIT | MSG_TRUNC) > 0 || errno == ENOBUFS)
		;
	return 0;
}
