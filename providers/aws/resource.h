/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resource.h - what is made for an instance and has a life of its own: network interfaces, elastic addresses, volumes
 *
 * Mostly they come and go with the instance. Where they do not (a crash in between, an AMI that keeps its volumes),
 * they are found by the tags that they carry, and can be deleted by their ids as instances can.
 */
#ifndef PEERPOD_AWS_RESOURCE_H
#define PEERPOD_AWS_RESOURCE_H

#include "providers/aws/ec2.h"
#include "providers/aws/tags.h"

struct resource_kind;
extern const struct resource_kind resource_nic, resource_address, resource_volume;
extern const struct resource_kind *const resource_kinds[]; /* NULL-terminated */

/* "network interface"; and the kind of an id: eni-..., eipalloc-..., vol-...; NULL: of none. */
const char *resource_kind_name(const struct resource_kind *kind);
const struct resource_kind *resource_kind_of(const char *id);

/* A filter for those attached to nothing, name and value, where EC2 has one for the kind. */
void resource_free_filter(const struct resource_kind *kind, const char **filter);

struct resource {
	char *id;
	char *user;        /* what it is attached to, an instance or an interface; NULL: nothing */
	char *association; /* of an address; NULL: none */
	struct tags tags;
	int64_t created; /* Unix time; 0: EC2 does not tell */
	struct resource *next;
};

void resource_free(struct resource *list);
DEFINE_CLEANUP(struct resource, resource_free)

/* An item of an answer. NULL where it has no id, or for lack of memory. */
struct resource *resource_read(const struct resource_kind *kind, xmlNode *item);

/*
 * Those that all the filters let through, through all pages: names and values by turns, NULL at the end. *list is new.
 */
int resources_find(struct ec2 *ec2, const struct resource_kind *kind, const char *const *filters,
	struct resource **list, const struct bound *bound, struct error *err);

/* Takes it off what it is attached to (addresses alone), and deletes it. Gone is fine. Looks at no tags. */
int resource_remove(struct ec2 *ec2, const struct resource_kind *kind,
	const struct resource *resource, const struct bound *bound, struct error *err);

/* All of this kind that carry the token and are attached to nothing, and addresses that are attached, too. */
int resources_remove_of(struct ec2 *ec2, const struct resource_kind *kind, const char *token,
	const struct bound *bound, struct error *err);

/* By its id: only what carries our tag and is attached to nothing. Gone is fine. */
int resource_delete(struct ec2 *ec2, const char *id, const struct bound *bound, struct error *err);

#endif
