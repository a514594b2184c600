/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remove.c - an instance is terminated, and its interfaces and root volume go with it; see driver.h
 *
 * What does not go with it (extras.h) goes before. Leftovers without an instance are deleted by their own ids.
 *
 * What is not tagged ours is never touched, and what is gone is success: EC2 forgets an instance an hour after its end.
 */
#include <string.h>

#include "base/log.h"
#include "providers/aws/driver.h"
#include "providers/aws/extras.h"
#include "providers/aws/resource.h"

/* A new instance may not be shown yet. */
#define APPEAR_LOOKS 3

int vm_terminate(struct provider *p, const char *id, const struct bound *bound, struct error *err)
{
	cleanup_query query = {0};
	cleanup_error why = ERROR_INIT;
	query_start(&query, "TerminateInstances", EC2_VERSION);
	query_add(&query, id, "InstanceId.1");
	if (ec2_do(p->ec2, EC2_CHANGE, &query, bound, &why) == 0 || why.kind == ERROR_GONE)
		return 0;
	return error_move(err, &why);
}

/* 0: *vm is filled; 1: it is gone. */
static int look_for(struct provider *p, const char *id, struct vm *vm, const struct bound *bound,
	struct error *err)
{
	for (unsigned looks = 0;; looks++) {
		cleanup_error why = ERROR_INIT;
		if (describe(p->by_id, id, vm, bound, &why) == 0)
			return 0;
		if (why.kind != ERROR_GONE)
			return error_move(err, &why);
		if (looks + 1 == APPEAR_LOOKS)
			return 1;
		if (bound_sleep(bound, poll_pause_ns(looks), "look for the instance", err) < 0)
			return -1;
	}
}

int driver_delete(struct provider *p, const char *id, const struct bound *bound, struct error *err)
{
	cleanup_vm vm = {0};
	cleanup_error why = ERROR_INIT;
	if (resource_kind_of(id))
		return resource_delete(p->ec2, id, bound, err);
	if (instance_id_check(id, err) < 0)
		return -1;
	int gone = look_for(p, id, &vm, bound, err);
	if (gone < 0)
		return error_prefix(err, "delete instance %s", id);
	if (gone) {
		log_debug("aws: instance %s is gone already", id);
		return 0;
	}
	if (!vm.tags.token)
		return error_set(err, ERROR_DENIED,
			"instance %s carries no tag " TAG_TOKEN
			", so it was not made by this system: it is not deleted",
			id);
	/* What is the matter with an address does not keep the instance. */
	int result = extras_remove(p, &vm, vm.tags.token, bound, &why);
	if (!vm_is_dead(&vm) && vm_terminate(p, id, bound, err) < 0)
		return error_prefix(err, "delete instance %s", id);
	if (result == 0)
		return 0;
	error_move(err, &why);
	return error_prefix(err, "instance %s is terminated, but not all that was made for it", id);
}
