/* SPDX-License-Identifier: Apache-2.0 */
/*
 * find.c - VMs by their tags: one, all of ours; and what a VM printed last; see driver.h
 *
 * NICs, addresses and disks whose VM is not there are told as an instance, too: with the id that the VM had, by which
 * delete removes them. They are listed before the VMs, so that one that is just being made is not taken for a leftover.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "providers/azure/driver.h"
#include "providers/azure/name.h"
#include "providers/azure/tags.h"
#include "providers/azure/vm.h"

#define CONSOLE_MAX ((size_t)8 << 20)

/* ---- one ------------------------------------------------------------------------------------------------------ */

static int give_vm(struct provider *p, const json_t *vm, struct instance *instance,
	const struct bound *bound, struct error *err)
{
	cleanup_json *all = NULL, *nics = NULL;
	if (instance_give(resource_id(vm), resource_name(vm), vm, instance, err) < 0)
		return -1;
	/* Public addresses cost a call each: wait_addresses tells them. */
	if (p->options->public_ip)
		return 0;
	if (watch_parts(p->watch, PART_NIC, resource_name(vm), &all, bound, err) == 0) {
		nics = nics_attached(all, resource_name(vm));
		if (addresses_give(nics, NULL, instance, err) == 0)
			return 0;
	}
	instance_free(instance);
	return -1;
}

static int give_leftover(struct provider *p, enum part part, const json_t *resource,
	struct instance *instance, struct error *err)
{
	char name[VM_NAME_SIZE];
	part_vm(part, resource, name);
	cleanup(free_ptr) char *id = vm_id_make(p->options, name);
	if (!id)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return instance_give(id, name, resource, instance, err);
}

int driver_find(struct provider *p, const char *token, struct instance *instance,
	const struct bound *bound, struct error *err)
{
	cleanup_json *vm = NULL;
	cleanup_error why = ERROR_INIT;
	if (!*token)
		return error_set(err, ERROR_INVALID, "the token is empty");
	if (watch_vm_of_token(p->watch, token, &vm, bound, &why) == 0)
		return give_vm(p, vm, instance, bound, err);
	if (why.kind != ERROR_GONE)
		return error_move(err, &why);
	for (unsigned part = 0; part < PARTS; part++) {
		cleanup_json *list = NULL;
		if (watch_parts_of_token(p->watch, (enum part)part, token, &list, bound, err) < 0)
			return -1;
		if (json_array_size(list))
			return give_leftover(p, (enum part)part, json_array_get(list, 0), instance,
				err);
	}
	return error_set(err, ERROR_GONE, "there is no VM with the tag " TAG_TOKEN " %s", token);
}

/* ---- all of ours ------------------------------------------------------------------------------------------- */

struct listing {
	struct provider *p;
	const char *cluster, *node;
	enum part part;
	json_t *vms, *parts[PARTS];
	struct instance *list;
	size_t count;
};

static int keep(void *with, const json_t *item, struct error *err)
{
	return json_array_append((json_t *)with, (json_t *)item) == 0
		       ? 0
		       : error_set(err, ERROR_CAPACITY, "out of memory");
}

static bool is_wanted(const struct listing *l, const json_t *resource)
{
	if (!*tag_of(resource, TAG_TOKEN))
		return false;
	return (!*l->cluster || !strcmp(tag_of(resource, TAG_CLUSTER), l->cluster)) &&
	       (!*l->node || !strcmp(tag_of(resource, TAG_NODE), l->node));
}

static bool is_wanted_part(const struct listing *l, enum part part, const json_t *resource)
{
	char name[VM_NAME_SIZE];
	if (!*part_vm(part, resource, name))
		return false;
	return is_wanted(l, resource) ||
	       (part == PART_DISK && !*tag_of(resource, TAG_TOKEN) &&
		       disk_name_matches(resource_name(resource), l->cluster, l->node));
}

static struct instance *room(struct listing *l, struct error *err)
{
	struct instance *grown = reallocarray(l->list, l->count + 1, sizeof(*grown));
	if (!grown) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	l->list = grown;
	grown[l->count] = (struct instance){0};
	return &grown[l->count];
}

/* NICs are listed anyway; public addresses would cost a call each. */
static int add_addresses(const struct listing *l, const json_t *vm, struct instance *to,
	struct error *err)
{
	if (l->p->options->public_ip)
		return 0;
	cleanup_json *nics = nics_attached(l->parts[PART_NIC], resource_name(vm));
	return addresses_give(nics, NULL, to, err);
}

static int add_vms(struct listing *l, struct error *err)
{
	size_t i;
	const json_t *vm;
	json_array_foreach(l->vms, i, vm)
	{
		/* One that is being deleted by us will be gone; its parts would show what stays. */
		if (!is_wanted(l, vm))
			continue;
		struct instance *to = room(l, err);
		if (!to || instance_give(resource_id(vm), resource_name(vm), vm, to, err) < 0)
			return -1;
		l->count++;
		if (add_addresses(l, vm, to, err) < 0)
			return -1;
	}
	return 0;
}

static bool vm_exists(const struct listing *l, const char *name)
{
	size_t i;
	const json_t *vm;
	json_array_foreach(l->vms, i, vm)
	{
		if (!strcasecmp(resource_name(vm), name))
			return true;
	}
	for (size_t k = 0; k < l->count; k++) {
		if (!strcasecmp(l->list[k].name, name))
			return true;
	}
	return false;
}

/* The owner of an untagged disk is in its name: as hashes, which is_wanted_part has compared. */
static int name_owner(struct listing *l, struct instance *to, struct error *err)
{
	const struct {
		char **to;
		const char *text;
	} texts[] = {{&to->cluster, l->cluster}, {&to->node, l->node}};
	for (size_t i = 0; i < array_size(texts); i++) {
		char *copy = **texts[i].to ? NULL : strdup(texts[i].text);
		if (!**texts[i].to && !copy)
			return error_set(err, ERROR_CAPACITY, "out of memory");
		if (copy) {
			free(*texts[i].to);
			*texts[i].to = copy;
		}
	}
	return 0;
}

static int add_leftovers(struct listing *l, enum part part, struct error *err)
{
	size_t i;
	const json_t *resource;
	json_array_foreach(l->parts[part], i, resource)
	{
		char name[VM_NAME_SIZE];
		part_vm(part, resource, name);
		if (!is_wanted_part(l, part, resource) || vm_exists(l, name))
			continue;
		struct instance *to = room(l, err);
		if (!to || give_leftover(l->p, part, resource, to, err) < 0)
			return -1;
		l->count++;
		if (part == PART_DISK && name_owner(l, to, err) < 0)
			return -1;
	}
	return 0;
}

static void listing_clear(struct listing *l)
{
	instances_free(l->list, l->count);
	json_decref(l->vms);
	for (unsigned part = 0; part < PARTS; part++)
		json_decref(l->parts[part]);
}

static int list_into(struct provider *p, const char *what, const char *path, json_t **list,
	const struct bound *bound, struct error *err)
{
	*list = json_array();
	if (!*list)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return arm_list(p->arm, what, path, keep, *list, bound, err);
}

int driver_list(struct provider *p, const char *cluster, const char *node,
	struct instance **instances, size_t *count, const struct bound *bound, struct error *err)
{
	const struct azure_options *o = p->options;
	cleanup(listing_clear) struct listing l = {.p = p, .cluster = cluster, .node = node};
	char path[512];
	for (unsigned part = 0; part < PARTS; part++) {
		part_path((enum part)part, o->subscription, o->resource_group, path, sizeof(path));
		if (list_into(p, part_list_what((enum part)part), path, &l.parts[part], bound,
			    err) < 0)
			return -1;
	}
	vms_path(o->subscription, o->resource_group, path, sizeof(path));
	if (list_into(p, "list VMs", path, &l.vms, bound, err) < 0 || add_vms(&l, err) < 0)
		return -1;
	for (unsigned part = 0; part < PARTS; part++) {
		if (add_leftovers(&l, (enum part)part, err) < 0)
			return -1;
	}
	*instances = take_ptr(l.list);
	*count = l.count;
	l.count = 0;
	return 0;
}

/* ---- the console --------------------------------------------------------------------------------------------- */

/* The log lies in a storage account of Microsoft's, behind a URL that is a secret itself. */
static void console_read(struct provider *p, const struct arm_id *id, struct buf *out,
	const struct bound *bound)
{
	cleanup_reply reply = {0};
	char path[600];
	snprintf(path, sizeof(path),
		"/subscriptions/%s/resourceGroups/%s/providers/" KIND_VM
		"/%s/retrieveBootDiagnosticsData?api-version=" VERSION_VM,
		id->subscription, id->group, id->name);
	const struct arm_request request = {"POST", ARM_READ, path, NULL, NULL, "read the console"};
	if (arm_call(p->arm, &request, &reply, bound, NULL) < 0)
		return;
	const char *url = text_of(reply.body, "serialConsoleLogBlobUri", NULL);
	if (*url)
		arm_fetch_blob(p->arm, url, CONSOLE_MAX, out, bound);
}

char *driver_console_tail(struct provider *p, const char *id, size_t max, const struct bound *bound)
{
	struct arm_id arm;
	cleanup(buf_free) struct buf text = BUF_INIT;
	cleanup_json *vm = NULL;
	cleanup_error why = ERROR_INIT;
	if (arm_id_parse("instance id", id, KIND_VM, &arm, NULL) < 0)
		return strdup("");
	if (p->options->boot_diagnostics)
		console_read(p, &arm, &text, bound);
	/* Without a console there may be a reason of Azure's own. */
	else if (vm_get(p, &arm, true, &vm, bound, NULL) == 0 && vm_state(vm) == VM_FAILED) {
		vm_failure(vm, &why);
		buf_printf(&text, "(Azure) %s", error_message(&why));
	}
	return strndup(buf_text(&text) + (text.len > max ? text.len - max : 0), max);
}
