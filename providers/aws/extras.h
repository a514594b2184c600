/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extras.h - what RunInstances cannot make: an elastic address, a second NIC beside a launch template's
 *
 * EC2 gives no public address to an instance that is launched with two interfaces, and a template says what interfaces
 * there are. So these are made after the launch. The instance's own tag says which, before they exist, and they
 * carry the tags of the instance: whoever deletes it, or repeats its creation after a crash, finds them.
 */
#ifndef PEERPOD_AWS_EXTRAS_H
#define PEERPOD_AWS_EXTRAS_H

#include "providers/aws/driver.h"

/* The value of the instance's tag: "", "address" or "interface". */
const char *extras_wanted(const struct aws_options *o, const struct instance_request *r);

/* Makes what the request wants and is not there yet. Waits until the instance runs where it wants anything. */
int extras_make(struct provider *p, const char *id, const struct instance_request *request,
	const struct bound *bound, struct error *err);

/*
 * Before the instance ends: addresses go, interfaces are set to go with it. Where there is no instance (NULL), or it has
 * ended: all that carries the token goes.
 */
int extras_remove(struct provider *p, const struct vm *vm, const char *token,
	const struct bound *bound, struct error *err);

#endif
