/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netlink_reply.c - fuzz what is read out of the kernel's answers: dumps and extended
 * acknowledgements
 */
#include <stdlib.h>
#include <string.h>

#include "podnetwork/link.h"
#include "podnetwork/podnetwork.h"
#include "podnetwork/route.h"
#include "podnetwork/watch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_message(const struct nlmsghdr *message)
{
	struct link link;
	struct address address;
	struct route route;
	struct neighbor neighbor;
	struct rule rule;
	char text[NETLINK_TEXT_MAX];
	if (link_parse(message, &link) && (!link.name[0] || link.index <= 0))
		abort();
	if (address_parse(message, &address) && !address.ip.family)
		abort();
	if (route_parse(message, &route) && route.dst.len > ip_bits(route.dst.family))
		abort();
	neighbor_parse(message, &neighbor);
	rule_parse(message, &rule);
	char sandbox[PODNETWORK_SANDBOX_SIZE];
	watch_read_rules(message);
	if (watch_read_link(message, sandbox) && (!*sandbox || strlen(sandbox) >= sizeof(sandbox)))
		abort();
	netlink_read_text(message, text);
	if (strlen(text) >= sizeof(text))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A copy of exactly this size, aligned as a receive buffer is. */
	struct buf messages = BUF_INIT;
	uint8_t *copy = size ? malloc(size) : NULL;
	if (copy)
		memcpy(copy, data, size);
	messages.data = copy;
	messages.len = copy ? size : 0;
	const struct nlmsghdr *message;
	for (size_t offset = 0; (message = netlink_next(&messages, &offset));)
		read_message(message);
	free(copy);
	return 0;
}
