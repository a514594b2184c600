/* SPDX-License-Identifier: Apache-2.0 */
/*
 * find.c - finds, lists and waits for VMs
 *
 * A VM of ours is a domain with our metadata. Leftovers are what carries a UUID of ours in its name (volumes, DHCP host
 * entries) while no domain of that UUID exists; they are listed as instances of that UUID without owner, and deleting
 * the UUID removes them. They are read before the domains, so that a VM in the making, whose domain comes first, is
 * never taken for one. To the question for a token its leftovers are the answer too.
 */
#include <libvirt/virterror.h>
#include <string.h>

#include "base/log.h"
#include "providers/libvirt/address.h"
#include "providers/libvirt/driver.h"
#include "providers/libvirt/failure.h"
#include "providers/libvirt/network.h"
#include "providers/libvirt/volume.h"

static int instance_fill(struct instance *instance, virDomainPtr domain, struct record *record,
	struct error *err)
{
	char uuid[VIR_UUID_STRING_BUFLEN];
	*instance = (struct instance){0};
	if (virDomainGetUUIDString(domain, uuid) < 0)
		return error_set(err, ERROR_INTERNAL, "a domain without UUID");
	instance->id = strdup(uuid);
	instance->name = strdup(virDomainGetName(domain));
	instance->sandbox = take_ptr(record->sandbox);
	instance->node = take_ptr(record->node);
	instance->cluster = take_ptr(record->cluster);
	instance->pod = take_ptr(record->pod);
	instance->pod_namespace = take_ptr(record->pod_namespace);
	instance->token = take_ptr(record->token);
	instance->created = record->created;
	if (instance->id && instance->name)
		return 0;
	instance_free(instance);
	return error_set(err, ERROR_CAPACITY, "out of memory");
}

/* ---- listing ---------------------------------------------------------------------------------------------- */

struct listing {
	struct instance *instances;
	size_t count;
};

static struct instance *listing_add(struct listing *list, struct error *err)
{
	struct instance *larger = reallocarray(list->instances, list->count + 1, sizeof(*larger));
	if (!larger) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	list->instances = larger;
	larger[list->count] = (struct instance){0};
	return &larger[list->count++];
}

static int leftover_add(struct listing *list, const char *uuid, const char *name, int64_t created,
	struct error *err)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcasecmp(list->instances[i].id, uuid) != 0)
			continue;
		if (created > list->instances[i].created)
			list->instances[i].created = created; /* the youngest part tells the age */
		return 0;
	}
	char *id = strdup(uuid), *copy = strdup(name);
	struct instance *instance = id && copy ? listing_add(list, err) : NULL;
	if (!instance) {
		free(id);
		free(copy);
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	instance->id = id;
	instance->name = copy;
	instance->created = created;
	return 0;
}

static int leftover_volumes(struct call *call, const char *pool_name, struct listing *list,
	struct error *err)
{
	cleanup_pool pool = virStoragePoolLookupByName(call->conn, pool_name);
	if (!pool)
		return failure_code() == VIR_ERR_NO_STORAGE_POOL
			       ? 0
			       : call_failed(call, err, "storage pool %s", pool_name);
	if (virStoragePoolIsActive(pool) != 1)
		return 0;
	struct leftover_volume *volumes;
	size_t count;
	int result = volumes_list(call, pool, &volumes, &count, err);
	for (size_t i = 0; result == 0 && i < count; i++)
		result = leftover_add(list, volumes[i].identity.uuid, volumes[i].identity.name,
			volumes[i].changed, err);
	volumes_free(volumes, count);
	return result;
}

static int leftover_addresses(struct call *call, const char *name, struct listing *list,
	struct error *err)
{
	cleanup_network network = virNetworkLookupByName(call->conn, name);
	if (!network)
		return failure_code() == VIR_ERR_NO_NETWORK
			       ? 0
			       : call_failed(call, err, "network %s", name);
	cleanup(free_ptr) char *text = virNetworkGetXMLDesc(network, 0);
	cleanup(network_facts_free) struct network_facts facts = {0};
	if (!text)
		return call_failed(call, err, "read the XML of network %s", name);
	if (network_xml_read(name, text, &facts, err) < 0)
		return -1;
	for (size_t i = 0; i < facts.host_count; i++) {
		if (*facts.hosts[i].uuid && leftover_add(list, facts.hosts[i].uuid, "podvm",
						    facts.hosts[i].created, err) < 0)
			return -1;
	}
	return 0;
}

static int leftovers_list(struct call *call, const struct libvirt_options *o, struct listing *list,
	struct error *err)
{
	if (leftover_volumes(call, o->pool, list, err) < 0)
		return -1;
	if (strcmp(o->net_mode, "network") != 0)
		return 0;
	if (leftover_addresses(call, o->network, list, err) < 0)
		return -1;
	return *o->network_ext ? leftover_addresses(call, o->network_ext, list, err) : 0;
}

/* Moves the leftovers whose domain does not exist to the list. */
static int leftovers_keep(struct call *call, struct listing *leftovers, struct listing *list,
	struct error *err)
{
	for (size_t i = 0; i < leftovers->count; i++) {
		cleanup_domain domain = NULL;
		int found = domain_find(call, leftovers->instances[i].id, &domain, err);
		if (found < 0)
			return -1;
		if (found)
			continue;
		struct instance *instance = listing_add(list, err);
		if (!instance)
			return -1;
		*instance = leftovers->instances[i];
		leftovers->instances[i] = (struct instance){0};
	}
	return 0;
}

static bool wanted(const struct record *record, const char *cluster, const char *node)
{
	return (!cluster || !*cluster || !strcmp(record->cluster, cluster)) &&
	       (!node || !*node || !strcmp(record->node, node));
}

static int domain_add(struct call *call, virDomainPtr domain, const char *cluster, const char *node,
	struct listing *list, struct error *err)
{
	cleanup(record_free) struct record record = {0};
	cleanup_error refused = ERROR_INIT;
	if (domain_record(call, domain, &record, &refused) < 0) {
		if (refused.kind == ERROR_RETRY)
			return error_move(err, &refused);
		if (refused.kind != ERROR_DENIED && refused.kind != ERROR_GONE)
			log_warn("%s", error_message(&refused));
		return 0; /* not ours, or gone meanwhile */
	}
	if (!wanted(&record, cluster, node))
		return 0;
	struct instance *instance = listing_add(list, err);
	if (!instance)
		return -1;
	if (instance_fill(instance, domain, &record, err) < 0) {
		list->count--;
		return -1;
	}
	return 0;
}

static int domains_list(struct call *call, const char *cluster, const char *node,
	struct listing *list, struct error *err)
{
	virDomainPtr *domains = NULL;
	int count = virConnectListAllDomains(call->conn, &domains, 0);
	if (count < 0)
		return call_failed(call, err, "list the domains");
	int result = 0;
	for (int i = 0; i < count; i++) {
		if (result == 0)
			result = domain_add(call, domains[i], cluster, node, list, err);
		virDomainFree(domains[i]);
	}
	free(domains);
	return result;
}

int driver_list(struct provider *p, const char *cluster, const char *node,
	struct instance **instances, size_t *count, const struct bound *bound, struct error *err)
{
	cleanup_call call = CALL_INIT;
	struct listing leftovers = {0}, list = {0};
	*instances = NULL;
	*count = 0;
	if (call_begin(p->status, &call, bound, err) < 0)
		return -1;
	int result = leftovers_list(&call, p->options, &leftovers, err);
	if (result == 0)
		result = domains_list(&call, cluster, node, &list, err);
	if (result == 0)
		result = leftovers_keep(&call, &leftovers, &list, err);
	instances_free(leftovers.instances, leftovers.count);
	if (result < 0) {
		instances_free(list.instances, list.count);
		return -1;
	}
	*instances = list.instances;
	*count = list.count;
	return 0;
}

/* ---- finding ---------------------------------------------------------------------------------------------- */

/* What a killed creation left without a domain is of this token too: who asks wants to delete it. */
static int leftover_find(struct call *call, const struct libvirt_options *o, const char *uuid,
	const char *token, struct instance *instance, struct error *err)
{
	struct listing leftovers = {0};
	int result = leftovers_list(call, o, &leftovers, err);
	bool found = false;
	for (size_t i = 0; result == 0 && !found && i < leftovers.count; i++) {
		found = !strcasecmp(leftovers.instances[i].id, uuid);
		if (!found)
			continue;
		*instance = leftovers.instances[i];
		leftovers.instances[i] = (struct instance){0};
	}
	instances_free(leftovers.instances, leftovers.count);
	if (result < 0)
		return -1;
	if (!found)
		return error_set(err, ERROR_GONE, "there is no VM %s", uuid);
	instance->token = strdup(token);
	if (instance->token)
		return 0;
	instance_free(instance);
	return error_set(err, ERROR_CAPACITY, "out of memory");
}

int driver_find(struct provider *p, const char *token, struct instance *instance,
	const struct bound *bound, struct error *err)
{
	char uuid[UUID_TEXT_LEN + 1];
	cleanup_call call = CALL_INIT;
	cleanup_domain domain = NULL;
	cleanup(record_free) struct record record = {0};
	*instance = (struct instance){0};
	uuid_of_token(token, uuid);
	if (call_begin(p->status, &call, bound, err) < 0)
		return -1;
	int found = domain_find(&call, uuid, &domain, err);
	if (found < 0)
		return -1;
	if (!found)
		return leftover_find(&call, p->options, uuid, token, instance, err);
	if (domain_record(&call, domain, &record, err) < 0)
		return -1;
	return instance_fill(instance, domain, &record, err);
}

/* ---- waiting for addresses --------------------------------------------------------------------------------- */

#define LOOK_NS (150 * NS_PER_MS)

/* 1: found all that were asked for; 0: not yet. */
static int addresses_once(struct provider *p, const char *id, size_t needed,
	struct instance *instance, struct domain_nics *nics, const struct bound *bound,
	struct error *err)
{
	cleanup_call call = CALL_INIT;
	cleanup_domain domain = NULL;
	cleanup(record_free) struct record record = {0};
	if (call_begin(p->status, &call, bound, err) < 0)
		return -1;
	int found = domain_find(&call, id, &domain, err);
	if (found < 0)
		return -1;
	if (!found)
		return error_set(err, ERROR_GONE, "VM %s does not exist (any more)", id);
	bool active;
	if (domain_active(&call, domain, &active, err) < 0)
		return -1;
	if (!active)
		return error_set(err, ERROR_INTERNAL,
			"VM %s stopped by itself before it had an address",
			virDomainGetName(domain));
	if (!nics->count) {
		cleanup(free_ptr) char *xml = virDomainGetXMLDesc(domain, 0);
		if (!xml)
			return call_failed(&call, err, "read the XML of VM %s", id);
		if (domain_nics_read(id, xml, nics, err) < 0)
			return -1;
		if (nics->user)
			return error_set(err, ERROR_UNSUPPORTED,
				"VM %s has user networking: nothing outside of it can reach it; use LIBVIRT_NET_MODE=network",
				id);
		if (nics->count < needed)
			return error_set(err, ERROR_INVALID,
				"VM %s has %zu NICs, %zu addresses are asked for", id, nics->count,
				needed);
		if (domain_record(&call, domain, &record, err) < 0 ||
			instance_fill(instance, domain, &record, err) < 0)
			return -1;
	}
	if (addresses_look(&call, domain, p->options, &p->uri, nics, err) < 0)
		return -1;
	for (size_t i = 0; i < needed; i++) {
		if (!*nics->nic[i].address)
			return 0;
	}
	return 1;
}

static int addresses_fill(struct instance *instance, const struct domain_nics *nics, size_t needed,
	struct error *err)
{
	instance->addresses = calloc(needed + 1, sizeof(char *));
	for (size_t i = 0; instance->addresses && i < needed; i++) {
		instance->addresses[i] = strdup(nics->nic[i].address);
		if (!instance->addresses[i])
			return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	return instance->addresses ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}

/* A wait that ran out because the network has no address left is no slow VM. */
static void explain_exhausted(struct provider *p, const struct domain_nics *nics, struct error *err)
{
	struct bound bound = {.deadline_ns = deadline_in(2 * NS_PER_S)};
	cleanup_call call = CALL_INIT;
	if (!err || call_begin(p->status, &call, &bound, NULL) < 0)
		return;
	for (size_t i = 0; i < nics->count; i++) {
		if (!nics->nic[i].network || *nics->nic[i].address)
			continue;
		cleanup(network_facts_free) struct network_facts facts = {0};
		cleanup_network network = network_open(&call, nics->nic[i].network, &facts, NULL);
		virNetworkDHCPLeasePtr *leases = NULL;
		int count = network && facts.range_start
				    ? virNetworkGetDHCPLeases(network, NULL, &leases, 0)
				    : 0;
		uint32_t size = facts.range_end - facts.range_start + 1;
		for (int k = 0; k < count; k++)
			virNetworkDHCPLeaseFree(leases[k]);
		free(leases);
		if (count > 0 && (uint32_t)count >= size) {
			err->kind = ERROR_CAPACITY;
			error_append(err,
				" (network %s: all %u addresses of its DHCP range are leased)",
				nics->nic[i].network, size);
		}
	}
}

int driver_wait_addresses(struct provider *p, const char *id, size_t needed,
	struct instance *instance, const struct bound *bound, struct error *err)
{
	cleanup(domain_nics_free) struct domain_nics nics = {0};
	cleanup_error failure = ERROR_INIT;
	*instance = (struct instance){0};
	if (!uuid_valid(id))
		return error_set(err, ERROR_INVALID,
			"\"%s\" is no instance id of the libvirt driver: a UUID", id);
	if (!needed || needed > NICS_MAX)
		needed = needed ? NICS_MAX : 1;
	for (;;) {
		error_clear(&failure);
		int found = addresses_once(p, id, needed, instance, &nics, bound, &failure);
		if (found == 1 && addresses_fill(instance, &nics, needed, &failure) == 0)
			return 0;
		/* A lost connection comes back: the wait goes on. */
		if (found != 0 && failure.kind != ERROR_RETRY)
			break;
		cleanup_error ended = ERROR_INIT;
		if (bound_sleep(bound, LOOK_NS, "an address of the VM", &ended) < 0) {
			if (failure.message)
				error_append(&ended, " (%s)", failure.message);
			error_move(&failure, &ended);
			break;
		}
	}
	if (failure.kind == ERROR_TIMEOUT)
		explain_exhausted(p, &nics, &failure);
	if (failure.kind == ERROR_TIMEOUT || failure.kind == ERROR_INTERNAL) {
		struct bound short_bound = {.deadline_ns = deadline_in(2 * NS_PER_S)};
		cleanup(free_ptr) char *tail = driver_console_tail(p, id, 1024, &short_bound);
		if (tail && *tail)
			error_append(&failure, "; its console said last:\n%s", tail);
	}
	instance_free(instance);
	return error_move(err, &failure);
}
