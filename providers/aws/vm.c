/* SPDX-License-Identifier: Apache-2.0 */
/* vm.c - see vm.h */
#include "providers/aws/vm.h"

#include <stdlib.h>
#include <string.h>

#include "providers/aws/credentials.h"
#include "providers/aws/tags.h"

void vm_free(struct vm *vm)
{
	char *strings[] = {vm->id, vm->state, vm->reason_code, vm->reason, vm->snp, vm->public_ip,
		vm->name, vm->token, vm->cluster, vm->node, vm->pod_namespace, vm->pod,
		vm->sandbox};
	for (size_t i = 0; i < array_size(strings); i++)
		free(strings[i]);
	for (size_t i = 0; i < VM_NICS_MAX; i++)
		free(vm->addresses[i]);
	*vm = (struct vm){0};
}

static void read_tags(xmlNode *item, struct vm *vm)
{
	const struct {
		const char *key;
		char **to;
	} tags[] = {
		{"Name", &vm->name},
		{TAG_TOKEN, &vm->token},
		{TAG_CLUSTER, &vm->cluster},
		{TAG_NODE, &vm->node},
		{TAG_NAMESPACE, &vm->pod_namespace},
		{TAG_POD, &vm->pod},
		{TAG_SANDBOX, &vm->sandbox},
	};
	for (xmlNode *tag = xml_first_item(item, "tagSet"); tag; tag = xml_next_item(tag)) {
		cleanup(free_ptr) char *key = xml_text(tag, "key");
		for (size_t i = 0; key && i < array_size(tags); i++) {
			if (!strcmp(key, tags[i].key) && !*tags[i].to)
				*tags[i].to = xml_text(tag, "value");
		}
	}
}

static void read_nics(xmlNode *item, struct vm *vm)
{
	for (xmlNode *nic = xml_first_item(item, "networkInterfaceSet"); nic;
		nic = xml_next_item(nic)) {
		int64_t index = xml_number(nic, "attachment/deviceIndex", 0);
		if (index < 0 || index >= VM_NICS_MAX || vm->addresses[index])
			continue;
		vm->addresses[index] = xml_text(nic, "privateIpAddress");
		if (index == 0 && !vm->public_ip)
			vm->public_ip = xml_text(nic, "association/publicIp");
	}
	if (!vm->addresses[0])
		vm->addresses[0] = xml_text(item, "privateIpAddress");
	if (!vm->public_ip)
		vm->public_ip = xml_text(item, "ipAddress");
	for (size_t i = 0; i < VM_NICS_MAX; i++) {
		if (vm->addresses[i] && !strcmp(vm->addresses[i], "0.0.0.0"))
			free(take_ptr(vm->addresses[i]));
	}
}

int vm_read(xmlNode *item, struct vm *vm, struct error *err)
{
	*vm = (struct vm){.id = xml_text(item, "instanceId")};
	if (!vm->id)
		return error_set(err, ERROR_RETRY, "the answer holds an instance without an id");
	vm->state = xml_text(item, "instanceState/name");
	vm->reason_code = xml_text(item, "stateReason/code");
	vm->reason = xml_text(item, "stateReason/message");
	vm->snp = xml_text(item, "cpuOptions/amdSevSnp");
	cleanup(free_ptr) char *launched = xml_text(item, "launchTime");
	int64_t when = launched ? aws_time_parse(launched) : 0;
	vm->launched = when > 0 ? when : 0;
	read_tags(item, vm);
	read_nics(item, vm);
	return 0;
}

bool vm_is_dead(const struct vm *vm)
{
	return vm->state &&
	       (!strcmp(vm->state, "terminated") || !strcmp(vm->state, "shutting-down"));
}

static char *or_empty(char **text)
{
	return *text ? take_ptr(*text) : strdup("");
}

int vm_give(struct vm *vm, bool public_ip, struct instance *instance, struct error *err)
{
	*instance = (struct instance){
		.id = vm->id,
		.name = or_empty(&vm->name),
		.sandbox = or_empty(&vm->sandbox),
		.node = or_empty(&vm->node),
		.cluster = or_empty(&vm->cluster),
		.pod = or_empty(&vm->pod),
		.pod_namespace = or_empty(&vm->pod_namespace),
		.token = or_empty(&vm->token),
		.created = vm->launched,
		.addresses = calloc(VM_NICS_MAX + 1, sizeof(char *)),
	};
	vm->id = NULL;
	if (!instance->addresses) {
		instance_free(instance);
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	size_t count = 0;
	if (public_ip && !vm->public_ip)
		return 0;
	for (size_t i = 0; i < VM_NICS_MAX; i++) {
		char **from = public_ip && i == 0 ? &vm->public_ip : &vm->addresses[i];
		if (!*from)
			break;
		instance->addresses[count++] = take_ptr(*from);
	}
	return 0;
}
