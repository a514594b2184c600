/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create.c - makes a pod VM, or finds the one of this token
 *
 * One attempt goes through the steps of driver.h. A passing fault (a lost connection) repeats the whole attempt, which
 * finds what the earlier one made; any other failure, and the caller's giving up, undoes everything with a time of
 * its own.
 */
#include <libvirt/virterror.h>
#include <string.h>
#include <time.h>

#include "base/fault.h"
#include "base/log.h"
#include "providers/libvirt/console.h"
#include "providers/libvirt/driver.h"
#include "providers/libvirt/failure.h"
#include "providers/libvirt/iso9660.h"
#include "providers/libvirt/launch.h"
#include "providers/libvirt/network.h"
#include "providers/libvirt/volume.h"

#define ATTEMPTS 3
#define ATTEMPT_PAUSE_NS (200 * NS_PER_MS)
#define UNDO_TIME_NS (45 * NS_PER_S) /* a reconnection, and ending a VM under emulation */
#define USER_DATA_MAX ((size_t)16 << 20)

/* What an attempt works with; strings that the plan borrows are owned here. */
struct making {
	struct provider *provider;
	const struct instance_request *request;
	struct host host;
	struct domain_plan plan;
	struct pool_facts pool;
	struct base_image base;
	uint64_t root_bytes;
	char *root_name, *cidata_name, *root_path, *cidata_path, *console_log;
	char *data_paths[DATA_DISKS_MAX], *data_formats[DATA_DISKS_MAX];
};

static void making_free(struct making *m)
{
	host_free(&m->host);
	pool_facts_free(&m->pool);
	base_image_free(&m->base);
	free(m->root_name);
	free(m->cidata_name);
	free(m->root_path);
	free(m->cidata_path);
	free(m->console_log);
	for (size_t i = 0; i < DATA_DISKS_MAX; i++) {
		free(m->data_paths[i]);
		free(m->data_formats[i]);
	}
}

/* ---- the plan ------------------------------------------------------------------------------------------- */

static int plan_size(struct making *m, struct error *err)
{
	const struct libvirt_options *o = m->provider->options;
	const struct instance_request *r = m->request;
	struct domain_plan *plan = &m->plan;
	plan->vcpus = o->vcpus;
	plan->memory_mib = o->memory_mib;
	if (r->instance_type && *r->instance_type &&
		instance_type_size(o->instance_types, r->instance_type, &plan->vcpus,
			&plan->memory_mib, err) < 0)
		return -1;
	if (r->vcpus > 0)
		plan->vcpus = r->vcpus;
	if (r->memory_mib > 0)
		plan->memory_mib = r->memory_mib;
	if (r->market == MARKET_SPOT)
		return error_set(err, ERROR_INVALID,
			"a spot instance is asked for (market=spot); libvirt has none");
	if (r->gpus > 0)
		return error_set(err, ERROR_INVALID,
			"%lld GPUs are asked for; the libvirt driver passes none through",
			(long long)r->gpus);
	if (m->host.max_vcpus && plan->vcpus > m->host.max_vcpus)
		return error_set(err, ERROR_INVALID,
			"%lld vCPUs are asked for; machine %s has at most %u",
			(long long)plan->vcpus, m->host.machine, m->host.max_vcpus);
	return *o->cpuset ? cpuset_check(o->cpuset, m->host.cpus, err) : 0;
}

static void plan_record(struct making *m)
{
	const struct instance_owner *owner = &m->request->owner;
	struct record *record = &m->plan.record;
	*record = (struct record){
		.cluster = (char *)(owner->cluster ? owner->cluster : ""),
		.node = (char *)(owner->node ? owner->node : ""),
		.pod_namespace = (char *)(owner->pod_namespace ? owner->pod_namespace : ""),
		.pod = (char *)(owner->pod ? owner->pod : ""),
		.sandbox = (char *)(owner->sandbox ? owner->sandbox : ""),
		.token = (char *)m->request->token,
		.pool = m->provider->options->pool,
		.created = time(NULL),
		.volumes = {m->root_name, m->cidata_name},
		.volume_count = 2,
	};
}

/* Names of everything that carries the domain's name. */
static int plan_names(struct making *m, unsigned attempt, struct error *err)
{
	struct domain_plan *plan = &m->plan;
	const char *pool = m->provider->options->pool;
	domain_name_make(m->request->name, m->request->token, attempt, plan->identity.name);
	free(m->root_name);
	free(m->cidata_name);
	free(m->root_path);
	free(m->cidata_path);
	free(m->console_log);
	m->root_path = m->cidata_path = NULL;
	m->root_name = volume_name_make(&plan->identity, VOLUME_ROOT);
	m->cidata_name = volume_name_make(&plan->identity,
		plan->cidata_bus == CIDATA_FWCFG ? VOLUME_USERDATA : VOLUME_CIDATA);
	m->console_log = console_log_path(m->provider, plan->identity.name);
	if (!m->root_name || !m->cidata_name)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	plan->console_log = m->console_log;
	plan_record(m);
	if (volume_disk(&m->pool, pool, m->root_name, m->pool.files ? "qcow2" : "raw", &plan->root,
		    &m->root_path, err) < 0)
		return -1;
	return volume_disk(&m->pool, pool, m->cidata_name, "raw", &plan->cidata, &m->cidata_path,
		err);
}

static int plan_data_disks(struct making *m, struct call *call, virStoragePoolPtr pool,
	struct error *err)
{
	const struct instance_request *r = m->request;
	if (r->volume_count > DATA_DISKS_MAX)
		return error_set(err, ERROR_INVALID,
			"%zu data disks are asked for; at most %d are attached", r->volume_count,
			DATA_DISKS_MAX);
	for (size_t i = 0; i < r->volume_count; i++) {
		bool block;
		if (data_disk_find(call, pool, r->volumes[i].id, &m->data_paths[i],
			    &m->data_formats[i], &block, err) < 0)
			return -1;
		m->plan.data[m->plan.data_count++] = (struct disk){
			.kind = block ? DISK_BLOCK : DISK_FILE,
			.source = m->data_paths[i],
			.format = m->data_formats[i],
			.serial = r->volumes[i].serial,
		};
	}
	return 0;
}

static int plan_nic(struct making *m, struct call *call, enum net_mode mode, const char *source,
	struct error *err)
{
	const struct libvirt_options *o = m->provider->options;
	unsigned index = (unsigned)m->plan.nic_count;
	struct nic *nic = &m->plan.nics[m->plan.nic_count++];
	nic->mode = mode;
	nic->source = source;
	mac_of_token(m->request->token, index, 0, nic->mac);
	if (mode != NET_NETWORK || m->host.type == DOMAIN_TEST)
		return 0;
	{
		cleanup(network_facts_free) struct network_facts facts = {0};
		cleanup_network network = network_open(call, source, &facts, err);
		if (!network)
			return -1;
		nic->isolated = facts.managed && facts.bridge;
	}
	if (strcmp(o->ip_source, "auto") != 0 && strcmp(o->ip_source, "reserve") != 0)
		return 0;
	char ip[IPV4_TEXT_MAX + 1];
	struct error refused = ERROR_INIT;
	if (address_reserve(call, source, m->plan.identity.uuid, m->request->token, index, nic->mac,
		    ip, &refused) == 0) {
		fault_point("libvirt-reserved");
		log_debug("address %s in network %s is reserved for %s", ip, source, nic->mac);
		return 0;
	}
	if (refused.kind == ERROR_UNSUPPORTED && !strcmp(o->ip_source, "auto")) {
		error_clear(&refused);
		return 0;
	}
	return error_move(err, &refused);
}

static int plan_nics(struct making *m, struct call *call, struct error *err)
{
	static const struct {
		const char *name;
		enum net_mode mode;
	} modes[] = {
		{"network", NET_NETWORK},
		{"bridge", NET_BRIDGE},
		{"direct", NET_DIRECT},
		{"user", NET_USER},
	};
	const struct libvirt_options *o = m->provider->options;
	enum net_mode mode = NET_NETWORK;
	for (size_t i = 0; i < array_size(modes); i++) {
		if (!strcmp(o->net_mode, modes[i].name))
			mode = modes[i].mode;
	}
	if (plan_nic(m, call, mode, o->network, err) < 0)
		return -1;
	if (!m->request->second_nic)
		return 0;
	if (!*o->network_ext)
		return error_set(err, ERROR_INVALID,
			"the pod asks for a second NIC, but no network is set for it: LIBVIRT_NET_EXT");
	return plan_nic(m, call, mode, o->network_ext, err);
}

static int plan_make(struct making *m, struct call *call, virStoragePoolPtr pool, struct error *err)
{
	const struct libvirt_options *o = m->provider->options;
	const struct instance_request *r = m->request;
	struct domain_plan *plan = &m->plan;
	plan->options = o;
	plan->host = &m->host;
	plan->type = m->host.type;
	if (plan->type == DOMAIN_KVM && !m->host.type_chosen &&
		atomic_load(&m->provider->kvm_broken))
		plan->type = DOMAIN_QEMU;
	plan->cidata_bus = cidata_bus_choose(o, &m->host);
	if (plan_size(m, err) < 0 ||
		launch_choose(plan, r->tee, r->initdata_digest, r->initdata_digest_len, err) < 0 ||
		firmware_choose(plan, err) < 0)
		return -1;
	const char *image = r->image && *r->image ? r->image : o->base_volume;
	if (base_image_find(call, pool, image, &m->base, NULL, err) < 0 ||
		capacity_bytes(o->root_disk_gib ? o->root_disk_gib : 10, &m->root_bytes, err) < 0)
		return -1;
	if (m->root_bytes < m->base.capacity)
		m->root_bytes = m->base.capacity;
	if (plan_names(m, 0, err) < 0 || plan_data_disks(m, call, pool, err) < 0)
		return -1;
	return plan_nics(m, call, err);
}

/* ---- the steps -------------------------------------------------------------------------------------------- */

static int user_data_make(struct making *m, struct call *call, virStoragePoolPtr pool,
	const struct bound *bound, struct error *err)
{
	const struct instance_request *r = m->request;
	if (m->plan.cidata_bus == CIDATA_FWCFG)
		return data_volume_make(call, pool, m->cidata_name, r->user_data, r->user_data_len,
			&m->host, bound, err);
	cleanup(buf_free) struct buf meta = BUF_INIT;
	buf_printf(&meta, "instance-id: %s\nlocal-hostname: %s\n", m->plan.identity.uuid,
		m->plan.identity.name);
	const struct iso9660_file files[] = {
		{"meta-data", buf_text(&meta), meta.len},
		{"user-data", r->user_data, r->user_data_len},
		{"vendor-data", "", 0},
	};
	cleanup(buf_wipe) struct buf iso = BUF_INIT; /* it holds the tunnel's private key */
	if (iso9660_write("cidata", files, array_size(files), &iso, err) < 0)
		return -1;
	return data_volume_make(call, pool, m->cidata_name, iso.data, iso.len, &m->host, bound,
		err);
}

/* Defines the domain; another name when a foreign domain has it. */
static int define(struct making *m, struct call *call, virDomainPtr *domain, struct error *err)
{
	for (unsigned attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
		if (attempt && plan_names(m, attempt, err) < 0)
			return -1;
		cleanup(free_ptr) char *xml = domain_xml(&m->plan, err);
		if (!xml)
			return -1;
		*domain = virDomainDefineXML(call->conn, xml);
		if (*domain)
			return 0;
		call_failed(call, err, "define domain %s", m->plan.identity.name);
		if (failure_kind(call->code, call->domain, call->text) != ERROR_EXISTS ||
			attempt + 1 == NAME_ATTEMPTS)
			return -1;
		error_clear(err);
		log_debug("domain name %s is taken", m->plan.identity.name);
	}
	return -1;
}

static int start(struct making *m, struct call *call, virDomainPtr *domain, struct error *err)
{
	if (virDomainCreate(*domain) == 0)
		return 0;
	call_failed(call, err, "start domain %s", m->plan.identity.name);
	bool kvm = failure_is_kvm(call->code, call->domain, call->text), active = false;
	if (call->code == VIR_ERR_OPERATION_INVALID &&
		domain_active(call, *domain, &active, NULL) == 0 && active) {
		error_clear(err);
		return 0; /* it runs already */
	}
	if (!kvm || m->plan.type != DOMAIN_KVM || m->host.type_chosen ||
		m->plan.launch != LAUNCH_NONE)
		return -1;
	log_warn("KVM does not work on the libvirt host (%s): running the VM emulated",
		error_message(err));
	error_clear(err);
	atomic_store(&m->provider->kvm_broken, true);
	m->plan.type = DOMAIN_QEMU;
	cleanup(free_ptr) char *xml = domain_xml(&m->plan, err);
	if (!xml)
		return -1;
	virDomainPtr emulated = virDomainDefineXML(call->conn, xml);
	if (!emulated)
		return call_failed(call, err, "define domain %s without KVM",
			m->plan.identity.name);
	virDomainFree(*domain);
	*domain = emulated;
	return virDomainCreate(emulated) == 0
		       ? 0
		       : call_failed(call, err, "start domain %s without KVM",
				 m->plan.identity.name);
}

/* 1: it runs already; 0: nothing is there (any more). */
static int look(struct provider *p, const char *uuid, struct instance *instance,
	const struct bound *bound, struct error *err)
{
	bool active = false;
	{
		cleanup_call call = CALL_INIT;
		cleanup_domain domain = NULL;
		if (call_begin(p->calls, &call, bound, err) < 0)
			return -1;
		int found = domain_find(&call, uuid, &domain, err);
		fault_point("libvirt-looked");
		if (found <= 0)
			return found;
		cleanup(record_free) struct record record = {0};
		if (domain_record(&call, domain, &record, err) < 0 ||
			domain_active(&call, domain, &active, err) < 0)
			return -1;
		if (active) {
			instance->id = strdup(uuid);
			instance->name = strdup(virDomainGetName(domain));
			if (!instance->id || !instance->name)
				return error_set(err, ERROR_CAPACITY, "out of memory");
			return 1;
		}
	}
	log_info("an earlier try left VM %s half made: removing it", uuid);
	return vm_remove(p, uuid, false, bound, err);
}

static int attempt_define(struct making *m, const struct bound *bound, struct error *err)
{
	struct provider *p = m->provider;
	cleanup_call call = CALL_INIT;
	cleanup_domain domain = NULL;
	cleanup_pool pool = NULL;
	if (call_begin(p->calls, &call, bound, err) < 0 ||
		host_read(&call, p->options, &p->uri, &m->host, err) < 0)
		return -1;
	pool = pool_open(&call, p->options->pool, &m->pool, err);
	if (!pool || plan_make(m, &call, pool, err) < 0)
		return -1;
	if (bound_check(bound, "the VM to be defined", err) < 0 ||
		define(m, &call, &domain, err) < 0)
		return -1;
	fault_point("libvirt-defined");
	if (root_volume_make(&call, pool, &m->pool, &m->base, m->root_name, m->root_bytes, err) < 0)
		return -1;
	fault_point("libvirt-root-volume");
	return 0;
}

static int attempt_upload(struct making *m, const struct bound *bound, struct error *err)
{
	cleanup_call call = CALL_INIT;
	if (call_begin(m->provider->uploads, &call, bound, err) < 0)
		return -1;
	cleanup_pool pool = virStoragePoolLookupByName(call.conn, m->provider->options->pool);
	if (!pool)
		return call_failed(&call, err, "storage pool %s", m->provider->options->pool);
	if (user_data_make(m, &call, pool, bound, err) < 0)
		return error_prefix(err, "user data");
	fault_point("libvirt-uploaded");
	return 0;
}

static int attempt_start(struct making *m, const struct bound *bound, struct error *err)
{
	cleanup_call call = CALL_INIT;
	cleanup_domain domain = NULL;
	if (call_begin(m->provider->calls, &call, bound, err) < 0)
		return -1;
	int found = domain_find(&call, m->plan.identity.uuid, &domain, err);
	if (found <= 0)
		return found < 0 ? -1
				 : error_set(err, ERROR_RETRY,
					   "domain %s vanished before it was started",
					   m->plan.identity.name);
	if (start(m, &call, &domain, err) < 0)
		return -1;
	fault_point("libvirt-started");
	return 0;
}

static int attempt(struct provider *p, const struct instance_request *request, const char *uuid,
	struct instance *instance, const struct bound *bound, struct error *err)
{
	int found = look(p, uuid, instance, bound, err);
	if (found)
		return found < 0 ? -1 : 0;
	cleanup(making_free) struct making m = {.provider = p, .request = request};
	memcpy(m.plan.identity.uuid, uuid, UUID_TEXT_LEN + 1);
	if (attempt_define(&m, bound, err) < 0 || attempt_upload(&m, bound, err) < 0 ||
		bound_check(bound, "the VM to be started", err) < 0 ||
		attempt_start(&m, bound, err) < 0)
		return -1;
	instance->id = strdup(uuid);
	instance->name = strdup(m.plan.identity.name);
	if (!instance->id || !instance->name)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	log_info("VM %s (%s, %s) was started with %lld vCPUs and %lld MiB", m.plan.identity.name,
		uuid, m.plan.type == DOMAIN_QEMU ? "emulated" : domain_type_name(m.plan.type),
		(long long)m.plan.vcpus, (long long)m.plan.memory_mib);
	return 0;
}

static void undo(struct provider *p, const char *uuid, struct error *err)
{
	struct bound bound = {.deadline_ns = deadline_in(UNDO_TIME_NS)};
	cleanup_error failure = ERROR_INIT;
	if (vm_remove(p, uuid, true, &bound, &failure) < 0)
		error_append(err,
			"; and removing what was made failed too, VM %s is still listed: %s", uuid,
			error_message(&failure));
}

static int request_check(const struct instance_request *r, struct error *err)
{
	if (!r->token || !*r->token || strlen(r->token) > 128)
		return error_set(err, ERROR_INVALID,
			"the creation token is missing or longer than 128 characters");
	if (!r->name || !*r->name)
		return error_set(err, ERROR_INVALID, "the instance's name is missing");
	if (r->user_data_len > USER_DATA_MAX)
		return error_set(err, ERROR_INVALID, "user data of %zu bytes is more than %zu",
			r->user_data_len, USER_DATA_MAX);
	return 0;
}

int driver_create(struct provider *p, const struct instance_request *request,
	struct instance *instance, const struct bound *bound, struct error *err)
{
	char uuid[UUID_TEXT_LEN + 1];
	*instance = (struct instance){0};
	if (request_check(request, err) < 0)
		return -1;
	uuid_of_token(request->token, uuid);
	cleanup(close_fd) int lock = vm_lock(uuid, bound, err);
	if (lock < 0)
		return -1;
	struct error failure = ERROR_INIT;
	for (unsigned tries = 1;; tries++) {
		if (attempt(p, request, uuid, instance, bound, &failure) == 0)
			return 0;
		if (failure.kind != ERROR_RETRY || tries == ATTEMPTS ||
			bound_sleep(bound, ATTEMPT_PAUSE_NS, "another try", NULL) < 0)
			break;
		log_warn("creating VM %s failed, trying again: %s", uuid, error_message(&failure));
		error_clear(&failure);
	}
	instance_free(instance);
	undo(p, uuid, &failure);
	return error_move(err, &failure);
}
