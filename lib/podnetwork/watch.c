/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c - somebody else takes away what a running pod's network needs; see podnetwork.h
 *
 * `nft flush ruleset`, a firewall's reload and `ip link delete` all come with notifications. One socket hears of
 * nftables in the worker's netns, another of links in every netns that the worker's has a number for, which a
 * pod's netns gets with its veth. What was lost between (a full socket) counts as lost rules: everything is looked at.
 */
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "podnetwork/link.h"
#include "podnetwork/podnetwork.h"
#include "podnetwork/reserve.h"
#include "podnetwork/watch.h"

#define RECEIVE_MAX 65536

struct podnetwork_watch {
	int rules, links; /* sockets */
	int epoll;        /* readable when one of them is */
};

static int subscribe(int family, int group, bool everywhere, struct error *err)
{
	int yes = 1;
	cleanup(close_fd) int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, family);
	struct sockaddr_nl own = {.nl_family = AF_NETLINK};
	if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof(own)) < 0 ||
		setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0 ||
		(everywhere && setsockopt(fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &yes,
				       sizeof(yes)) < 0))
		return error_set_errno(err, errno, "listen to the kernel's network events");
	return take_fd(&fd);
}

void podnetwork_watch_close(struct podnetwork_watch *watch)
{
	if (!watch)
		return;
	close_fd(&watch->rules);
	close_fd(&watch->links);
	close_fd(&watch->epoll);
	free(watch);
}

DEFINE_CLEANUP(struct podnetwork_watch, podnetwork_watch_close)

struct podnetwork_watch *podnetwork_watch_open(struct error *err)
{
	cleanup(podnetwork_watch_close_ptr) struct podnetwork_watch *watch = malloc(sizeof(*watch));
	if (!watch) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	*watch = (struct podnetwork_watch){-1, -1, epoll_create1(EPOLL_CLOEXEC)};
	watch->rules = subscribe(NETLINK_NETFILTER, NFNLGRP_NFTABLES, false, err);
	watch->links = watch->rules < 0 ? -1 : subscribe(NETLINK_ROUTE, RTNLGRP_LINK, true, err);
	struct epoll_event event = {.events = EPOLLIN};
	if (watch->links < 0)
		return NULL;
	if (watch->epoll < 0 || epoll_ctl(watch->epoll, EPOLL_CTL_ADD, watch->rules, &event) < 0 ||
		epoll_ctl(watch->epoll, EPOLL_CTL_ADD, watch->links, &event) < 0) {
		error_set_errno(err, errno, "listen to the kernel's network events");
		return NULL;
	}
	return take_ptr(watch);
}

bool watch_read_rules(const struct nlmsghdr *message)
{
	static const uint16_t removals[] = {NFT_MSG_DELTABLE, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE,
		NFT_MSG_DELSET};
	if (message->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES)
		return false;
	bool removal = false;
	for (size_t i = 0; i < array_size(removals); i++)
		removal |= (message->nlmsg_type & 0xff) == removals[i];
	/* In all of these the table's name is attribute 1. */
	const struct nlattr *name = removal ? nlmsg_find_attr((struct nlmsghdr *)message,
						      sizeof(struct nfgenmsg), NFTA_TABLE_NAME)
					    : NULL;
	return name && nla_len(name) == sizeof("peerpod") &&
	       !memcmp(nla_data(name), "peerpod", sizeof("peerpod"));
}

bool watch_read_link(const struct nlmsghdr *message, char *sandbox)
{
	size_t prefix = strlen(TUNNEL_ALIAS);
	if (message->nlmsg_type != RTM_DELLINK)
		return false;
	const struct nlattr *alias =
		nlmsg_find_attr((struct nlmsghdr *)message, sizeof(struct ifinfomsg), IFLA_IFALIAS);
	size_t len = alias ? strnlen(nla_data(alias), (size_t)nla_len(alias)) : 0;
	if (len <= prefix || len - prefix >= PODNETWORK_SANDBOX_SIZE ||
		memcmp(nla_data(alias), TUNNEL_ALIAS, prefix) != 0)
		return false;
	memcpy(sandbox, (const char *)nla_data(alias) + prefix, len - prefix);
	sandbox[len - prefix] = '\0';
	return true;
}

/* One datagram: 1 something was taken away, 0 nothing of ours, -1 there is none. */
static int receive(int fd, char *sandbox)
{
	_Alignas(struct nlmsghdr) uint8_t bytes[RECEIVE_MAX];
	ssize_t len = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_TRUNC);
	sandbox[0] = '\0';
	if (len < 0)
		return errno == ENOBUFS ? 1 : errno == EINTR ? 0 : -1;
	if ((size_t)len > sizeof(bytes))
		return 1;
	const struct buf messages = {.data = bytes, .len = (size_t)len};
	const struct nlmsghdr *message;
	for (size_t offset = 0; (message = netlink_next(&messages, &offset));) {
		if (watch_read_rules(message) || watch_read_link(message, sandbox))
			return 1;
	}
	return 0;
}

int podnetwork_watch_wait(struct podnetwork_watch *watch, const struct bound *bound,
	char sandbox[PODNETWORK_SANDBOX_SIZE], struct error *err)
{
	const int sockets[] = {watch->rules, watch->links};
	for (;;) {
		for (size_t i = 0; i < array_size(sockets); i++) {
			int result;
			while ((result = receive(sockets[i], sandbox)) == 0)
				continue;
			if (result < 0)
				continue;
			/* A table goes in many pieces: one word about all of them. */
			char other[PODNETWORK_SANDBOX_SIZE];
			while (!*sandbox && receive(watch->rules, other) >= 0)
				continue;
			return 0;
		}
		if (bound_poll(bound, watch->epoll, POLLIN, "network events", err) < 0)
			return -1;
	}
}
