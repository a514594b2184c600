/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tags.h - whose a resource is, as tags on everything that is made for an instance
 */
#ifndef PEERPOD_AZURE_TAGS_H
#define PEERPOD_AZURE_TAGS_H

#include <jansson.h>
#include "base/error.h"
#include "providers/azure/options.h"
#include "providers/provider.h"

#define TAG_PREFIX "peerpod-"
#define TAG_TOKEN TAG_PREFIX "token" /* what carries it is ours */
#define TAG_CLUSTER TAG_PREFIX "cluster"
#define TAG_NODE TAG_PREFIX "node"
#define TAG_NAMESPACE TAG_PREFIX "namespace"
#define TAG_POD TAG_PREFIX "pod"
#define TAG_SANDBOX TAG_PREFIX "sandbox"
#define TAG_VM TAG_PREFIX "vm" /* the name of the VM that it was made for */
#define TAG_CREATED \
	TAG_PREFIX "created" /* Unix time: NICs and addresses have no age of their own */

/* A new object: the owner's, the token, the VM's name and the operator's. */
json_t *tags_make(const struct azure_options *o, const struct instance_request *r,
	const char *vm_name, struct error *err);

/* The tag's value, "" where there is none. Names of tags are compared without case, as Azure does. */
const char *tag_of(const json_t *resource, const char *name);

#endif
