/* SPDX-License-Identifier: Apache-2.0 */
/* filter_rules.c - see filter_rules.h */
#include "podnetwork/filter_rules.h"

#include <string.h>
#include <sys/stat.h>
#include "base/cleanup.h"
#include "base/json.h"

/*
 * The input chain comes after the reassembly of fragments, which have no UDP header to look at; named
 * counters survive the flush.
 */
void filter_rules_write(struct buf *out, const struct filter_rules *rules)
{
	unsigned int port = rules->port;
	buf_append_text(out,
		"add table inet peerpod\n"
		"add counter inet peerpod accepted\n"
		"add counter inet peerpod dropped\n"
		"add set inet peerpod tun4 { typeof ip saddr . udp dport . " FILTER_VNI "; }\n"
		"add set inet peerpod tun6 { typeof ip6 saddr . udp dport . " FILTER_VNI "; }\n"
		"add map inet peerpod ports { type inet_service : verdict; }\n"
		"add chain inet peerpod pre { type filter hook prerouting priority raw; policy accept; }\n"
		"add chain inet peerpod out { type filter hook output priority raw; policy accept; }\n"
		"add chain inet peerpod in { type filter hook input priority -10; policy accept; }\n"
		"flush chain inet peerpod pre\n"
		"flush chain inet peerpod out\n"
		"flush chain inet peerpod in\n"
		"add rule inet peerpod pre ip saddr . udp dport . " FILTER_VNI " @tun4 notrack\n"
		"add rule inet peerpod pre ip6 saddr . udp dport . " FILTER_VNI " @tun6 notrack\n"
		"add rule inet peerpod out ip daddr . udp dport . " FILTER_VNI " @tun4 notrack\n"
		"add rule inet peerpod out ip6 daddr . udp dport . " FILTER_VNI " @tun6 notrack\n"
		"add rule inet peerpod in udp dport vmap @ports\n");
	buf_printf(out, "add chain inet peerpod port%u\nflush chain inet peerpod port%u\n", port,
		port);
	if (rules->vni_min)
		buf_printf(out, "add rule inet peerpod port%u " FILTER_VNI " < %u return\n", port,
			rules->vni_min);
	buf_printf(out,
		"add rule inet peerpod port%u ip saddr . udp dport . " FILTER_VNI
		" @tun4 counter name accepted accept\n"
		"add rule inet peerpod port%u ip6 saddr . udp dport . " FILTER_VNI
		" @tun6 counter name accepted accept\n"
		"add rule inet peerpod port%u counter name dropped drop\n"
		"add element inet peerpod ports { %u : jump port%u }\n",
		port, port, port, port, port);
}

/* ---- what they looked like ---- */

static struct {
	char *text; /* NULL: nothing is remembered */
	dev_t device;
	ino_t inode; /* of the netns */
	uint16_t port;
	uint32_t vni_min;
} written;

/* A listing without what changes all the time, the tunnels and the counts, as text. New string, or NULL. */
static char *fixed_part(const json_t *listing)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	size_t i;
	const char *kind;
	json_t *entry, *object;
	json_array_foreach(json_object_get(listing, "nftables"), i, entry)
	{
		json_object_foreach(entry, kind, object)
		{
			cleanup_json *copy = json_copy(object);
			if (!strcmp(kind, "set"))
				json_object_del(copy, "elem");
			json_object_del(copy, "packets");
			json_object_del(copy, "bytes");
			cleanup(free_ptr) char *line = json_dumps(copy, JSON_COMPACT);
			text.failed |= !line;
			buf_printf(&text, "%s %s\n", kind, line ? line : "");
		}
	}
	return buf_take(&text);
}

bool filter_rules_stand(const struct filter_rules *rules, const json_t *listing)
{
	struct stat netns;
	if (!listing || !written.text || rules->port != written.port ||
		rules->vni_min != written.vni_min || fstat(rules->netns, &netns) < 0 ||
		netns.st_dev != written.device || netns.st_ino != written.inode)
		return false;
	cleanup(free_ptr) char *text = fixed_part(listing);
	return text && !strcmp(text, written.text);
}

void filter_rules_remember(const struct filter_rules *rules, const json_t *listing)
{
	struct stat netns;
	free(written.text);
	written.text = listing && fstat(rules->netns, &netns) == 0 ? fixed_part(listing) : NULL;
	if (!written.text)
		return;
	written.device = netns.st_dev;
	written.inode = netns.st_ino;
	written.port = rules->port;
	written.vni_min = rules->vni_min;
}
