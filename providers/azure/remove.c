/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remove.c - a VM is deleted, with all that was made for it; see driver.h
 *
 * NICs, addresses and the OS disk go with the VM (deleteOption). That is not taken on trust: when the VM is gone, what is
 * left of them is looked for and deleted, round by round until a round finds nothing: NICs first, addresses and disks
 * when they are free. NICs stay reserved for a VM for some minutes; then the next rounds have them.
 *
 * What is not tagged ours is never touched, and what is gone is success.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "http/attempt.h"
#include "providers/azure/driver.h"
#include "providers/azure/name.h"
#include "providers/azure/tags.h"
#include "providers/azure/vm.h"

/* A deletion that was accepted and shows no effect is asked after, then sent again. */
#define LOOKS_BEFORE_ASKING 4

static int delete_path(struct provider *p, const char *what, const char *path, char *operation,
	size_t size, const struct bound *bound, struct error *err)
{
	cleanup_reply reply = {0};
	cleanup_error why = ERROR_INIT;
	const struct arm_request request = {"DELETE", ARM_DELETE, path, NULL, NULL, what};
	*operation = '\0';
	if (arm_call(p->arm, &request, &reply, bound, &why) < 0)
		return why.kind == ERROR_GONE ? 0 : error_move(err, &why);
	snprintf(operation, size, "%s", *reply.operation ? reply.operation : reply.location);
	return 0;
}

/* ---- the VM --------------------------------------------------------------------------------------------------- */

static bool in_own_group(const struct provider *p, const struct arm_id *id)
{
	return !strcasecmp(id->subscription, p->options->subscription) &&
	       !strcasecmp(id->group, p->options->resource_group);
}

static int vm_look(struct provider *p, const struct arm_id *id, json_t **vm,
	const struct bound *bound, struct error *err)
{
	return in_own_group(p, id) ? watch_vm(p->watch, id->name, vm, bound, err)
				   : vm_get(p, id, false, vm, bound, err);
}

/* Sends the deletion until it is accepted: another operation on the VM may have to end first. */
static int send_delete(struct provider *p, const struct arm_id *id, char *operation, size_t size,
	const struct bound *bound, struct error *err)
{
	char path[512], what[ARM_PART_MAX + 32];
	snprintf(what, sizeof(what), "delete VM %s", id->name);
	/* There is nothing in a pod VM that a graceful shutdown would save. */
	snprintf(path, sizeof(path),
		"/subscriptions/%s/resourceGroups/%s/providers/" KIND_VM
		"/%s?api-version=" VERSION_VM "&forceDeletion=true",
		id->subscription, id->group, id->name);
	for (unsigned n = 0;; n++) {
		cleanup_error why = ERROR_INIT;
		if (delete_path(p, what, path, operation, size, bound, &why) == 0)
			return 0;
		if (why.kind != ERROR_RETRY || bound_sleep(bound, poll_pause_ns(n), what, NULL) < 0)
			return error_move(err, &why);
	}
}

/* Waits until the VM is gone. operation: of its deletion, "" where somebody else sent it. */
static int wait_gone(struct provider *p, const struct arm_id *id, char *operation,
	const struct bound *bound, struct error *err)
{
	for (unsigned n = 0;; n++) {
		cleanup_json *vm = NULL;
		cleanup_error why = ERROR_INIT;
		enum operation_state state = OPERATION_RUNNING;
		uint64_t again_ns;
		if (vm_look(p, id, &vm, bound, &why) < 0)
			return why.kind == ERROR_GONE ? 0 : error_move(err, &why);
		bool stuck = vm_state(vm) != VM_GOING && n >= LOOKS_BEFORE_ASKING;
		if (stuck && *operation &&
			operation_look(p, operation, &state, &again_ns, bound, &why) < 0 &&
			why.kind != ERROR_GONE)
			return error_move(err, &why);
		if (state == OPERATION_FAILED) {
			error_move(err, &why);
			return error_prefix(err, "delete VM %s", id->name);
		}
		if (bound_sleep(bound, poll_pause_ns(n), "wait until the VM is deleted", err) < 0)
			return -1;
	}
}

/* ---- what is left of it --------------------------------------------------------------------------------------- */

/* Those of another group than the configured one are listed without sharing. */
struct pick {
	enum part part;
	const char *vm_name;
	json_t *list;
};

static int pick_one(void *with, const json_t *item, struct error *err)
{
	struct pick *pick = with;
	if (!part_is_of(pick->part, item, pick->vm_name))
		return 0;
	return json_array_append(pick->list, (json_t *)item) == 0
		       ? 0
		       : error_set(err, ERROR_CAPACITY, "out of memory");
}

static int parts_look(struct provider *p, enum part part, const struct arm_id *id, json_t **list,
	const struct bound *bound, struct error *err)
{
	char path[512];
	if (in_own_group(p, id))
		return watch_parts(p->watch, part, id->name, list, bound, err);
	part_path(part, id->subscription, id->group, path, sizeof(path));
	*list = json_array();
	struct pick pick = {part, id->name, *list};
	return *list ? arm_list(p->arm, part_list_what(part), path, pick_one, &pick, bound, err)
		     : error_set(err, ERROR_CAPACITY, "out of memory");
}

static bool is_ours(enum part part, const json_t *resource, const char *vm_name)
{
	char found[VM_NAME_SIZE];
	return !strcasecmp(part_vm(part, resource, found), vm_name);
}

/* Does something still hold it? */
static bool is_held(enum part part, const json_t *resource)
{
	switch (part) {
	case PART_NIC:
		return false; /* of a VM that is gone: deleting it is how one finds out */
	case PART_IP:
		return *text_of(resource, "properties", "ipConfiguration", "id", NULL);
	case PART_DISK:
		return *text_of(resource, "managedBy", NULL);
	}
	return false;
}

struct leftovers {
	size_t count; /* that are there */
	char names[256];
	struct error why; /* the last failure */
};

static void leftovers_clear(struct leftovers *l)
{
	error_clear(&l->why);
}

static int delete_parts(struct provider *p, enum part part, const struct arm_id *id,
	struct leftovers *left, const struct bound *bound, struct error *err)
{
	cleanup_json *list = NULL;
	if (parts_look(p, part, id, &list, bound, err) < 0)
		return -1;
	size_t i;
	const json_t *one;
	json_array_foreach(list, i, one)
	{
		char path[640], what[200], operation[ARM_URL_MAX];
		cleanup_error why = ERROR_INIT;
		if (!is_ours(part, one, id->name))
			continue;
		size_t len = strlen(left->names);
		snprintf(left->names + len, sizeof(left->names) - len, "%s%s %.90s",
			len ? ", " : "", part_name(part), resource_name(one));
		left->count++;
		if (is_held(part, one))
			continue;
		snprintf(path, sizeof(path), "%.512s?api-version=%s", resource_id(one),
			part_version(part));
		snprintf(what, sizeof(what), "delete %s %.100s", part_name(part),
			resource_name(one));
		log_info("azure: %s, which was left of VM %s", what, id->name);
		if (delete_path(p, what, path, operation, sizeof(operation), bound, &why) == 0)
			continue;
		/* Held by something that goes, too: the next round. Not allowed: never. */
		if (why.kind == ERROR_DENIED || why.kind == ERROR_TIMEOUT ||
			why.kind == ERROR_CANCELED)
			return error_move(err, &why);
		error_clear(&left->why);
		error_move(&left->why, &why);
	}
	return 0;
}

/* One round over all kinds. */
static int leftovers_round(struct provider *p, const struct arm_id *id, struct leftovers *left,
	const struct bound *bound, struct error *err)
{
	for (unsigned part = 0; part < PARTS; part++) {
		if (delete_parts(p, (enum part)part, id, left, bound, err) < 0)
			return -1;
	}
	return 0;
}

/* The time is over, or something failed for good: what was there at last is told. */
static int tell_leftovers(const struct arm_id *id, const struct leftovers *left, struct error *err)
{
	if (!left->count)
		return -1;
	error_append(err, "; of VM %s there is still %s", id->name, left->names);
	return left->why.kind == ERROR_NONE ? -1
					    : error_append(err, " (%s)", error_message(&left->why));
}

static int remove_leftovers(struct provider *p, const struct arm_id *id, const struct bound *bound,
	struct error *err)
{
	cleanup(leftovers_clear) struct leftovers last = {0};
	for (unsigned n = 0;; n++) {
		cleanup(leftovers_clear) struct leftovers left = {0};
		if (leftovers_round(p, id, &left, bound, err) < 0)
			return tell_leftovers(id, left.count ? &left : &last, err);
		if (!left.count)
			return 0;
		if (bound_sleep(bound, poll_pause_ns(n), "delete what is left", err) < 0)
			return tell_leftovers(id, &left, err);
		leftovers_clear(&last);
		last = left;
		left = (struct leftovers){0};
	}
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

int vm_remove(struct provider *p, const struct arm_id *id, const struct bound *bound,
	struct error *err)
{
	cleanup_json *vm = NULL;
	cleanup_error why = ERROR_INIT;
	char operation[ARM_URL_MAX] = "";
	if (vm_get(p, id, false, &vm, bound, &why) < 0 && why.kind != ERROR_GONE)
		return error_move(err, &why);
	if (vm && !*tag_of(vm, TAG_TOKEN))
		return error_set(err, ERROR_DENIED,
			"VM %s carries no tag " TAG_TOKEN
			", so it was not made by this system: it is not deleted",
			id->name);
	if (vm && vm_state(vm) != VM_GOING &&
		send_delete(p, id, operation, sizeof(operation), bound, err) < 0)
		return -1;
	if (vm && wait_gone(p, id, operation, bound, err) < 0)
		return -1;
	return remove_leftovers(p, id, bound, err);
}

int driver_delete(struct provider *p, const char *id, const struct bound *bound, struct error *err)
{
	struct arm_id arm;
	/* What never got an id has nothing to delete; whoever asks goes on. */
	if (!*id)
		return 0;
	if (arm_id_parse("instance id", id, KIND_VM, &arm, err) < 0)
		return -1;
	if (vm_remove(p, &arm, bound, err) < 0)
		return error_prefix(err, "delete instance %s", arm.name);
	return 0;
}
