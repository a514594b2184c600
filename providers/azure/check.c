/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - the configuration against the cloud, without making anything; see driver.h
 *
 * A table of looks; each adds its rows. Only where Azure does not take the credentials the others are left out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "providers/azure/driver.h"
#include "providers/azure/failure.h"
#include "providers/azure/permissions.h"
#include "providers/azure/ssh_key.h"
#include "providers/azure/vm.h"

struct check {
	struct provider *p;
	struct check_report *report;
	const struct bound *bound;
};

#define ROLE_REMEDY "give the identity the role of docs/providers/azure-role.json"

/* A row for what Azure did not answer. role: what to do where a right is missing; other: where something else is. */
static void check_refusal(struct check *c, const char *what, const char *role, const char *other,
	struct error *why)
{
	check_failure(c->report, what, why->kind == ERROR_DENIED ? role : other, why);
}

/* 0: Azure answers, whatever it says of the group; -1: it does not take the credentials, or cannot be reached. */
static int check_group(struct check *c, struct error *err)
{
	const struct azure_options *o = c->p->options;
	cleanup_error why = ERROR_INIT;
	cleanup_json *group = arm_get(c->p->arm, "look at the resource group", c->bound, &why,
		"/subscriptions/%s/resourceGroups/%s?api-version=" VERSION_GROUP, o->subscription,
		o->resource_group);
	bool refused = failure_has_code(&why, "AuthorizationFailed");
	if (!group && why.status < 300 && !refused)
		return check_give_up(c->report, "credentials", NULL, &why, err);
	if (!group && why.status == 401)
		return check_give_up(c->report, "credentials",
			"check AZURE_TENANT_ID and AZURE_AUTHORITY_HOST", &why, err);
	check_right(c->report, "credentials", "Azure takes them (%s)", arm_credential(c->p->arm));
	if (refused) /* a role on the group need not have this */
		check_unknown(c->report, "AZURE_RESOURCE_GROUP", "%s", error_message(&why));
	else if (!group)
		check_failure(c->report, "AZURE_RESOURCE_GROUP",
			"make it, or name the one in which pod VMs are to be made", &why);
	else
		check_right(c->report, "AZURE_RESOURCE_GROUP", "%s, in %s", o->resource_group,
			text_of(group, "location", NULL));
	return 0;
}

static void check_subnet(struct check *c, const char *variable, const char *id)
{
	cleanup_error why = ERROR_INIT;
	cleanup_json *subnet = arm_get(c->p->arm, "look at the subnet", c->bound, &why,
		"%s?api-version=" VERSION_NETWORK, id);
	if (!subnet) {
		check_refusal(c, variable, ROLE_REMEDY " on the virtual network",
			"az network vnet subnet list shows the ids of those that there are", &why);
		return;
	}
	size_t used = json_array_size(
		json_object_get(json_object_get(subnet, "properties"), "ipConfigurations"));
	check_right(c->report, variable, "%s, %s, %zu addresses in use", resource_name(subnet),
		text_of(subnet, "properties", "addressPrefix", NULL), used);
}

static void check_network(struct check *c)
{
	const struct azure_options *o = c->p->options;
	cleanup_error why = ERROR_INIT;
	cleanup_list subnets = list_split(o->subnets);
	for (char **one = subnets; one && *one; one++)
		check_subnet(c, "AZURE_SUBNET_ID", *one);
	if (*o->second_subnet)
		check_subnet(c, "AZURE_SECOND_SUBNET_ID", o->second_subnet);
	if (!*o->security_group) {
		if (o->public_ip)
			check_wrong(c->report, ERROR_INVALID, "AZURE_NSG_ID",
				"set it to a group that lets the workers reach TCP 15150 and UDP 4789",
				"public addresses let nothing in without a security group");
		return;
	}
	cleanup_json *nsg = arm_get(c->p->arm, "look at the security group", c->bound, &why,
		"%s?api-version=" VERSION_NETWORK, o->security_group);
	if (!nsg)
		check_refusal(c, "AZURE_NSG_ID", ROLE_REMEDY " on the security group",
			"az network nsg list shows the ids of those that there are", &why);
	else if (!is_region(text_of(nsg, "location", NULL), o->region))
		check_wrong(c->report, ERROR_INVALID, "AZURE_NSG_ID",
			"name one of the region of the pod VMs",
			"it is in %s, the pod VMs are in %s", text_of(nsg, "location", NULL),
			o->region);
	else
		check_right(c->report, "AZURE_NSG_ID", "%s", resource_name(nsg));
}

static void check_image(struct check *c)
{
	const struct azure_options *o = c->p->options;
	cleanup_error why = ERROR_INIT;
	struct image_facts facts = {0};
	if (image_look(c->p->images, o->image, c->bound, &why) < 0) {
		check_failure(c->report, "AZURE_IMAGE_ID",
			"name an image that exists in this region, and give the identity Reader on its gallery",
			&why);
		return;
	}
	if (image_facts_get(c->p->images, o->image, &facts, c->bound, &why) < 0) {
		check_unknown(c->report, "AZURE_IMAGE_ID", "what it can do: %s",
			error_message(&why));
		return;
	}
	const char *reason = o->disable_cvm ? NULL : image_not_confidential(&facts);
	if (reason)
		check_wrong(c->report, ERROR_INVALID, "AZURE_IMAGE_ID",
			"make a definition with --hyper-v-generation V2 and "
			"--features SecurityType=ConfidentialVmSupported, or set DISABLECVM=true",
			"%s", reason);
	else
		check_right(c->report, "AZURE_IMAGE_ID", "%s%s%s%s%s",
			*facts.generation ? facts.generation : "it exists",
			*facts.architecture ? ", " : "", facts.architecture,
			*facts.security ? ", " : "", facts.security);
}

/* ---- sizes and quota ----------------------------------------------------------------------------------------- */

static int usages(struct check *c, json_t **list, struct error *err)
{
	const struct azure_options *o = c->p->options;
	cleanup_json *answer = arm_get(c->p->arm, "look at quotas", c->bound, err,
		"/subscriptions/%s/providers/Microsoft.Compute/locations/%s/usages"
		"?api-version=" VERSION_USAGES,
		o->subscription, o->region);
	*list = json_incref(json_object_get(answer, "value"));
	return answer ? 0 : -1;
}

#define NO_QUOTA INT64_MIN

/* The cores that are left of a quota, less than none where more are in use; NO_QUOTA: there is none of that name. */
static int64_t cores_left(const json_t *list, const char *name)
{
	size_t i;
	const json_t *one;
	json_array_foreach(list, i, one)
	{
		if (!strcasecmp(text_of(one, "name", "value", NULL), name))
			return json_integer_value(json_object_get(one, "limit")) -
			       json_integer_value(json_object_get(one, "currentValue"));
	}
	return NO_QUOTA;
}

static void check_quota(struct check *c, const struct size *s, const json_t *list)
{
	bool spot, on_demand;
	azure_options_markets(c->p->options, MARKET_DEFAULT, &spot, &on_demand);
	const char *names[] = {spot ? "lowPriorityCores" : "", on_demand ? s->family : "",
		on_demand ? "cores" : ""};
	for (size_t i = 0; i < array_size(names); i++) {
		int64_t left = cores_left(list, names[i]);
		if (!*names[i])
			continue;
		if (left == NO_QUOTA)
			check_unknown(c->report, "quota", "%s: Azure tells no quota %s", s->name,
				names[i]);
		else if (left < s->facts.vcpus)
			check_wrong(c->report, ERROR_QUOTA, "quota",
				"ask Microsoft for a higher quota, or allow other sizes",
				"%s: %lld of the cores of quota %s are left, it needs %lld",
				s->name, (long long)left, names[i], (long long)s->facts.vcpus);
		else
			check_right(c->report, "quota", "%s: %lld cores of quota %s are left",
				s->name, (long long)left, names[i]);
	}
}

static bool has_zone(const struct size *s, const char *zone)
{
	for (size_t i = 0; i < ZONES_MAX && *s->zones[i]; i++) {
		if (!strcmp(s->zones[i], zone))
			return true;
	}
	return !s->zones_known;
}

static void check_size(struct check *c, const struct size *s)
{
	const struct azure_options *o = c->p->options;
	cleanup_list zones = list_split(o->zones);
	if (s->refused) {
		check_wrong(c->report, ERROR_INVALID, "sizes",
			"ask Microsoft for access, or take another size or region",
			"%s: this subscription may not have it in %s: %s", s->name, o->region,
			s->refusal);
		return;
	}
	if (!o->disable_cvm && !s->facts.tees) {
		check_wrong(c->report, ERROR_INVALID, "sizes",
			"use a DCas, ECas, DCes or ECes size, or set DISABLECVM=true",
			"%s makes no confidential VM", s->name);
		return;
	}
	const char *why_not = size_why_not(s, o);
	if (why_not) {
		check_wrong(c->report, ERROR_INVALID, "sizes",
			"change the option, or take another size", "%s: %s", s->name, why_not);
		return;
	}
	for (char **zone = zones; zone && *zone; zone++) {
		if (!has_zone(s, *zone))
			check_wrong(c->report, ERROR_INVALID, "sizes",
				"leave the zone out of -zone", "%s is not offered in zone %s",
				s->name, *zone);
	}
	check_right(c->report, "sizes", "%s: %lld vCPU, %lld MiB%s", s->name,
		(long long)s->facts.vcpus, (long long)s->facts.memory_mib,
		s->facts.tees & CHOICE_TEE_SNP   ? ", SEV-SNP"
		: s->facts.tees & CHOICE_TEE_TDX ? ", TDX"
						 : "");
}

static void check_sizes(struct check *c)
{
	const struct azure_options *o = c->p->options;
	cleanup_error why = ERROR_INIT, no_quota = ERROR_INIT;
	cleanup(free_ptr) const struct size **sizes = NULL;
	cleanup_json *quotas = NULL;
	size_t count = 0;
	bool known;
	cleanup_list names = list_split(*o->sizes ? o->sizes : o->size);
	if (catalogue_require(c->p->catalogue, c->bound, &why) < 0) {
		check_refusal(c, "sizes", ROLE_REMEDY " on the subscription",
			"check AZURE_SUBSCRIPTION_ID and AZURE_REGION", &why);
		return;
	}
	if (!names || catalogue_sizes(c->p->catalogue, names, &sizes, &count, &known, c->bound,
			      &why) < 0) {
		check_failure(c->report, "sizes", NULL, &why);
		return;
	}
	if (usages(c, &quotas, &no_quota) < 0)
		check_refusal(c, "quota", ROLE_REMEDY " on the subscription", NULL, &no_quota);
	bool default_listed = false;
	for (char **name = names; *name; name++)
		default_listed |= !strcasecmp(*name, o->size);
	if (!default_listed)
		check_note(c->report, "sizes",
			"%s, the default, is not in AZURE_INSTANCE_SIZES: pods that ask for nothing are refused",
			o->size);
	for (char **name = names; *name; name++) {
		const struct size *found = NULL;
		for (size_t i = 0; i < count; i++)
			found = strcasecmp(sizes[i]->name, *name) ? found : sizes[i];
		if (!found) {
			check_wrong(c->report, ERROR_INVALID, "sizes",
				"correct AZURE_INSTANCE_SIZE and AZURE_INSTANCE_SIZES",
				"there is no size %s in region %s", *name, o->region);
			continue;
		}
		check_size(c, found);
		if (quotas)
			check_quota(c, found, quotas);
	}
}

/* ---- permissions --------------------------------------------------------------------------------------------- */

static bool is_due(const struct azure_options *o, const struct action *a)
{
	switch (a->when) {
	case WHEN_ALWAYS:
		return true;
	case WHEN_PUBLIC_IP:
		return o->public_ip;
	case WHEN_CONSOLE:
		return o->boot_diagnostics;
	}
	return true;
}

static void check_scope(struct check *c, enum action_scope scope, const char *what, const char *id)
{
	cleanup_error why = ERROR_INIT;
	cleanup(buf_free) struct buf missing = BUF_INIT;
	cleanup_json *permissions = arm_get(c->p->arm, "look at permissions", c->bound, &why,
		"%s/providers/Microsoft.Authorization/permissions?api-version=" VERSION_PERMISSIONS,
		id);
	if (!permissions) {
		check_unknown(c->report, "permissions", "on %s: %s", what, error_message(&why));
		return;
	}
	for (size_t i = 0; i < ACTION_COUNT; i++) {
		const struct action *a = &needed_actions[i];
		if (a->scope == scope && is_due(c->p->options, a) &&
			!action_is_allowed(permissions, a->name))
			buf_printf(&missing, "%s%s", missing.len ? ", " : "", a->name);
	}
	if (missing.len)
		check_wrong(c->report, ERROR_DENIED, "permissions", ROLE_REMEDY " there",
			"on %s these are missing: %s", what, buf_text(&missing));
	else
		check_right(c->report, "permissions", "all that is needed on %s", what);
}

static void check_permissions(struct check *c)
{
	const struct azure_options *o = c->p->options;
	char group[300];
	snprintf(group, sizeof(group), "/subscriptions/%s/resourceGroups/%s", o->subscription,
		o->resource_group);
	check_scope(c, SCOPE_GROUP, "the resource group", group);
	cleanup_list subnets = list_split(o->subnets);
	for (char **one = subnets; one && *one; one++)
		check_scope(c, SCOPE_SUBNET, "the subnet", *one);
	if (*o->second_subnet)
		check_scope(c, SCOPE_SUBNET, "the second subnet", o->second_subnet);
	if (*o->security_group)
		check_scope(c, SCOPE_NSG, "the security group", o->security_group);
}

static void check_key_file(struct check *c)
{
	const struct azure_options *o = c->p->options;
	cleanup_error why = ERROR_INIT;
	cleanup(buf_free) struct buf key = BUF_INIT, path = BUF_INIT;
	struct stat st;
	if (!*o->ssh_key_path)
		return;
	if (path_expand(o->ssh_key_path, &path, &why) < 0 ||
		ssh_key_read(o->ssh_key_path, &key, &why) < 0)
		check_failure(c->report, "-ssh-key-path",
			"name a file with one public key, as ssh-keygen writes it to NAME.pub",
			&why);
	else if (stat(buf_text(&path), &st) == 0 && (st.st_mode & (S_IWGRP | S_IWOTH)))
		check_wrong(c->report, ERROR_INVALID, "-ssh-key-path", "chmod 0600 the file",
			"others may write to %s", buf_text(&path));
	else
		check_right(c->report, "-ssh-key-path", "%s", buf_text(&path));
}

int driver_check(struct provider *p, struct check_report *report, const struct bound *bound,
	struct error *err)
{
	static void (*const looks[])(
		struct check *) = {check_network, check_image, check_sizes, check_permissions};
	struct check c = {p, report, bound};
	check_key_file(&c);
	if (check_group(&c, err) < 0)
		return -1;
	for (size_t i = 0; i < array_size(looks); i++) {
		looks[i](&c);
		if (bound_check(bound, "check", err) < 0)
			return -1;
	}
	return check_conclude(report, err);
}
