/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.c - see vm.h
 *
 * Labels are for finding: their values are short and lower-case. The exact names are in the description, which a list
 * brings along without the metadata, where the user data is.
 */
#include "providers/gcp/vm.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "providers/gcp/encode.h"
#include "providers/gcp/family.h"

#define DESCRIPTION_MAX 2048 /* Compute Engine's own limit */

void vm_free(struct vm *vm)
{
	char *strings[] = {vm->name, vm->zone, vm->status, vm->status_message, vm->numeric_id,
		vm->public_ip, vm->token, vm->cluster, vm->node, vm->pod_namespace, vm->pod,
		vm->sandbox};
	for (size_t i = 0; i < array_size(strings); i++)
		free(strings[i]);
	for (size_t i = 0; i < VM_NICS_MAX; i++)
		free(vm->addresses[i]);
	*vm = (struct vm){0};
}

static char *text_at(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text && *text ? strdup(text) : NULL;
}

/* int64 comes as a string, and an old answer may have a number. */
static char *number_at(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	char *text = NULL;
	if (json_is_integer(value))
		return asprintf(&text, "%lld", (long long)json_integer_value(value)) < 0 ? NULL
											 : text;
	return text_at(object, key);
}

static void read_owner(const json_t *item, struct vm *vm)
{
	const struct {
		const char *label, *key;
		char **to;
	} parts[] = {
		{LABEL_CLUSTER, "cluster", &vm->cluster},
		{LABEL_NODE, "node", &vm->node},
		{LABEL_NAMESPACE, "namespace", &vm->pod_namespace},
		{LABEL_POD, "pod", &vm->pod},
		{LABEL_SANDBOX, "sandbox", &vm->sandbox},
	};
	const json_t *labels = json_object_get(item, "labels");
	const char *text = json_string_value(json_object_get(item, "description"));
	cleanup_json *exact =
		text ? json_parse("description", text, strlen(text), DESCRIPTION_MAX, false, NULL)
		     : NULL;
	vm->token = text_at(labels, LABEL_TOKEN);
	for (size_t i = 0; i < array_size(parts); i++) {
		char *value = text_at(labels, parts[i].label);
		char *whole = text_at(exact, parts[i].key);
		char expected[NAME_SIZE] = "";
		if (whole)
			label_value(whole, expected);
		/* Anybody may write a description; the label is what it was listed by. */
		if (whole && value && !strcmp(expected, value)) {
			free(value);
			value = take_ptr(whole);
		}
		free(whole);
		*parts[i].to = value;
	}
}

static void read_nics(const json_t *item, struct vm *vm)
{
	size_t i;
	json_t *nic;
	json_array_foreach(json_object_get(item, "networkInterfaces"), i, nic)
	{
		if (i >= VM_NICS_MAX)
			break;
		vm->nics = i + 1;
		vm->addresses[i] = text_at(nic, "networkIP");
		if (i == 0)
			vm->public_ip =
				text_at(json_array_get(json_object_get(nic, "accessConfigs"), 0),
					"natIP");
	}
}

/* "SEV" is also what the API means where it says nothing but that it is confidential. */
static enum instance_tee read_tee(const json_t *item)
{
	const json_t *config = json_object_get(item, "confidentialInstanceConfig");
	const char *type = json_string_value(json_object_get(config, "confidentialInstanceType"));
	enum instance_tee tee = type ? family_tee(type) : TEE_DEFAULT;
	if (tee != TEE_DEFAULT)
		return tee;
	return json_is_true(json_object_get(config, "enableConfidentialCompute")) ? TEE_SEV
										  : TEE_NONE;
}

int vm_read(const json_t *item, struct vm *vm, struct error *err)
{
	const char *zone = json_string_value(json_object_get(item, "zone"));
	*vm = (struct vm){.name = text_at(item, "name"),
		.zone = zone ? strdup(path_last(zone)) : NULL,
		.status = text_at(item, "status"),
		.status_message = text_at(item, "statusMessage"),
		.numeric_id = number_at(item, "id"),
		.tee = read_tee(item)};
	if (!vm->name || !vm->zone || !vm->status || !name_is_plain(vm->name) ||
		!name_is_plain(vm->zone)) {
		vm_free(vm);
		return error_set(err, ERROR_RETRY,
			"the answer holds an instance without a name, a zone or a status");
	}
	if (!time_read(json_string_value(json_object_get(item, "creationTimestamp")), &vm->created))
		vm->created = 0;
	read_owner(item, vm);
	read_nics(item, vm);
	return 0;
}

bool vm_is_ours(const struct vm *vm)
{
	return vm->token;
}

static bool listed(const char *status, const char *const *list)
{
	for (; *list; list++) {
		if (!strcmp(*list, status))
			return true;
	}
	return false;
}

bool vm_is_dead(const struct vm *vm)
{
	static const char *const dead[] = {"DEPROVISIONING", "PENDING_STOP", "STOPPING", "STOPPED",
		"SUSPENDING", "SUSPENDED", "TERMINATED", NULL};
	return listed(vm->status, dead);
}

bool vm_is_placed(const struct vm *vm)
{
	static const char *const placed[] = {"STAGING", "RUNNING", "REPAIRING", NULL};
	return listed(vm->status, placed);
}

static char *give_text(char **from)
{
	char *text = take_ptr(*from);
	return text ? text : strdup("");
}

int vm_give(struct vm *vm, bool public_ip, struct instance *instance, struct error *err)
{
	size_t count = 0;
	*instance = (struct instance){
		.id = strdup(vm->name),
		.name = give_text(&vm->name),
		.sandbox = give_text(&vm->sandbox),
		.node = give_text(&vm->node),
		.cluster = give_text(&vm->cluster),
		.pod = give_text(&vm->pod),
		.pod_namespace = give_text(&vm->pod_namespace),
		.token = give_text(&vm->token),
		.addresses = calloc(VM_NICS_MAX + 1, sizeof(char *)),
		.created = vm->created,
	};
	if (!instance->id || !instance->name || !instance->sandbox || !instance->node ||
		!instance->cluster || !instance->pod || !instance->pod_namespace ||
		!instance->token || !instance->addresses) {
		instance_free(instance);
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	for (size_t i = 0; i < VM_NICS_MAX; i++) {
		char **from = i == 0 && public_ip ? &vm->public_ip : &vm->addresses[i];
		if (!*from)
			break;
		instance->addresses[count++] = take_ptr(*from);
	}
	if (public_ip && count && count == vm->nics && vm->addresses[0])
		instance->addresses[count] = take_ptr(vm->addresses[0]);
	return 0;
}

char *vm_description(const struct instance_owner *owner)
{
	cleanup_json *o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "cluster", owner->cluster, "node",
		owner->node, "namespace", owner->pod_namespace, "pod", owner->pod, "sandbox",
		owner->sandbox);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	if (text && strlen(text) > DESCRIPTION_MAX)
		*text = '\0';
	return text;
}
