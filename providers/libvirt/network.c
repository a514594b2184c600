/* SPDX-License-Identifier: Apache-2.0 */
/* network.c - see network.h */
#include "providers/libvirt/network.h"

#include <arpa/inet.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "base/log.h"
#include "providers/libvirt/failure.h"
#include "providers/libvirt/xml.h"

void ipv4_text(uint32_t ip, char text[IPV4_TEXT_MAX + 1])
{
	struct in_addr address = {htonl(ip)};
	if (!inet_ntop(AF_INET, &address, text, IPV4_TEXT_MAX + 1))
		text[0] = '\0';
}

static uint32_t ipv4_parse(const char *text)
{
	struct in_addr address;
	return text && inet_pton(AF_INET, text, &address) == 1 ? ntohl(address.s_addr) : 0;
}

/* ---- reading a network ------------------------------------------------------------------------------ */

struct host_list {
	struct network_facts *facts;
	bool failed;
};

static void host_add(xmlDoc *doc, xmlNode *node, void *opaque)
{
	struct host_list *list = opaque;
	struct network_facts *facts = list->facts;
	struct dhcp_host *larger =
		reallocarray(facts->hosts, facts->host_count + 1, sizeof(*larger));
	if (!larger) {
		list->failed = true;
		return;
	}
	facts->hosts = larger;
	struct dhcp_host *host = &larger[facts->host_count++];
	*host = (struct dhcp_host){0};
	cleanup(free_ptr) char *mac = xml_text(doc, node, "@mac");
	cleanup(free_ptr) char *ip = xml_text(doc, node, "@ip");
	cleanup(free_ptr) char *name = xml_text(doc, node, "@name");
	if (mac && strlen(mac) == MAC_TEXT_LEN)
		memcpy(host->mac, mac, MAC_TEXT_LEN + 1);
	host->ip = ipv4_parse(ip);
	if (name && !reservation_name_parse(name, host->uuid, &host->nic, &host->created))
		host->uuid[0] = '\0';
}

int network_xml_read(const char *what, const char *text, struct network_facts *facts,
	struct error *err)
{
	static const char *const managed_modes[] = {"nat", "route", "open"};
	*facts = (struct network_facts){0};
	cleanup_xml *doc = xml_parse(what, text, err);
	if (!doc)
		return -1;
	cleanup(free_ptr) char *mode = xml_text(doc, NULL, "/network/forward/@mode");
	facts->managed = !xml_has(doc, NULL, "/network/forward") ||
			 (!mode && xml_has(doc, NULL, "/network/forward"));
	for (size_t i = 0; mode && i < array_size(managed_modes); i++)
		facts->managed |= !strcmp(mode, managed_modes[i]);
	facts->bridge = xml_text(doc, NULL, "/network/bridge/@name");

	/* The first IPv4 subnet with a range: libvirt serves DHCP in one only. */
	static const char subnet[] =
		"/network/ip[(not(@family) or @family='ipv4') and dhcp/range][1]";
	char path[160];
	snprintf(path, sizeof(path), "%s/@address", subnet);
	cleanup(free_ptr) char *gateway = xml_text(doc, NULL, path);
	snprintf(path, sizeof(path), "%s/dhcp/range[1]/@start", subnet);
	cleanup(free_ptr) char *start = xml_text(doc, NULL, path);
	snprintf(path, sizeof(path), "%s/dhcp/range[1]/@end", subnet);
	cleanup(free_ptr) char *end = xml_text(doc, NULL, path);
	facts->gateway = ipv4_parse(gateway);
	facts->range_start = ipv4_parse(start);
	facts->range_end = ipv4_parse(end);
	if (facts->range_end < facts->range_start)
		facts->range_start = facts->range_end = 0;
	struct host_list list = {.facts = facts};
	xml_each(doc, "/network/ip/dhcp/host", host_add, &list);
	if (list.failed) {
		network_facts_free(facts);
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	return 0;
}

void network_facts_free(struct network_facts *facts)
{
	free(facts->bridge);
	free(facts->hosts);
	*facts = (struct network_facts){0};
}

static int facts_read(struct call *call, virNetworkPtr network, struct network_facts *facts,
	struct error *err)
{
	const char *name = virNetworkGetName(network);
	cleanup(free_ptr) char *text = virNetworkGetXMLDesc(network, 0);
	if (!text)
		return call_failed(call, err, "read the XML of network %s", name);
	return network_xml_read(name, text, facts, err);
}

virNetworkPtr network_open(struct call *call, const char *name, struct network_facts *facts,
	struct error *err)
{
	*facts = (struct network_facts){0};
	cleanup_network network = virNetworkLookupByName(call->conn, name);
	if (!network) {
		call_failed(call, err, "network %s", name);
		if (err && err->kind == ERROR_GONE) {
			err->kind = ERROR_INVALID;
			error_append(err,
				" (LIBVIRT_NET; virsh net-list --all shows what there is)");
		}
		return NULL;
	}
	if (virNetworkIsActive(network) == 0) {
		log_info("network %s is not active: starting it", name);
		if (virNetworkCreate(network) < 0) {
			call_note(call); /* the next call wipes the reason */
			if (virNetworkIsActive(network) != 1) {
				call_report(call, err, "start network %s", name);
				return NULL;
			}
		}
	}
	if (facts_read(call, network, facts, err) < 0)
		return NULL;
	return take_ptr(network);
}

/* ---- choosing an address ------------------------------------------------------------------------------ */

static bool ip_taken(const struct network_facts *facts, const struct lease *leases,
	size_t lease_count, uint32_t ip)
{
	if (ip == facts->gateway)
		return true;
	for (size_t i = 0; i < facts->host_count; i++) {
		if (facts->hosts[i].ip == ip)
			return true;
	}
	for (size_t i = 0; i < lease_count; i++) {
		if (leases[i].ip == ip)
			return true;
	}
	return false;
}

static bool mac_reserved(const struct network_facts *facts, const char *mac)
{
	for (size_t i = 0; i < facts->host_count; i++) {
		if (!strcasecmp(facts->hosts[i].mac, mac))
			return true;
	}
	return false;
}

bool address_choose(const struct network_facts *facts, const struct lease *leases,
	size_t lease_count, const char *token, unsigned nic, unsigned attempt,
	char mac[MAC_TEXT_LEN + 1], uint32_t *ip)
{
	uint32_t size = facts->range_end - facts->range_start + 1;
	unsigned salt = 0;
	do
		mac_of_token(token, nic, salt, mac);
	while (mac_reserved(facts, mac) && ++salt < 64);

	/* Three bytes of the MAC are a hash of the token: callers begin at different places. */
	unsigned a, b, c;
	if (sscanf(mac + 9, "%2x:%2x:%2x", &a, &b, &c) != 3)
		return false;
	uint32_t first = ((a << 16 | b << 8 | c) + attempt) % size;
	for (uint32_t i = 0; i < size; i++) {
		uint32_t candidate = facts->range_start + (first + i) % size;
		if (!ip_taken(facts, leases, lease_count, candidate)) {
			*ip = candidate;
			return true;
		}
	}
	for (size_t i = 0; i < lease_count; i++) {
		const struct lease *lease = &leases[i];
		if (!lease->stale || mac_reserved(facts, lease->mac) ||
			ip_taken(facts, NULL, 0, lease->ip) || lease->ip < facts->range_start ||
			lease->ip > facts->range_end)
			continue;
		memcpy(mac, lease->mac, MAC_TEXT_LEN + 1);
		*ip = lease->ip;
		return true;
	}
	return false;
}

/* ---- reserving -------------------------------------------------------------------------------------------- */

static bool domain_exists(struct call *call, const char *uuid)
{
	cleanup_domain domain = virDomainLookupByUUIDString(call->conn, uuid);
	return domain || failure_code() != VIR_ERR_NO_DOMAIN;
}

/* The network's leases; a driver without them has none. */
static struct lease *leases_read(struct call *call, virNetworkPtr network, size_t *count)
{
	virNetworkDHCPLeasePtr *all = NULL;
	int total = virNetworkGetDHCPLeases(network, NULL, &all, 0);
	*count = 0;
	struct lease *leases = calloc(total > 0 ? (size_t)total : 1, sizeof(*leases));
	for (int i = 0; i < total; i++) {
		uint32_t ip =
			all[i]->type == VIR_IP_ADDR_TYPE_IPV4 ? ipv4_parse(all[i]->ipaddr) : 0;
		char uuid[UUID_TEXT_LEN + 1];
		unsigned nic;
		int64_t created;
		if (leases && ip && all[i]->mac && strlen(all[i]->mac) == MAC_TEXT_LEN) {
			struct lease *lease = &leases[(*count)++];
			lease->ip = ip;
			memcpy(lease->mac, all[i]->mac, MAC_TEXT_LEN + 1);
			lease->stale =
				all[i]->hostname &&
				reservation_name_parse(all[i]->hostname, uuid, &nic, &created) &&
				!domain_exists(call, uuid);
		}
		virNetworkDHCPLeaseFree(all[i]);
	}
	free(all);
	return leases;
}

static int host_entry_update(virNetworkPtr network, unsigned command, const struct dhcp_host *host)
{
	char ip[IPV4_TEXT_MAX + 1], name[RESERVATION_NAME_MAX + 1];
	ipv4_text(host->ip, ip);
	reservation_name_make(host->uuid, host->nic, host->created, name);
	cleanup_xml *doc = xmlNewDoc((const xmlChar *)"1.0");
	xmlNode *node = doc ? xmlNewNode(NULL, (const xmlChar *)"host") : NULL;
	if (!node)
		abort();
	xmlDocSetRootElement(doc, node);
	xml_attribute(node, "mac", host->mac);
	xml_attribute(node, "name", name);
	xml_attribute(node, "ip", ip);
	cleanup(free_ptr) char *text = xml_write(doc);
	if (!text)
		abort();
	return virNetworkUpdate(network, command, VIR_NETWORK_SECTION_IP_DHCP_HOST, -1, text,
		VIR_NETWORK_UPDATE_AFFECT_LIVE);
}

/* Adopts the entry that an earlier try made for this NIC. */
static bool reserved_before(const struct network_facts *facts, const char *uuid, unsigned nic,
	char mac[MAC_TEXT_LEN + 1], char ip[IPV4_TEXT_MAX + 1])
{
	for (size_t i = 0; i < facts->host_count; i++) {
		const struct dhcp_host *host = &facts->hosts[i];
		if (strcasecmp(host->uuid, uuid) != 0 || host->nic != nic || !host->ip ||
			!*host->mac)
			continue;
		memcpy(mac, host->mac, MAC_TEXT_LEN + 1);
		ipv4_text(host->ip, ip);
		return true;
	}
	return false;
}

/* Others reserve at the same time: each refusal is a reason to look again, not to give up. */
#define RESERVE_ATTEMPTS 32

int address_reserve(struct call *call, const char *network_name, const char *uuid,
	const char *token, unsigned nic, char mac[MAC_TEXT_LEN + 1], char ip[IPV4_TEXT_MAX + 1],
	struct error *err)
{
	for (unsigned attempt = 0; attempt < RESERVE_ATTEMPTS; attempt++) {
		cleanup(network_facts_free) struct network_facts facts = {0};
		cleanup_network network = network_open(call, network_name, &facts, err);
		if (!network)
			return -1;
		if (!facts.managed || !facts.range_start)
			return error_set(err, ERROR_UNSUPPORTED,
				"network %s has no DHCP range of its own: no address can be reserved in it",
				network_name);
		if (reserved_before(&facts, uuid, nic, mac, ip))
			return 0;
		size_t lease_count;
		cleanup(free_ptr) struct lease *leases = leases_read(call, network, &lease_count);
		struct dhcp_host host = {.nic = nic, .created = time(NULL)};
		if (!leases)
			return error_set(err, ERROR_CAPACITY, "out of memory");
		if (!address_choose(&facts, leases, lease_count, token, nic, attempt, mac,
			    &host.ip))
			return error_set(err, ERROR_CAPACITY,
				"network %s: all %u addresses of its DHCP range are taken",
				network_name, facts.range_end - facts.range_start + 1);
		memcpy(host.mac, mac, sizeof(host.mac));
		snprintf(host.uuid, sizeof(host.uuid), "%s", uuid);
		if (host_entry_update(network, VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, &host) == 0) {
			ipv4_text(host.ip, ip);
			return 0;
		}
		if (failure_code() != VIR_ERR_OPERATION_INVALID)
			return call_failed(call, err, "reserve an address in network %s",
				network_name);
	}
	return error_set(err, ERROR_RETRY, "network %s: no address could be reserved in %d tries",
		network_name, RESERVE_ATTEMPTS);
}

int address_release(struct call *call, const char *network_name, const char *uuid,
	struct error *err)
{
	cleanup_network network = virNetworkLookupByName(call->conn, network_name);
	if (!network)
		return failure_code() == VIR_ERR_NO_NETWORK
			       ? 0
			       : call_failed(call, err, "network %s", network_name);
	if (virNetworkIsActive(network) == 0)
		return 0; /* reservations are live only: they are gone with it */
	cleanup(network_facts_free) struct network_facts facts = {0};
	if (facts_read(call, network, &facts, err) < 0)
		return -1;
	for (size_t i = 0; i < facts.host_count; i++) {
		if (strcasecmp(facts.hosts[i].uuid, uuid) != 0)
			continue;
		if (host_entry_update(network, VIR_NETWORK_UPDATE_COMMAND_DELETE, &facts.hosts[i]) <
				0 &&
			failure_code() != VIR_ERR_OPERATION_INVALID &&
			failure_code() != VIR_ERR_NO_NETWORK)
			return call_failed(call, err, "remove the address reserved in network %s",
				network_name);
		fault_point("libvirt-released");
	}
	return 0;
}
