/* SPDX-License-Identifier: Apache-2.0 */
/* vm.c - see vm.h */
#include "providers/azure/vm.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/json.h"
#include "providers/azure/failure.h"
#include "providers/azure/tags.h"

#define NICS_MAX 8

const char *text_of(const json_t *value, ...)
{
	va_list keys;
	va_start(keys, value);
	for (const char *key; value && (key = va_arg(keys, const char *));)
		value = json_object_get(value, key);
	va_end(keys);
	const char *text = json_string_value(value);
	return text ? text : "";
}

const char *resource_id(const json_t *resource)
{
	return text_of(resource, "id", NULL);
}

const char *resource_name(const json_t *resource)
{
	return text_of(resource, "name", NULL);
}

enum vm_state vm_state(const json_t *vm)
{
	static const struct {
		const char *name;
		enum vm_state state;
	} states[] = {
		{"Succeeded", VM_READY},
		{"Failed", VM_FAILED},
		{"Canceled", VM_FAILED},
		{"Deleting", VM_GOING},
	};
	const char *name = text_of(vm, "properties", "provisioningState", NULL);
	for (size_t i = 0; i < array_size(states); i++) {
		if (!strcasecmp(name, states[i].name))
			return states[i].state;
	}
	return VM_COMING; /* Creating, Updating, Migrating */
}

int64_t time_parse(const char *text)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (rest && *rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (!rest || (strcmp(rest, "Z") != 0 && strcmp(rest, "+00:00") != 0))
		return 0;
	time_t t = timegm(&tm);
	return t > 0 ? t : 0;
}

int64_t resource_created(const json_t *resource)
{
	int64_t when = time_parse(text_of(resource, "properties", "timeCreated", NULL));
	const char *tagged = tag_of(resource, TAG_CREATED);
	if (when || !*tagged || strspn(tagged, "0123456789") != strlen(tagged) ||
		strlen(tagged) > 15)
		return when;
	return strtoll(tagged, NULL, 10);
}

static const json_t *nic_configurations(const json_t *nic)
{
	return json_object_get(json_object_get(nic, "properties"), "ipConfigurations");
}

const char *nic_address(const json_t *nic)
{
	size_t i;
	const json_t *one;
	json_array_foreach(nic_configurations(nic), i, one)
	{
		const char *address = text_of(one, "properties", "privateIPAddress", NULL);
		if (*address && strcmp(address, "0.0.0.0") != 0)
			return address;
	}
	return "";
}

const char *nic_public_ip(const json_t *nic)
{
	size_t i;
	const json_t *one;
	json_array_foreach(nic_configurations(nic), i, one)
	{
		const char *id = text_of(one, "properties", "publicIPAddress", "id", NULL);
		if (*id)
			return id;
	}
	return "";
}

bool nic_is_on_a_host(const json_t *nic)
{
	return *text_of(nic, "properties", "macAddress", NULL);
}

const char *nic_vm(const json_t *nic)
{
	return text_of(nic, "properties", "virtualMachine", "id", NULL);
}

static bool nic_is_primary(const json_t *nic)
{
	return json_is_true(json_object_get(json_object_get(nic, "properties"), "primary"));
}

int addresses_give(const json_t *nics, const char *public_ip, struct instance *instance,
	struct error *err)
{
	const json_t *order[NICS_MAX], *nic;
	size_t count = 0, given = 0, i;
	json_array_foreach(nics, i, nic)
	{
		if (count == NICS_MAX)
			break;
		size_t at = count++;
		for (; at && nic_is_primary(nic); at--)
			order[at] = order[at - 1];
		order[at] = nic;
	}
	instance->addresses = calloc(NICS_MAX + 1, sizeof(char *));
	if (!instance->addresses)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (i = 0; i < count; i++) {
		const char *address = i == 0 && public_ip ? public_ip : nic_address(order[i]);
		if (!*address)
			break;
		if (!(instance->addresses[given++] = strdup(address)))
			return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	return 0;
}

int instance_give(const char *id, const char *name, const json_t *tagged, struct instance *instance,
	struct error *err)
{
	*instance = (struct instance){
		.id = strdup(id),
		.name = strdup(name),
		.sandbox = strdup(tag_of(tagged, TAG_SANDBOX)),
		.node = strdup(tag_of(tagged, TAG_NODE)),
		.cluster = strdup(tag_of(tagged, TAG_CLUSTER)),
		.pod = strdup(tag_of(tagged, TAG_POD)),
		.pod_namespace = strdup(tag_of(tagged, TAG_NAMESPACE)),
		.token = strdup(tag_of(tagged, TAG_TOKEN)),
		.created = resource_created(tagged),
	};
	if (instance->id && instance->name && instance->sandbox && instance->node &&
		instance->cluster && instance->pod && instance->pod_namespace && instance->token)
		return 0;
	instance_free(instance);
	return error_set(err, ERROR_CAPACITY, "out of memory");
}

/* "ProvisioningState/failed/AllocationFailed" with a message. */
int vm_failure(const json_t *vm, struct error *err)
{
	static const char failed[] = "ProvisioningState/failed";
	const json_t *view = json_object_get(json_object_get(vm, "properties"), "instanceView");
	size_t i;
	const json_t *status;
	json_array_foreach(json_object_get(view, "statuses"), i, status)
	{
		const char *code = text_of(status, "code", NULL);
		if (strncasecmp(code, failed, sizeof(failed) - 1) != 0)
			continue;
		code += sizeof(failed) - 1;
		cleanup_json *error =
			json_pack("{s:s, s:s}", "code", *code == '/' ? code + 1 : code, "message",
				text_of(status, "message", NULL));
		return failure_of_object(error, 0, "", err);
	}
	return error_set(err, ERROR_INVALID, "Azure gives no reason");
}
