/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.c - see address.h
 *
 * Sources, each asked only for NICs that have no address yet: reservation, DHCP lease of libvirt, guest agent, the
 * kernel's neighbour table (own netlink code: libvirt's ARP source fails on newer kernels). An address says where the
 * VM will be, not that it is up: the caller dials.
 */
#include "providers/libvirt/address.h"

#include <arpa/inet.h>
#include <libvirt/virterror.h>
#include <netlink/route/neighbour.h>
#include <string.h>

#include "providers/libvirt/failure.h"
#include "providers/libvirt/network.h"
#include "providers/libvirt/xml.h"

struct nic_list {
	struct domain_nics *nics;
	bool failed;
};

static void nic_add(xmlDoc *doc, xmlNode *node, void *opaque)
{
	struct nic_list *list = opaque;
	struct domain_nics *nics = list->nics;
	cleanup(free_ptr) char *mac = xml_text(doc, node, "mac/@address");
	cleanup(free_ptr) char *type = xml_text(doc, node, "@type");
	if (!mac || strlen(mac) != MAC_TEXT_LEN || nics->count == NICS_MAX)
		return;
	memcpy(nics->nic[nics->count].mac, mac, MAC_TEXT_LEN + 1);
	nics->nic[nics->count].network = xml_text(doc, node, "source/@network");
	nics->user |= type && !strcmp(type, "user");
	nics->count++;
}

int domain_nics_read(const char *what, const char *text, struct domain_nics *nics,
	struct error *err)
{
	*nics = (struct domain_nics){0};
	cleanup_xml *doc = xml_parse(what, text, err);
	if (!doc)
		return -1;
	struct nic_list list = {.nics = nics};
	xml_each(doc, "/domain/devices/interface", nic_add, &list);
	return 0;
}

void domain_nics_free(struct domain_nics *nics)
{
	for (size_t i = 0; i < nics->count; i++)
		free(nics->nic[i].network);
	*nics = (struct domain_nics){0};
}

static bool all_known(const struct domain_nics *nics)
{
	for (size_t i = 0; i < nics->count; i++) {
		if (!*nics->nic[i].address)
			return false;
	}
	return true;
}

/* Link-local and loopback addresses lead nowhere from another machine. */
static bool usable(const char *address)
{
	struct in6_addr six;
	struct in_addr four;
	if (inet_pton(AF_INET, address, &four) == 1)
		return ntohl(four.s_addr) >> 24 != 127 && ntohl(four.s_addr) >> 16 != 0xa9fe;
	return inet_pton(AF_INET6, address, &six) == 1 && !IN6_IS_ADDR_LINKLOCAL(&six) &&
	       !IN6_IS_ADDR_LOOPBACK(&six);
}

/* Takes an address for the NIC of this MAC; IPv4 wins over IPv6. */
static void offer(struct domain_nics *nics, const char *mac, const char *address)
{
	if (!mac || !address || !usable(address))
		return;
	for (size_t i = 0; i < nics->count; i++) {
		char *known = nics->nic[i].address;
		if (strcasecmp(nics->nic[i].mac, mac) != 0)
			continue;
		if (!*known || (strchr(known, ':') && !strchr(address, ':')))
			snprintf(known, INET6_ADDRSTRLEN, "%s", address);
	}
}

/* ---- the sources --------------------------------------------------------------------------------------- */

static int look_reserved(struct call *call, virDomainPtr domain, struct domain_nics *nics,
	struct error *err)
{
	(void)domain;
	for (size_t i = 0; i < nics->count; i++) {
		if (!nics->nic[i].network || *nics->nic[i].address)
			continue;
		cleanup(network_facts_free) struct network_facts facts = {0};
		cleanup_network network = network_open(call, nics->nic[i].network, &facts, err);
		if (!network)
			return -1;
		for (size_t k = 0; k < facts.host_count; k++) {
			char ip[IPV4_TEXT_MAX + 1];
			ipv4_text(facts.hosts[k].ip, ip);
			if (facts.hosts[k].ip)
				offer(nics, facts.hosts[k].mac, ip);
		}
	}
	return 0;
}

static int look_interfaces(struct call *call, virDomainPtr domain, unsigned source,
	struct domain_nics *nics, struct error *err)
{
	virDomainInterfacePtr *interfaces = NULL;
	int count = virDomainInterfaceAddresses(domain, &interfaces, source, 0);
	if (count < 0) {
		enum error_kind kind = call_note(call);
		/* An agent that is not there or not up yet is no failure of the look. */
		if (kind == ERROR_UNSUPPORTED || source == VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
			return kind == ERROR_RETRY || kind == ERROR_GONE
				       ? call_failed(call, err, "ask for addresses")
				       : 0;
		return call_failed(call, err, "ask for addresses");
	}
	for (int i = 0; i < count; i++) {
		for (unsigned k = 0; k < interfaces[i]->naddrs; k++)
			offer(nics, interfaces[i]->hwaddr, interfaces[i]->addrs[k].addr);
		virDomainInterfaceFree(interfaces[i]);
	}
	free(interfaces);
	return 0;
}

static int look_lease(struct call *call, virDomainPtr domain, struct domain_nics *nics,
	struct error *err)
{
	return look_interfaces(call, domain, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, nics, err);
}

static int look_agent(struct call *call, virDomainPtr domain, struct domain_nics *nics,
	struct error *err)
{
	return look_interfaces(call, domain, VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT, nics, err);
}

static void neighbour_offer(struct nl_object *object, void *opaque)
{
	struct rtnl_neigh *neighbour = (struct rtnl_neigh *)object;
	struct nl_addr *mac = rtnl_neigh_get_lladdr(neighbour), *ip = rtnl_neigh_get_dst(neighbour);
	int dead = NUD_INCOMPLETE | NUD_FAILED | NUD_NONE;
	char mac_text[64], ip_text[INET6_ADDRSTRLEN + 8];
	if (mac && ip && !(rtnl_neigh_get_state(neighbour) & dead))
		offer(opaque, nl_addr2str(mac, mac_text, sizeof(mac_text)),
			nl_addr2str(ip, ip_text, sizeof(ip_text)));
}

static int look_neighbours(struct call *call, virDomainPtr domain, struct domain_nics *nics,
	struct error *err)
{
	(void)call;
	(void)domain;
	struct nl_sock *sock = nl_socket_alloc();
	struct nl_cache *cache = NULL;
	int failed = sock ? nl_connect(sock, NETLINK_ROUTE) : -NLE_NOMEM;
	if (!failed)
		failed = rtnl_neigh_alloc_cache(sock, &cache);
	if (!failed)
		nl_cache_foreach(cache, neighbour_offer, nics);
	if (cache)
		nl_cache_free(cache);
	if (sock)
		nl_socket_free(sock);
	return failed ? error_set(err, ERROR_INTERNAL, "read the neighbour table: %s",
				nl_geterror(failed))
		      : 0;
}

static const struct source {
	const char *name;
	bool local_only;
	int (*look)(struct call *call, virDomainPtr domain, struct domain_nics *nics,
		struct error *err);
} sources[] = {
	{"reserve", false, look_reserved},
	{"lease", false, look_lease},
	{"agent", false, look_agent},
	{"neigh", true, look_neighbours},
};

int addresses_look(struct call *call, virDomainPtr domain, const struct libvirt_options *options,
	const struct uri_facts *uri, struct domain_nics *nics, struct error *err)
{
	bool every = !strcmp(options->ip_source, "auto");
	for (size_t i = 0; i < array_size(sources) && !all_known(nics); i++) {
		bool wanted = !strcmp(options->ip_source, sources[i].name);
		if ((!every && !wanted) || (sources[i].local_only && !uri->local))
			continue;
		if (sources[i].look(call, domain, nics, err) < 0)
			return error_prefix(err, "address by %s", sources[i].name);
	}
	return 0;
}
