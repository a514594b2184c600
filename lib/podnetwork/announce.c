/* SPDX-License-Identifier: Apache-2.0 */
/* announce.c - see announce.h */
#include "podnetwork/announce.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/log.h"

/* RFC 826 for Ethernet and IPv4. */
struct arp_ipv4 {
	struct arphdr header;
	uint8_t sender_mac[ETH_ALEN], sender_ip[4], target_mac[ETH_ALEN], target_ip[4];
} __attribute__((packed));

void announce_ipv4(const struct link *link, const struct ip_prefix *address)
{
	struct arp_ipv4 packet = {
		.header = {.ar_hrd = htons(ARPHRD_ETHER),
			.ar_pro = htons(ETH_P_IP),
			.ar_hln = ETH_ALEN,
			.ar_pln = 4,
			.ar_op = htons(ARPOP_REQUEST)},
	};
	struct sockaddr_ll everybody = {.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ARP),
		.sll_ifindex = link->index,
		.sll_halen = ETH_ALEN};
	if (!link->has_mac || address->family != AF_INET)
		return;
	memset(everybody.sll_addr, 0xff, ETH_ALEN);
	memcpy(packet.sender_mac, link->mac, ETH_ALEN);
	memcpy(packet.sender_ip, address->bytes, sizeof(packet.sender_ip));
	memcpy(packet.target_ip, address->bytes, sizeof(packet.target_ip));
	cleanup(close_fd) int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ARP));
	if (fd < 0 || sendto(fd, &packet, sizeof(packet), 0, (struct sockaddr *)&everybody,
			      sizeof(everybody)) < 0)
		log_warn("pod network: announce the address of %s: %s", link->name,
			strerror(errno));
}
