/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remove.c - takes away a VM and all that was made for it
 *
 * Every step takes "gone" for done. The domain's definition, which holds the record of the rest, goes last: a call that
 * ends half way is finished by the next one. Volumes are deleted only where their names carry this VM's UUID; data disks,
 * base images and what has no metadata of ours are never touched.
 */
#include <libvirt/virterror.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "providers/libvirt/address.h"
#include "providers/libvirt/console.h"
#include "providers/libvirt/driver.h"
#include "providers/libvirt/failure.h"
#include "providers/libvirt/network.h"
#include "providers/libvirt/volume.h"

int domain_find(struct call *call, const char *uuid, virDomainPtr *domain, struct error *err)
{
	*domain = virDomainLookupByUUIDString(call->conn, uuid);
	if (*domain)
		return 1;
	return failure_code() == VIR_ERR_NO_DOMAIN
		       ? 0
		       : call_failed(call, err, "look for domain %s", uuid);
}

int domain_record(struct call *call, virDomainPtr domain, struct record *record, struct error *err)
{
	const char *name = virDomainGetName(domain);
	*record = (struct record){0};
	cleanup(free_ptr) char *text =
		virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, RECORD_NAMESPACE, 0);
	if (text)
		return record_read(name, text, record, err);
	if (failure_code() == VIR_ERR_NO_DOMAIN_METADATA)
		return error_set(err, ERROR_DENIED,
			"domain %s carries no metadata of ours: it was not made by this driver and is left alone",
			name);
	return call_failed(call, err, "read the metadata of domain %s", name);
}

int domain_active(struct call *call, virDomainPtr domain, bool *active, struct error *err)
{
	int is = virDomainIsActive(domain);
	*active = is == 1;
	return is < 0 ? call_failed(call, err, "state of domain %s", virDomainGetName(domain)) : 0;
}

static int destroy(struct call *call, virDomainPtr domain, struct error *err)
{
	if (virDomainDestroyFlags(domain, 0) == 0)
		return 0;
	int code = failure_code();
	if (code == VIR_ERR_OPERATION_INVALID || code == VIR_ERR_NO_DOMAIN)
		return 0;
	return call_failed(call, err, "stop domain %s", virDomainGetName(domain));
}

static int undefine(struct call *call, virDomainPtr domain, struct error *err)
{
	/* Most wanted first; a libvirt or a driver that does not know a flag refuses the whole. */
	static const unsigned flags[] = {
		VIR_DOMAIN_UNDEFINE_NVRAM | VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
			VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
			VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_TPM,
		VIR_DOMAIN_UNDEFINE_NVRAM | VIR_DOMAIN_UNDEFINE_MANAGED_SAVE |
			VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA,
		VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA,
		0,
	};
	for (size_t i = 0; i < array_size(flags); i++) {
		if (virDomainUndefineFlags(domain, flags[i]) == 0)
			return 0;
		int code = failure_code();
		if (code == VIR_ERR_NO_DOMAIN)
			return 0;
		if (code != VIR_ERR_INVALID_ARG && code != VIR_ERR_NO_SUPPORT &&
			code != VIR_ERR_ARGUMENT_UNSUPPORTED &&
			code != VIR_ERR_OPERATION_UNSUPPORTED)
			break;
	}
	return call_failed(call, err, "undefine domain %s", virDomainGetName(domain));
}

/*
 * A pool that is not there (any more) holds nothing of ours; one that is only stopped does, and the definition that
 * names it would be gone before it runs again.
 */
static virStoragePoolPtr pool_if_there(struct call *call, const char *name, bool *failed,
	struct error *err)
{
	cleanup_pool pool = virStoragePoolLookupByName(call->conn, name);
	*failed = false;
	if (!pool && failure_code() == VIR_ERR_NO_STORAGE_POOL)
		return NULL;
	*failed = !pool || pool_start(call, pool, err) < 0;
	if (!pool)
		call_failed(call, err, "storage pool %s", name);
	return *failed ? NULL : take_ptr(pool);
}

static int volumes_remove(struct call *call, virStoragePoolPtr pool, const char *uuid,
	const struct record *record, struct error *err)
{
	if (record->token) {
		for (size_t i = 0; i < record->volume_count; i++) {
			struct identity identity;
			if (!volume_name_parse(record->volumes[i], &identity) ||
				strcasecmp(identity.uuid, uuid) != 0) {
				log_warn(
					"volume %s is named by VM %s, but is not of it: left alone",
					record->volumes[i], uuid);
				continue;
			}
			if (volume_delete(call, pool, record->volumes[i], err) < 0)
				return -1;
			fault_point("libvirt-volume-deleted");
		}
		return 0;
	}
	/* No definition: the names in the pool tell. */
	struct leftover_volume *volumes;
	size_t count;
	int result = volumes_list(call, pool, &volumes, &count, err);
	for (size_t i = 0; result == 0 && i < count; i++) {
		if (!strcasecmp(volumes[i].identity.uuid, uuid))
			result = volume_delete(call, pool, volumes[i].name, err);
	}
	volumes_free(volumes, count);
	return result;
}

/* The networks of the configuration, and those that the domain's XML names. */
static int addresses_remove(struct call *call, const struct libvirt_options *o, const char *uuid,
	const struct domain_nics *nics, struct error *err)
{
	const char *names[2 + NICS_MAX] = {NULL};
	size_t count = 0;
	if (!strcmp(o->net_mode, "network")) {
		names[count++] = o->network;
		if (*o->network_ext)
			names[count++] = o->network_ext;
	}
	for (size_t i = 0; i < nics->count; i++) {
		if (nics->nic[i].network)
			names[count++] = nics->nic[i].network;
	}
	for (size_t i = 0; i < count; i++) {
		bool seen = false;
		for (size_t k = 0; k < i; k++)
			seen |= !strcmp(names[k], names[i]);
		if (!seen && address_release(call, names[i], uuid, err) < 0)
			return -1;
	}
	return 0;
}

int vm_remove(struct provider *p, const char *uuid, bool keep_console, const struct bound *bound,
	struct error *err)
{
	cleanup_call call = CALL_INIT;
	cleanup_domain domain = NULL;
	cleanup(record_free) struct record record = {0};
	cleanup(domain_nics_free) struct domain_nics nics = {0};
	cleanup(free_ptr) char *console = NULL;

	if (call_begin(p->calls, &call, bound, err) < 0)
		return -1;
	int found = domain_find(&call, uuid, &domain, err);
	if (found < 0)
		return -1;
	if (found) {
		if (domain_record(&call, domain, &record, err) < 0)
			return -1;
		cleanup(free_ptr) char *xml = virDomainGetXMLDesc(domain, 0);
		if (xml) {
			domain_nics_read(uuid, xml, &nics, NULL);
			console = console_log_of(xml);
		}
		if (destroy(&call, domain, err) < 0)
			return -1;
		fault_point("libvirt-destroyed");
	}
	bool failed;
	/* The pool of the configuration may be another one meanwhile. */
	const char *name = record.pool && *record.pool ? record.pool : p->options->pool;
	cleanup_pool pool = pool_if_there(&call, name, &failed, err);
	if (failed || (pool && volumes_remove(&call, pool, uuid, &record, err) < 0))
		return -1;
	if (addresses_remove(&call, p->options, uuid, &nics, err) < 0)
		return -1;
	if (found && undefine(&call, domain, err) < 0)
		return -1;
	fault_point("libvirt-undefined");
	if (console && !keep_console)
		console_log_remove(p, console);
	return 0;
}

#define DELETE_ATTEMPTS 3
#define ATTEMPT_PAUSE_NS (200 * NS_PER_MS)

int driver_delete(struct provider *p, const char *id, const struct bound *bound, struct error *err)
{
	if (!uuid_valid(id))
		return error_set(err, ERROR_INVALID,
			"\"%s\" is no instance id of the libvirt driver: a UUID", id);
	cleanup(close_fd) int lock = vm_lock(id, bound, err);
	if (lock < 0)
		return -1;
	struct error failure = ERROR_INIT;
	for (unsigned tries = 1;; tries++) {
		if (vm_remove(p, id, false, bound, &failure) == 0)
			return 0;
		if (failure.kind != ERROR_RETRY || tries == DELETE_ATTEMPTS ||
			bound_sleep(bound, ATTEMPT_PAUSE_NS, "another try", NULL) < 0)
			break;
		log_warn("deleting VM %s failed, trying again: %s", id, error_message(&failure));
		error_clear(&failure);
	}
	error_prefix(&failure, "delete VM %s", id);
	return error_move(err, &failure);
}
