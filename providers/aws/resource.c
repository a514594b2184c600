/* SPDX-License-Identifier: Apache-2.0 */
/* resource.c - see resource.h. What the three kinds differ in is a table. */
#include "providers/aws/resource.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "providers/aws/credentials.h"

struct resource_kind {
	const char *name, *prefix;
	const char *describe, *set,
		*id_filter;              /* the question, its answer's list, how to ask for one */
	const char *id, *user, *created; /* in an item of that list */
	const char *remove, *remove_parameter;
	const char *free_filter,
		*free_value; /* those attached to nothing; NULL: not to be asked for */
	bool pages;
};

const struct resource_kind resource_nic = {
	.name = "network interface",
	.prefix = "eni-",
	.describe = "DescribeNetworkInterfaces",
	.set = "networkInterfaceSet",
	.id_filter = "network-interface-id",
	.id = "networkInterfaceId",
	.user = "attachment/instanceId",
	.remove = "DeleteNetworkInterface",
	.remove_parameter = "NetworkInterfaceId",
	.free_filter = "status",
	.free_value = "available",
	.pages = true,
};
const struct resource_kind resource_address = {
	.name = "elastic address",
	.prefix = "eipalloc-",
	.describe = "DescribeAddresses",
	.set = "addressesSet",
	.id_filter = "allocation-id",
	.id = "allocationId",
	.user = "networkInterfaceId",
	.remove = "ReleaseAddress",
	.remove_parameter = "AllocationId",
};
const struct resource_kind resource_volume = {
	.name = "volume",
	.prefix = "vol-",
	.describe = "DescribeVolumes",
	.set = "volumeSet",
	.id_filter = "volume-id",
	.id = "volumeId",
	.user = "attachmentSet/item/instanceId",
	.created = "createTime",
	.remove = "DeleteVolume",
	.remove_parameter = "VolumeId",
	.free_filter = "status",
	.free_value = "available",
	.pages = true,
};
const struct resource_kind *const resource_kinds[] = {&resource_nic, &resource_address,
	&resource_volume, NULL};

const char *resource_kind_name(const struct resource_kind *kind)
{
	return kind->name;
}

const struct resource_kind *resource_kind_of(const char *id)
{
	for (size_t i = 0; resource_kinds[i]; i++) {
		size_t len = strlen(resource_kinds[i]->prefix);
		size_t digits = strncmp(id, resource_kinds[i]->prefix, len)
					? 0
					: strspn(id + len, "0123456789abcdef");
		if (digits >= 8 && digits <= 17 && !id[len + digits])
			return resource_kinds[i];
	}
	return NULL;
}

void resource_free_filter(const struct resource_kind *kind, const char **filter)
{
	filter[0] = kind->free_filter;
	filter[1] = kind->free_filter ? kind->free_value : NULL;
}

void resource_free(struct resource *list)
{
	while (list) {
		struct resource *next = list->next;
		free(list->id);
		free(list->user);
		free(list->association);
		tags_free(&list->tags);
		free(list);
		list = next;
	}
}

struct resource *resource_read(const struct resource_kind *kind, xmlNode *item)
{
	cleanup(resource_free_ptr) struct resource *r = calloc(1, sizeof(*r));
	if (!r || !(r->id = xml_text(item, kind->id)))
		return NULL;
	r->user = xml_text(item, kind->user);
	r->association = xml_text(item, "associationId");
	cleanup(free_ptr) char *when = kind->created ? xml_text(item, kind->created) : NULL;
	int64_t created = when ? aws_time_parse(when) : 0;
	r->created = created > 0 ? created : 0;
	tags_read(item, &r->tags);
	return take_ptr(r);
}

int resources_find(struct ec2 *ec2, const struct resource_kind *kind, const char *const *filters,
	struct resource **list, const struct bound *bound, struct error *err)
{
	cleanup(resource_free_ptr) struct resource *found = NULL;
	cleanup_query query = {0};
	cleanup_pages pages = {0};
	int result;
	query_start(&query, kind->describe, EC2_VERSION);
	for (unsigned i = 0; filters[2 * i]; i++)
		query_filter_one(&query, i + 1, filters[2 * i], filters[2 * i + 1]);
	if (kind->pages)
		query_add(&query, "500", "MaxResults");
	while ((result = ec2_page(ec2, &query, &pages, bound, err)) > 0) {
		for (xmlNode *i = xml_first_item(pages.page, kind->set); i; i = xml_next_item(i)) {
			struct resource *one = resource_read(kind, i);
			if (!one)
				continue;
			one->next = found;
			found = one;
		}
	}
	if (result == 0)
		*list = take_ptr(found);
	return result;
}

static int act(struct ec2 *ec2, const char *action, const char *parameter, const char *id,
	const struct bound *bound, struct error *err)
{
	cleanup_query query = {0};
	cleanup_error why = ERROR_INIT;
	query_start(&query, action, EC2_VERSION);
	query_add(&query, id, "%s", parameter);
	if (ec2_do(ec2, EC2_CHANGE, &query, bound, &why) == 0 || why.kind == ERROR_GONE)
		return 0;
	return error_move(err, &why);
}

int resource_remove(struct ec2 *ec2, const struct resource_kind *kind,
	const struct resource *resource, const struct bound *bound, struct error *err)
{
	if (resource->association && act(ec2, "DisassociateAddress", "AssociationId",
					     resource->association, bound, err) < 0)
		return -1;
	return act(ec2, kind->remove, kind->remove_parameter, resource->id, bound, err);
}

int resources_remove_of(struct ec2 *ec2, const struct resource_kind *kind, const char *token,
	const struct bound *bound, struct error *err)
{
	cleanup(resource_free_ptr) struct resource *list = NULL;
	const char *filters[5] = {TOKEN_FILTER, token};
	resource_free_filter(kind, &filters[2]);
	if (resources_find(ec2, kind, filters, &list, bound, err) < 0)
		return -1;
	for (struct resource *r = list; r; r = r->next) {
		log_info("aws: deleting the %s %s", kind->name, r->id);
		if (resource_remove(ec2, kind, r, bound, err) < 0)
			return error_prefix(err, "delete %s %s", kind->name, r->id);
	}
	return 0;
}

int resource_delete(struct ec2 *ec2, const char *id, const struct bound *bound, struct error *err)
{
	const struct resource_kind *kind = resource_kind_of(id);
	cleanup(resource_free_ptr) struct resource *r = NULL;
	if (!kind)
		return error_set(err, ERROR_INVALID, "\"%s\" is no id of EC2", id);
	const char *const filters[] = {kind->id_filter, id, NULL};
	if (resources_find(ec2, kind, filters, &r, bound, err) < 0)
		return error_prefix(err, "delete %s %s", kind->name, id);
	if (!r) {
		log_debug("aws: %s %s is gone already", kind->name, id);
		return 0;
	}
	if (!r->tags.token)
		return error_set(err, ERROR_DENIED,
			"%s %s carries no tag " TAG_TOKEN
			", so it was not made by this system: it is not deleted",
			kind->name, id);
	if (r->user)
		return error_set(err, ERROR_INVALID,
			"%s %s is attached to %s: it is deleted with its instance", kind->name, id,
			r->user);
	if (resource_remove(ec2, kind, r, bound, err) < 0)
		return error_prefix(err, "delete %s %s", kind->name, id);
	return 0;
}
