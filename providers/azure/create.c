/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create.c - a VM is made, or the one of this token found; see driver.h
 *
 * 1. Look at the VMs of the names that this request gives (name.h): after a crash there may be one with our token. One that
 *    failed, or is being deleted, goes first.
 * 2. Check volumes, rank what may be had where (providers/choice), and try one after the other while Azure says that it
 *    has no room there or the account no quota; what was refused is remembered, capacity for an hour.
 * 3. PUT with If-None-Match: somebody else's VM of that name is never touched, and a PUT whose answer was lost is found to
 *    have made ours.
 * 4. Wait until the NICs have addresses and the VM has a host (wait.c): only then is it certain that no other offering has
 *    to be tried.
 *
 * What fails after a VM was made, or may have been, deletes it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "http/attempt.h"
#include "providers/azure/driver.h"
#include "providers/azure/failure.h"
#include "providers/azure/launch.h"
#include "providers/azure/name.h"
#include "providers/azure/tags.h"
#include "providers/azure/vm.h"
#include "providers/choice/fallback.h"

#define UNDO_NS (30 * NS_PER_S)
/* Azure has no room for hours rather than minutes. */
#define CAPACITY_NS (UINT64_C(3600) * NS_PER_S)
#define PUTS_MAX \
	8 /* of one offering and subnet: names that are taken, VMs that go at that moment */

/* ---- one creation --------------------------------------------------------------------------------------------- */

struct making {
	struct provider *p;
	struct launch launch;
	struct instance *instance;
	char names[NAME_CANDIDATES][VM_NAME_SIZE];
	char disk_name[DISK_NAME_SIZE];
	unsigned candidate; /* whose name is used */
	char **subnets;
	char operation[ARM_URL_MAX];
	bool made; /* there is a VM of ours, or may be */
	bool subnets_are_full;
};

static void id_of(const struct making *m, unsigned candidate, struct arm_id *id)
{
	const struct azure_options *o = m->p->options;
	snprintf(id->subscription, ARM_PART_MAX, "%s", o->subscription);
	snprintf(id->group, ARM_PART_MAX, "%s", o->resource_group);
	snprintf(id->name, ARM_PART_MAX, "%s", m->names[candidate]);
}

static size_t nics_needed(const struct making *m)
{
	return m->launch.request->second_nic ? 2 : 1;
}

/* What a VM of one of our names is to this request. */
enum holder { HOLDER_NONE, HOLDER_OURS, HOLDER_FOREIGN };

/*
 * Looks at the VM of this name. Ours that failed or goes is waited away, and then there is none. *vm is set for
 * HOLDER_OURS.
 */
static int look_at_name(struct making *m, unsigned candidate, enum holder *holder, json_t **vm,
	const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	cleanup_json *found = NULL;
	struct arm_id id;
	id_of(m, candidate, &id);
	*holder = HOLDER_NONE;
	if (vm_get(m->p, &id, false, &found, bound, &why) < 0)
		return why.kind == ERROR_GONE ? 0 : error_move(err, &why);
	if (strcmp(tag_of(found, TAG_TOKEN), m->launch.request->token) != 0) {
		*holder = HOLDER_FOREIGN;
		return 0;
	}
	enum vm_state state = vm_state(found);
	if (state == VM_FAILED || state == VM_GOING) {
		log_info("azure: VM %s of an earlier try %s: it is deleted first", id.name,
			state == VM_FAILED ? "failed" : "is being deleted");
		return vm_remove(m->p, &id, bound, err);
	}
	*holder = HOLDER_OURS;
	*vm = take_ptr(found);
	return 0;
}

/* Best effort: the disk's name tells whose it is, too. */
static void tag_disk(struct making *m, const struct bound *bound)
{
	const struct azure_options *o = m->p->options;
	cleanup_error why = ERROR_INIT;
	cleanup_reply reply = {0};
	char path[640];
	cleanup_json *tags = tags_make(o, m->launch.request, m->names[m->candidate], &why);
	cleanup_json *body = json_pack("{s:O*}", "tags", tags);
	if (*o->os_disk_ephemeral || !*m->disk_name || !tags || !body)
		return;
	snprintf(path, sizeof(path),
		"/subscriptions/%s/resourceGroups/%s/providers/" KIND_DISK
		"/%s?api-version=" VERSION_DISK,
		o->subscription, o->resource_group, m->disk_name);
	const struct arm_request request = {"PATCH", ARM_WRITE, path, body, NULL, "tag the disk"};
	if (arm_call(m->p->arm, &request, &reply, bound, &why) < 0)
		log_debug("azure: %s", error_message(&why));
}

/* The VM is there or will be: its id and addresses. */
static int finish(struct making *m, const struct bound *bound, struct error *err)
{
	struct arm_id id;
	cleanup(free_ptr) char *text = vm_id_make(m->p->options, m->names[m->candidate]);
	cleanup(instance_free) struct instance instance = {0};
	id_of(m, m->candidate, &id);
	if (!text)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (vm_wait(m->p, &id, nics_needed(m), m->operation, &instance, bound, err) < 0)
		return -1;
	cleanup_json *tagged = json_pack("{s:o*}", "tags",
		tags_make(m->p->options, m->launch.request, id.name, err));
	if (!tagged || instance_give(text, id.name, tagged, m->instance, err) < 0)
		return -1;
	m->instance->created = 0;
	m->instance->addresses = take_ptr(instance.addresses);
	return 0;
}

/* Sends the PUT. 1: accepted, 0: a VM has that name, -1 failed. */
static int put(struct making *m, const struct bound *bound, struct error *err)
{
	const struct azure_options *o = m->p->options;
	const struct instance_owner *owner = &m->launch.request->owner;
	cleanup_reply reply = {0};
	cleanup_error why = ERROR_INIT;
	char path[640], what[VM_NAME_SIZE + 32];
	if (disk_name_make(m->names[m->candidate], owner->cluster, owner->node, m->disk_name, err) <
		0)
		return -1;
	m->launch.vm_name = m->names[m->candidate];
	m->launch.disk_name = m->disk_name;
	cleanup_json *body = launch_body(&m->launch, err);
	if (!body)
		return -1;
	snprintf(what, sizeof(what), "create VM %s", m->launch.vm_name);
	snprintf(path, sizeof(path),
		"/subscriptions/%s/resourceGroups/%s/providers/" KIND_VM
		"/%s?api-version=" VERSION_VM,
		o->subscription, o->resource_group, m->launch.vm_name);
	const struct arm_request request = {"PUT", ARM_CREATE, path, body, "If-None-Match: *",
		what};
	m->made = true;
	*m->operation = '\0';
	int result = arm_call(m->p->arm, &request, &reply, bound, &why);
	json_t *user_data = json_object_get(json_object_get(body, "properties"), "userData");
	explicit_bzero((char *)json_string_value(user_data), json_string_length(user_data));
	if (result == 0) {
		snprintf(m->operation, sizeof(m->operation), "%s",
			*reply.operation ? reply.operation : reply.location);
		log_info("azure: VM %s is being made (request %s)", m->launch.vm_name,
			reply.request_id);
		return 1;
	}
	if (why.kind == ERROR_EXISTS) {
		m->made = false;
		return 0;
	}
	/* A refusal has made nothing; what broke off, or ended as a fault, may have. */
	m->made = why.kind == ERROR_RETRY || why.kind == ERROR_TIMEOUT ||
		  why.kind == ERROR_CANCELED || why.kind == ERROR_THROTTLED;
	if (why.kind == ERROR_GONE) /* something that the body names, not the VM */
		why.kind = ERROR_INVALID;
	return error_move(err, &why);
}

/* In this subnet, under the first name that is free. */
static int make_in_subnet(struct making *m, const struct bound *bound, struct error *err)
{
	for (unsigned tries = 0; tries < PUTS_MAX; tries++) {
		enum holder holder;
		cleanup_json *vm = NULL;
		int result = put(m, bound, err);
		if (result)
			return result < 0 ? -1 : finish(m, bound, err);
		if (look_at_name(m, m->candidate, &holder, &vm, bound, err) < 0)
			return -1;
		if (holder == HOLDER_OURS) {
			m->made = true;
			return finish(m, bound, err);
		}
		if (holder == HOLDER_NONE)
			continue;
		if (m->candidate + 1 == NAME_CANDIDATES)
			break;
		log_info("azure: somebody else has a VM %s: another name is taken",
			m->names[m->candidate]);
		m->candidate++;
	}
	return error_set(err, ERROR_RETRY, "the names %s and %s are taken by other VMs",
		m->names[0], m->names[1]);
}

static int remove_made(struct making *m, const struct bound *bound, struct error *err)
{
	struct arm_id id;
	id_of(m, m->candidate, &id);
	if (vm_remove(m->p, &id, bound, err) < 0)
		return -1;
	m->made = false;
	return 0;
}

static bool is_subnet_full(const struct error *err)
{
	return failure_has_code(err, "SubnetIsFull") ||
	       failure_has_code(err, "InsufficientSubnetSize");
}

/* One offering, in one subnet after the other where they are full. What failed is gone when this returns. */
static int make_offering(void *with, const struct offering *offering, const struct bound *bound,
	struct error *err)
{
	struct making *m = with;
	m->launch.offering = offering;
	for (char **subnet = m->subnets; *subnet; subnet++) {
		cleanup_error why = ERROR_INIT, undo = ERROR_INIT;
		m->launch.subnet = *subnet;
		if (make_in_subnet(m, bound, &why) == 0)
			return 0;
		bool full = is_subnet_full(&why),
		     elsewhere = why.kind == ERROR_CAPACITY || why.kind == ERROR_QUOTA;
		/* Before another is tried, this one must be gone: it has the name. */
		if (elsewhere && m->made && remove_made(m, bound, &undo) < 0) {
			error_append(&why, " (VM %s is left behind: %s)", m->names[m->candidate],
				error_message(&undo));
			why.kind = undo.kind;
			return error_move(err, &why);
		}
		if (full && subnet[1]) {
			log_warn("azure: %s; the next subnet is tried", error_message(&why));
			continue;
		}
		m->subnets_are_full = full;
		if (why.kind == ERROR_CAPACITY && !full)
			choice_memory_refuse(m->p->refusals, offering, ERROR_CAPACITY, CAPACITY_NS);
		/* Another size would find the same subnets. */
		if (full)
			why.kind = ERROR_INTERNAL;
		return error_move(err, &why);
	}
	return error_set(err, ERROR_INVALID, "AZURE_SUBNET_ID names no subnet");
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

/* After a failure: what was made, or may have been, goes. Adds to the message what could not be reached. */
static void undo(struct making *m, struct error *err)
{
	struct bound bound = {.deadline_ns = deadline_in(UNDO_NS)};
	cleanup_error why = ERROR_INIT;
	if (m->made && remove_made(m, &bound, &why) < 0)
		error_append(err, " (VM %s is left behind or is still being deleted: %s)",
			m->names[m->candidate], error_message(&why));
}

static int make(struct making *m, const struct bound *bound, struct error *err)
{
	struct provider *p = m->p;
	cleanup(ranking_free) struct ranking ranking = {0};
	char zone[16];
	if (volumes_check(p, m->launch.request, zone, bound, err) < 0 ||
		ranking_make(p, m->launch.request, m->launch.tees, zone, &ranking, bound, err) < 0)
		return -1;
	m->launch.ssh_key = ssh_key_text(p->ssh_key, err);
	if (!m->launch.ssh_key)
		return -1;
	choice_log("azure", &ranking.choice);
	int result =
		choice_try("azure", &ranking.choice, p->refusals, make_offering, m, bound, err);
	if (result < 0 && m->subnets_are_full && err)
		err->kind = ERROR_CAPACITY;
	return result;
}

/* A VM of this token from an earlier try: 1 it is the one, 0 there is none, -1 failed. */
static int find_earlier(struct making *m, const struct bound *bound, struct error *err)
{
	for (unsigned c = 0; c < NAME_CANDIDATES; c++) {
		enum holder holder;
		cleanup_json *vm = NULL;
		if (look_at_name(m, c, &holder, &vm, bound, err) < 0)
			return -1;
		if (holder != HOLDER_OURS)
			continue;
		m->candidate = c;
		m->made = true;
		snprintf(m->disk_name, sizeof(m->disk_name), "%s",
			text_of(vm, "properties", "storageProfile", "osDisk", "name", NULL));
		return 1;
	}
	return 0;
}

static int make_or_find(struct making *m, const struct bound *bound, struct error *err)
{
	int found = find_earlier(m, bound, err);
	if (found < 0)
		return -1;
	if (found) {
		cleanup_error why = ERROR_INIT;
		if (finish(m, bound, &why) == 0)
			return 0;
		/* What had no room in the earlier try may have it elsewhere. */
		if (why.kind != ERROR_CAPACITY && why.kind != ERROR_QUOTA)
			return error_move(err, &why);
		log_warn("azure: %s", error_message(&why));
		if (remove_made(m, bound, err) < 0)
			return -1;
		m->candidate = 0;
	}
	return make(m, bound, err);
}

static void making_clear(struct making *m)
{
	list_free(m->subnets);
}

int driver_create(struct provider *p, const struct instance_request *r, struct instance *instance,
	const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	cleanup(making_clear) struct making m = {.p = p, .instance = instance};
	*instance = (struct instance){0};
	m.launch = (struct launch){.options = p->options,
		.request = r,
		.image = *r->image ? r->image : p->options->image};
	m.subnets = list_split(p->options->subnets);
	if (!m.subnets)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (launch_check(p->options, r, err) < 0 ||
		launch_tees(p->options, r, &m.launch.tees, err) < 0 ||
		vm_name_make(r, 0, m.names[0], err) < 0 || vm_name_make(r, 1, m.names[1], err) < 0)
		return -1;
	int result = make_or_find(&m, bound, &why);
	if (result < 0) {
		undo(&m, &why);
		return error_move(err, &why);
	}
	tag_disk(&m, bound);
	return 0;
}
