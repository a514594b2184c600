/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h - the body with which a VM is made
 */
#ifndef PEERPOD_AZURE_LAUNCH_H
#define PEERPOD_AZURE_LAUNCH_H

#include <jansson.h>
#include "providers/azure/options.h"
#include "providers/provider.h"

/* Azure: the base64 text of the user data has at most 64 KiB. */
#define USER_DATA_BASE64_MAX 65536
#define USER_DATA_MAX (USER_DATA_BASE64_MAX / 4 * 3)

struct launch {
	const struct azure_options *options;
	const struct instance_request *request;
	const char *vm_name, *disk_name, *subnet, *image, *ssh_key;
	const struct offering *offering;
	unsigned tees; /* of enum choice_tee; 0: an ordinary VM */
};

/* What protects the VM's memory: what the pod asks for, else the options. Of enum choice_tee, any of these. */
int launch_tees(const struct azure_options *o, const struct instance_request *r, unsigned *tees,
	struct error *err);

/* ERROR_INVALID and ERROR_UNSUPPORTED where the request cannot be made as it is. */
int launch_check(const struct azure_options *o, const struct instance_request *r,
	struct error *err);

/* A new object. */
json_t *launch_body(const struct launch *l, struct error *err);

#endif
