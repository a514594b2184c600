/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - how far a VM is, and waiting for its addresses; see driver.h
 *
 * A NIC has its private address as soon as it is made, long before the operation of the creation ends, which waits for
 * the guest to report. But Azure may still find no host: it says so in the operation. A NIC gets its MAC address when the
 * VM has been put on a host and started. So the wait ends with address and MAC, and what fails before that is told,
 * so that another size or zone can be tried. NICs are looked at finely, the VM's own state at the pace of the shared list,
 * the operation only where the VM is not there or has failed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "http/attempt.h"
#include "providers/azure/driver.h"
#include "providers/azure/failure.h"
#include "providers/azure/vm.h"

#define WAIT_MOST_NS (600 * NS_PER_S)
#define OPERATION_FIRST_NS (1 * NS_PER_S)
#define OPERATION_MOST_NS (10 * NS_PER_S)
/* What an operation asks us to wait is cut to this in its first minute. */
#define RETRY_AFTER_EARLY_NS (5 * NS_PER_S)
#define EARLY_NS (60 * NS_PER_S)

char *vm_id_make(const struct azure_options *o, const char *vm_name)
{
	char *id = NULL;
	if (asprintf(&id, "/subscriptions/%s/resourceGroups/%s/providers/" KIND_VM "/%s",
		    o->subscription, o->resource_group, vm_name) < 0)
		return NULL;
	return id;
}

static bool is_ours(const struct provider *p, const struct arm_id *id)
{
	return !strcasecmp(id->subscription, p->options->subscription) &&
	       !strcasecmp(id->group, p->options->resource_group);
}

int vm_get(struct provider *p, const struct arm_id *id, bool expand, json_t **vm,
	const struct bound *bound, struct error *err)
{
	char what[ARM_PART_MAX + 32];
	snprintf(what, sizeof(what), "look at VM %s", id->name);
	*vm = arm_get(p->arm, what, bound, err,
		"/subscriptions/%s/resourceGroups/%s/providers/" KIND_VM
		"/%s?api-version=" VERSION_VM "%s",
		id->subscription, id->group, id->name, expand ? "&$expand=instanceView" : "");
	return *vm ? 0 : -1;
}

/* ---- operations ---------------------------------------------------------------------------------------------- */

uint64_t operation_pause_ns(unsigned n, uint64_t asked_ns, uint64_t age_ns)
{
	uint64_t pause = OPERATION_FIRST_NS << (n < 4 ? n : 4);
	if (!asked_ns)
		return pause < OPERATION_MOST_NS ? pause : OPERATION_MOST_NS;
	return age_ns < EARLY_NS && asked_ns > RETRY_AFTER_EARLY_NS ? RETRY_AFTER_EARLY_NS
								    : asked_ns;
}

int operation_look(struct provider *p, const char *url, enum operation_state *state,
	uint64_t *again_ns, const struct bound *bound, struct error *why)
{
	cleanup_reply reply = {0};
	const struct arm_request request = {"GET", ARM_READ, url, NULL, NULL,
		"look at the operation"};
	*state = OPERATION_RUNNING;
	*again_ns = 0;
	if (arm_call(p->arm, &request, &reply, bound, why) < 0)
		return -1;
	const char *status = text_of(reply.body, "status", NULL);
	*again_ns = reply.retry_after_ns;
	/* A Location answers 202 while it goes on, and with the thing itself or nothing when it is done. */
	if (!*status)
		*state = reply.status == 202 ? OPERATION_RUNNING : OPERATION_DONE;
	else if (!strcasecmp(status, "Succeeded"))
		*state = OPERATION_DONE;
	else if (!strcasecmp(status, "Failed") || !strcasecmp(status, "Canceled"))
		*state = OPERATION_FAILED;
	if (*state == OPERATION_FAILED) {
		failure_of_object(json_object_get(reply.body, "error"), 0, reply.request_id, why);
		/* A status of its own without a code says nothing but this. */
		if (!strcasecmp(status, "Canceled") && why)
			why->kind = ERROR_RETRY;
	}
	return 0;
}

int vm_tell_failure(struct provider *p, const struct arm_id *id, const char *operation,
	const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	cleanup_json *vm = NULL;
	enum operation_state state;
	uint64_t again_ns;
	if (*operation && operation_look(p, operation, &state, &again_ns, bound, &why) == 0 &&
		state == OPERATION_FAILED) {
		error_move(err, &why);
		return error_prefix(err, "VM %s failed", id->name);
	}
	error_clear(&why);
	if (vm_get(p, id, true, &vm, bound, &why) < 0) {
		error_move(err, &why);
		if (err && err->kind == ERROR_GONE)
			err->kind = ERROR_RETRY;
		return -1;
	}
	vm_failure(vm, err);
	return error_prefix(err, "VM %s failed", id->name);
}

/* ---- the wait ------------------------------------------------------------------------------------------------ */

struct wait {
	struct provider *p;
	const struct arm_id *id;
	const char *operation;
	size_t needed;
	bool ready; /* the VM says so */
	uint64_t began_ns, operation_due_ns;
	unsigned operation_looks;
};

static json_t *list_directly(struct provider *p, const struct arm_id *id, const struct bound *bound,
	struct error *err);

static int get_nics(struct wait *w, json_t **nics, const struct bound *bound, struct error *err)
{
	if (is_ours(w->p, w->id))
		return watch_parts(w->p->watch, PART_NIC, w->id->name, nics, bound, err);
	*nics = list_directly(w->p, w->id, bound, err);
	return *nics ? 0 : -1;
}

/* NICs of a VM in another group, which no shared list shows: those that the VM itself names. */
static json_t *list_directly(struct provider *p, const struct arm_id *id, const struct bound *bound,
	struct error *err)
{
	cleanup_json *vm = NULL, *nics = json_array();
	if (vm_get(p, id, false, &vm, bound, err) < 0)
		return NULL;
	size_t i;
	const json_t *one,
		*list = json_object_get(json_object_get(json_object_get(vm, "properties"),
						"networkProfile"),
			"networkInterfaces");
	json_array_foreach(list, i, one)
	{
		struct arm_id nic;
		if (arm_id_parse("NIC", resource_id(one), KIND_NIC, &nic, err) < 0)
			return NULL;
		json_t *found = arm_get(p->arm, "look at NIC", bound, err, "%s?api-version=%s",
			resource_id(one), VERSION_NETWORK);
		if (!found)
			return NULL;
		json_array_append_new(nics, found);
	}
	return take_ptr(nics);
}

/* The text of the public address; "" while there is none. New string. */
static char *public_address(struct provider *p, const json_t *nics, const struct bound *bound,
	struct error *err)
{
	size_t i;
	const json_t *nic;
	json_array_foreach(nics, i, nic)
	{
		struct arm_id id;
		const char *ip = nic_public_ip(nic);
		if (!*ip)
			continue;
		if (arm_id_parse("public address", ip, KIND_IP, &id, err) < 0)
			return NULL;
		cleanup_json *found = arm_get(p->arm, "look at the public address", bound, err,
			"%s?api-version=%s", ip, VERSION_NETWORK);
		if (!found)
			return NULL;
		const char *text = text_of(found, "properties", "ipAddress", NULL);
		return strdup(strcmp(text, "0.0.0.0") ? text : "");
	}
	return strdup("");
}

static bool nics_are_there(const struct wait *w, const json_t *nics)
{
	size_t i, good = 0;
	const json_t *nic;
	json_array_foreach(nics, i, nic)
	{
		good += *nic_address(nic) && (w->ready || nic_is_on_a_host(nic));
	}
	return good >= w->needed && good == json_array_size(nics);
}

/* 1: addresses are filled in, 0: not yet, -1 failed. */
static int look_at_nics(struct wait *w, struct instance *instance, const struct bound *bound,
	struct error *err)
{
	cleanup_json *nics = NULL;
	cleanup(free_ptr) char *public = NULL;
	if (get_nics(w, &nics, bound, err) < 0)
		return -1;
	if (!nics_are_there(w, nics))
		return 0;
	if (w->p->options->public_ip) {
		public = public_address(w->p, nics, bound, err);
		if (!public)
			return -1;
		if (!*public)
			return 0;
	}
	return addresses_give(nics, public, instance, err) < 0 ? -1 : 1;
}

/* The list does not show the VM: its operation tells whether it will be there, or else the VM itself. */
static int look_at_operation(struct wait *w, const struct bound *bound, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	cleanup_json *vm = NULL;
	enum operation_state state = OPERATION_DONE;
	uint64_t now = clock_ns(), again_ns = 0;
	if (*w->operation && now < w->operation_due_ns)
		return 0;
	if (*w->operation &&
		operation_look(w->p, w->operation, &state, &again_ns, bound, &why) < 0) {
		if (why.kind != ERROR_GONE)
			return error_move(err, &why);
		w->operation = ""; /* forgotten: the VM alone counts */
	}
	if (state == OPERATION_FAILED) {
		error_move(err, &why);
		return error_prefix(err, "VM %s failed", w->id->name);
	}
	if (state == OPERATION_RUNNING) {
		w->operation_due_ns =
			now + operation_pause_ns(w->operation_looks++, again_ns, now - w->began_ns);
		return 0;
	}
	error_clear(&why);
	if (vm_get(w->p, w->id, false, &vm, bound, &why) == 0)
		return 0; /* the list is late */
	if (why.kind != ERROR_GONE)
		return error_move(err, &why);
	return error_set(err, ERROR_RETRY, "VM %s is not there any more: somebody deleted it",
		w->id->name);
}

static int look_at_vm(struct wait *w, const struct bound *bound, struct error *err)
{
	cleanup_json *vm = NULL;
	cleanup_error why = ERROR_INIT;
	int result = is_ours(w->p, w->id) ? watch_vm(w->p->watch, w->id->name, &vm, bound, &why)
					  : vm_get(w->p, w->id, false, &vm, bound, &why);
	if (result < 0 && why.kind == ERROR_GONE)
		return look_at_operation(w, bound, err);
	if (result < 0)
		return error_move(err, &why);
	switch (vm_state(vm)) {
	case VM_COMING:
		return 0;
	case VM_READY:
		w->ready = true;
		return 0;
	case VM_FAILED:
		return vm_tell_failure(w->p, w->id, w->operation, bound, err);
	case VM_GOING:
		break;
	}
	return error_set(err, ERROR_RETRY, "VM %s is being deleted", w->id->name);
}

int vm_wait(struct provider *p, const struct arm_id *id, size_t needed, const char *operation,
	struct instance *instance, const struct bound *outer, struct error *err)
{
	struct bound bound = bound_within(outer, WAIT_MOST_NS);
	struct wait w = {.p = p,
		.id = id,
		.operation = operation,
		.needed = needed,
		.began_ns = clock_ns()};
	for (unsigned n = 0;; n++) {
		int result = look_at_nics(&w, instance, &bound, err);
		if (result)
			return result < 0 ? -1 : 0;
		/* Finer than the list of VMs is shared, that list is not waited for. */
		if (n && look_at_vm(&w, &bound, err) < 0)
			return -1;
		if (bound_sleep(&bound, poll_pause_ns(n), "wait for the VM's addresses", err) < 0)
			return -1;
	}
}

int driver_wait_addresses(struct provider *p, const char *id, size_t needed,
	struct instance *instance, const struct bound *bound, struct error *err)
{
	struct arm_id arm;
	*instance = (struct instance){0};
	if (arm_id_parse("instance id", id, KIND_VM, &arm, err) < 0)
		return -1;
	if (needed > 2)
		return error_set(err, ERROR_INVALID, "%zu addresses are more than a pod VM has",
			needed);
	instance->id = strdup(id);
	instance->name = strdup(arm.name);
	if (!instance->id || !instance->name) {
		instance_free(instance);
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	if (vm_wait(p, &arm, needed, "", instance, bound, err) == 0)
		return 0;
	instance_free(instance);
	return -1;
}
