/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extras.c - see extras.h
 *
 * Each step looks first and acts on what is missing, so that it can be repeated from any point. Allocating an address
 * is the one call that EC2 does not make idempotent: after an answer that did not come, the tags tell whether there is
 * one, and where two were made after all the second one goes.
 */
#include "providers/aws/extras.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "providers/aws/resource.h"

#define ADDRESS "address"
#define INTERFACE "interface"
#define TRIES_MAX 4
#define LOOKS_MAX 3 /* EC2 shows what is new within seconds */

const char *extras_wanted(const struct aws_options *o, const struct instance_request *r)
{
	if (!r->second_nic)
		return "";
	/* With a template, public addresses are the template's matter. */
	return o->use_launch_template ? INTERFACE : o->use_public_ip ? ADDRESS : "";
}

static int find_of_token(struct provider *p, const struct resource_kind *kind, const char *token,
	unsigned looks, struct resource **list, const struct bound *bound, struct error *err)
{
	const char *const filters[] = {TOKEN_FILTER, token, NULL};
	for (unsigned look = 0;; look++) {
		if (resources_find(p->ec2, kind, filters, list, bound, err) < 0)
			return -1;
		if (*list || look + 1 >= looks)
			return 0;
		if (bound_sleep(bound, poll_pause_ns(look), "look again", err) < 0)
			return -1;
	}
}

/* What was made a moment ago may not be there for every call yet. */
static int do_when_shown(struct provider *p, const struct query *query, const struct bound *bound,
	struct error *err)
{
	for (unsigned looks = 0;; looks++) {
		cleanup_error why = ERROR_INIT;
		if (ec2_do(p->ec2, EC2_CHANGE, query, bound, &why) == 0)
			return 0;
		if (why.kind != ERROR_GONE || looks + 1 == LOOKS_MAX)
			return error_move(err, &why);
		if (bound_sleep(bound, poll_pause_ns(looks), query->action, err) < 0)
			return -1;
	}
}

/* ---- the elastic address ----------------------------------------------------------------------------------- */

static int allocate(struct provider *p, const struct instance_request *r, const struct bound *bound,
	struct error *err)
{
	cleanup_query query = {0};
	query_start(&query, "AllocateAddress", EC2_VERSION);
	query.once = true;
	query_add(&query, "vpc", "Domain");
	if (tags_add(&query, 1, "elastic-ip", r, "", p->options->tags, err) < 0)
		return -1;
	return ec2_do(p->ec2, EC2_CHANGE, &query, bound, err);
}

/* The one that there is, or a new one. */
static int address_have(struct provider *p, const struct instance_request *r,
	struct resource **list, const struct bound *bound, struct error *err)
{
	unsigned looks = 1;
	for (unsigned tries = 0;; tries++) {
		cleanup_error why = ERROR_INIT;
		if (find_of_token(p, &resource_address, r->token, looks, list, bound, err) < 0)
			return -1;
		if (*list)
			return 0;
		if (tries == TRIES_MAX)
			return error_set(err, ERROR_RETRY,
				"EC2 shows no elastic address after %u allocations", tries);
		if (allocate(p, r, bound, &why) < 0 && why.kind != ERROR_RETRY)
			return error_move(err, &why);
		looks = LOOKS_MAX;
	}
}

static int address_make(struct provider *p, const struct vm *vm, const struct instance_request *r,
	const struct bound *bound, struct error *err)
{
	cleanup(resource_free_ptr) struct resource *list = NULL;
	const char *nic = vm->nics[0].id;
	if (!nic)
		return error_set(err, ERROR_RETRY, "EC2 shows no network interface of it");
	if (address_have(p, r, &list, bound, err) < 0)
		return -1;
	const struct resource *chosen = list;
	for (const struct resource *a = list; a; a = a->next)
		chosen = a->user && !strcmp(a->user, nic) ? a : chosen;
	for (const struct resource *a = list; a; a = a->next) {
		if (a != chosen && resource_remove(p->ec2, &resource_address, a, bound, err) < 0)
			return -1;
	}
	if (!chosen)
		return error_set(err, ERROR_RETRY, "EC2 shows no elastic address of it");
	if (chosen->user && !strcmp(chosen->user, nic))
		return 0;
	cleanup_query query = {0};
	query_start(&query, "AssociateAddress", EC2_VERSION);
	query_add(&query, chosen->id, "AllocationId");
	query_add(&query, nic, "NetworkInterfaceId");
	query_add(&query, "true", "AllowReassociation");
	return do_when_shown(p, &query, bound, err);
}

/* ---- the second interface ---------------------------------------------------------------------------------- */

static int nic_create(struct provider *p, const struct vm *vm, const struct instance_request *r,
	char **id, const struct bound *bound, struct error *err)
{
	cleanup_query query = {0};
	cleanup_xml *reply = NULL;
	const char *configured = p->options->security_groups;
	char **groups = list_split(*configured ? configured : vm->groups ? vm->groups : "");
	char token[64];
	if (!groups)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	/* The instance's id, not the pod's token: another instance of the pod needs another interface. */
	snprintf(token, sizeof(token), "%s-nic-1", vm->id);
	query_start(&query, "CreateNetworkInterface", EC2_VERSION);
	query_add(&query, token, "ClientToken");
	query_add(&query, vm->nics[0].subnet, "SubnetId");
	for (unsigned i = 0; groups[i]; i++)
		query_add(&query, groups[i], "SecurityGroupId.%u", i + 1);
	list_free(groups);
	if (tags_add(&query, 1, "network-interface", r, "", p->options->tags, err) < 0 ||
		ec2_call(p->ec2, EC2_CHANGE, &query, &reply, bound, err) < 0)
		return -1;
	*id = xml_text(xmlDocGetRootElement(reply), "networkInterface/networkInterfaceId");
	return *id ? 0
		   : error_set(err, ERROR_RETRY,
			     "CreateNetworkInterface: the answer holds no network interface");
}

static int nic_attach(struct provider *p, const char *instance, const char *nic,
	const struct bound *bound, struct error *err)
{
	cleanup_query query = {0};
	query_start(&query, "AttachNetworkInterface", EC2_VERSION);
	query.once = true;
	query_add(&query, nic, "NetworkInterfaceId");
	query_add(&query, instance, "InstanceId");
	query_add(&query, "1", "DeviceIndex");
	return do_when_shown(p, &query, bound, err);
}

static int nic_goes_with_instance(struct provider *p, const struct vm_nic *nic,
	const struct bound *bound, struct error *err)
{
	cleanup_query query = {0};
	query_start(&query, "ModifyNetworkInterfaceAttribute", EC2_VERSION);
	query_add(&query, nic->id, "NetworkInterfaceId");
	query_add(&query, nic->attachment, "Attachment.AttachmentId");
	query_add(&query, "true", "Attachment.DeleteOnTermination");
	return ec2_do(p->ec2, EC2_CHANGE, &query, bound, err);
}

/* The one that was made before and is attached to nothing, or a new one. */
static int nic_have(struct provider *p, const struct vm *vm, const struct instance_request *r,
	char **id, const struct bound *bound, struct error *err)
{
	cleanup(resource_free_ptr) struct resource *list = NULL;
	if (find_of_token(p, &resource_nic, r->token, 1, &list, bound, err) < 0)
		return -1;
	for (struct resource *n = list; n; n = n->next) {
		if (!n->user)
			return (*id = strdup(n->id))
				       ? 0
				       : error_set(err, ERROR_CAPACITY, "out of memory");
	}
	return nic_create(p, vm, r, id, bound, err);
}

static bool is_attached(const struct vm *vm)
{
	return vm->nics[1].id && vm->nics[1].attachment;
}

/* Until EC2 shows the interface, or has been looked at that often. */
static int nic_look(struct provider *p, struct vm *vm, unsigned looks_max,
	const struct bound *bound, struct error *err)
{
	cleanup(free_ptr) char *id = strdup(vm->id);
	if (!id)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (unsigned looks = 0; looks < looks_max; looks++) {
		vm_free(vm);
		if (describe(p->by_id, id, vm, bound, err) < 0)
			return -1;
		if (is_attached(vm) || looks + 1 == looks_max)
			return 0;
		if (bound_sleep(bound, poll_pause_ns(looks), "wait for the interface", err) < 0)
			return -1;
	}
	return 0;
}

static int nic_make(struct provider *p, struct vm *vm, const struct instance_request *r,
	const struct bound *bound, struct error *err)
{
	cleanup(free_ptr) char *id = NULL;
	if (!vm->nics[0].subnet)
		return error_set(err, ERROR_RETRY, "EC2 shows no network interface of it");
	for (unsigned tries = 1; !is_attached(vm); tries++) {
		cleanup_error why = ERROR_INIT;
		if (!id && nic_have(p, vm, r, &id, bound, err) < 0)
			return -1;
		int result = nic_attach(p, vm->id, id, bound, &why);
		/* An error may mean that it is attached already: by the call whose answer did not come. */
		bool unsure = why.kind == ERROR_RETRY || why.kind == ERROR_INVALID;
		if (result < 0 && !unsure)
			return error_move(err, &why);
		if (nic_look(p, vm, result < 0 ? LOOKS_MAX : UINT_MAX, bound, err) < 0)
			return -1;
		if (result < 0 && !is_attached(vm) &&
			(why.kind == ERROR_INVALID || tries == TRIES_MAX))
			return error_move(err, &why);
	}
	return vm->nics[1].lasts ? nic_goes_with_instance(p, &vm->nics[1], bound, err) : 0;
}

/* ---- both -------------------------------------------------------------------------------------------------- */

int extras_make(struct provider *p, const char *id, const struct instance_request *r,
	const struct bound *bound, struct error *err)
{
	cleanup_vm vm = {0};
	const char *wanted = extras_wanted(p->options, r);
	if (!*wanted)
		return 0;
	if (vm_wait_running(p, id, &vm, bound, err) < 0)
		return -1;
	int result = !strcmp(wanted, ADDRESS) ? address_make(p, &vm, r, bound, err)
					      : nic_make(p, &vm, r, bound, err);
	return result < 0 ? error_prefix(err, "second network interface of %s", id) : 0;
}

int extras_remove(struct provider *p, const struct vm *vm, const char *token,
	const struct bound *bound, struct error *err)
{
	const char *extras = vm && vm->tags.extras ? vm->tags.extras : "";
	bool any = !vm;
	if ((any || !strcmp(extras, ADDRESS)) &&
		resources_remove_of(p->ec2, &resource_address, token, bound, err) < 0)
		return -1;
	if (!any && strcmp(extras, INTERFACE) != 0)
		return 0;
	if (vm && !vm_is_dead(vm) && vm->nics[1].id && vm->nics[1].attachment &&
		vm->nics[1].lasts && nic_goes_with_instance(p, &vm->nics[1], bound, err) < 0)
		return -1;
	return resources_remove_of(p->ec2, &resource_nic, token, bound, err);
}
