/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remove.c - an instance is terminated, and its interfaces and root volume go with it; see driver.h
 *
 * What is not tagged ours is never touched, and what is gone is success: EC2 forgets an instance an hour after its end.
 */
#include <string.h>

#include "base/log.h"
#include "providers/aws/driver.h"

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

int driver_delete(struct provider *p, const char *id, const struct bound *bound, struct error *err)
{
	cleanup_vm vm = {0};
	if (instance_id_check(id, err) < 0)
		return -1;
	for (unsigned looks = 0;; looks++) {
		cleanup_error why = ERROR_INIT;
		if (describe(p->by_id, id, &vm, bound, &why) == 0)
			break;
		if (why.kind != ERROR_GONE) {
			error_move(err, &why);
			return error_prefix(err, "delete instance %s", id);
		}
		if (looks + 1 == APPEAR_LOOKS) {
			log_debug("aws: instance %s is gone already", id);
			return 0;
		}
		if (bound_sleep(bound, poll_pause_ns(looks), "look for the instance", err) < 0)
			return -1;
	}
	if (!vm.token)
		return error_set(err, ERROR_DENIED,
			"instance %s carries no tag peerpod-token, so it was not made by this system: it is not deleted",
			id);
	if (vm_is_dead(&vm))
		return 0;
	if (vm_terminate(p, id, bound, err) < 0)
		return error_prefix(err, "delete instance %s", id);
	return 0;
}
