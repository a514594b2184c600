/* SPDX-License-Identifier: Apache-2.0 */
/*
 * network.h - a libvirt network: what it offers, and addresses reserved in it
 *
 * A reservation (a DHCP host entry) makes the address known before the VM boots, and libvirtd refuses a MAC or an
 * address that is taken, so it is the lock between all who reserve. Entries of ours are named after the domain's UUID.
 */
#ifndef PEERPOD_LIBVIRT_NETWORK_H
#define PEERPOD_LIBVIRT_NETWORK_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "providers/libvirt/connection.h"
#include "providers/libvirt/names.h"

#define IPV4_TEXT_MAX 15

struct dhcp_host {
	char mac[MAC_TEXT_LEN + 1];   /* "": none */
	uint32_t ip;                  /* host byte order, 0: none */
	char uuid[UUID_TEXT_LEN + 1]; /* whose it is, where it is ours; else "" */
	unsigned nic;
	int64_t created;
};

struct network_facts {
	bool managed; /* libvirt runs its bridge: NAT, routed, open or isolated */
	char *bridge; /* owned, may be NULL */
	uint32_t gateway, range_start, range_end; /* IPv4, host byte order; 0: no DHCP range */
	struct dhcp_host *hosts;                  /* owned */
	size_t host_count;
};

/* The network, started where it is not. NULL on failure; ERROR_INVALID where there is none of this name. */
virNetworkPtr network_open(struct call *call, const char *name, struct network_facts *facts,
	struct error *err);
int network_xml_read(const char *what, const char *text, struct network_facts *facts,
	struct error *err);
void network_facts_free(struct network_facts *facts);

/*
 * Reserves an address for this NIC, or finds the one that was reserved before; tells the MAC that goes with it.
 * ERROR_UNSUPPORTED where the network has no DHCP range of its own, ERROR_CAPACITY where every address is taken.
 */
int address_reserve(struct call *call, const char *network, const char *uuid, const char *token,
	unsigned nic, char mac[MAC_TEXT_LEN + 1], char ip[IPV4_TEXT_MAX + 1], struct error *err);

/* Removes every reservation of this UUID. What is gone is fine, a network that is gone too. */
int address_release(struct call *call, const char *network, const char *uuid, struct error *err);

/*
 * The choice, without the network: first a free address from a place that the token decides, then the address of a
 * stale lease (with its MAC, so that dnsmasq gives it out again). false: all taken.
 */
struct lease {
	char mac[MAC_TEXT_LEN + 1];
	uint32_t ip;
	bool stale; /* of a pod VM that is gone */
};
bool address_choose(const struct network_facts *facts, const struct lease *leases,
	size_t lease_count, const char *token, unsigned nic, unsigned attempt,
	char mac[MAC_TEXT_LEN + 1], uint32_t *ip);

void ipv4_text(uint32_t ip, char text[IPV4_TEXT_MAX + 1]);

#endif
