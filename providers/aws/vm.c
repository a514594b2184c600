/* SPDX-License-Identifier: Apache-2.0 */
/* vm.c - see vm.h */
#include "providers/aws/vm.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "providers/aws/credentials.h"

void vm_free(struct vm *vm)
{
	char *strings[] = {vm->id, vm->state, vm->reason_code, vm->reason, vm->snp, vm->public_ip,
		vm->type, vm->zone, vm->groups};
	for (size_t i = 0; i < array_size(strings); i++)
		free(strings[i]);
	for (size_t i = 0; i < VM_NICS_MAX; i++) {
		free(vm->nics[i].id);
		free(vm->nics[i].address);
		free(vm->nics[i].subnet);
		free(vm->nics[i].attachment);
	}
	tags_free(&vm->tags);
	*vm = (struct vm){0};
}

static char *read_groups(xmlNode *nic)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	for (xmlNode *group = xml_first_item(nic, "groupSet"); group;
		group = xml_next_item(group)) {
		cleanup(free_ptr) char *id = xml_text(group, "groupId");
		if (id)
			buf_printf(&text, "%s%s", text.len ? "," : "", id);
	}
	return text.len ? buf_take(&text) : NULL;
}

static void read_nics(xmlNode *item, struct vm *vm)
{
	for (xmlNode *i = xml_first_item(item, "networkInterfaceSet"); i; i = xml_next_item(i)) {
		int64_t index = xml_number(i, "attachment/deviceIndex", 0);
		if (index < 0 || index >= VM_NICS_MAX || vm->nics[index].id ||
			vm->nics[index].address)
			continue;
		cleanup(free_ptr) char *goes = xml_text(i, "attachment/deleteOnTermination");
		vm->nics[index] = (struct vm_nic){
			.id = xml_text(i, "networkInterfaceId"),
			.address = xml_text(i, "privateIpAddress"),
			.subnet = xml_text(i, "subnetId"),
			.attachment = xml_text(i, "attachment/attachmentId"),
			.lasts = goes && !strcmp(goes, "false"),
		};
		if (index == 0) {
			vm->public_ip = xml_text(i, "association/publicIp");
			vm->groups = read_groups(i);
		}
	}
	if (!vm->nics[0].address)
		vm->nics[0].address = xml_text(item, "privateIpAddress");
	if (!vm->public_ip)
		vm->public_ip = xml_text(item, "ipAddress");
	for (size_t i = 0; i < VM_NICS_MAX; i++) {
		if (vm->nics[i].address && !strcmp(vm->nics[i].address, "0.0.0.0"))
			free(take_ptr(vm->nics[i].address));
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
	vm->type = xml_text(item, "instanceType");
	vm->zone = xml_text(item, "placement/availabilityZone");
	cleanup(free_ptr) char *launched = xml_text(item, "launchTime"),
			       *lifecycle = xml_text(item, "instanceLifecycle");
	vm->spot = lifecycle && !strcmp(lifecycle, "spot");
	int64_t when = launched ? aws_time_parse(launched) : 0;
	vm->launched = when > 0 ? when : 0;
	tags_read(item, &vm->tags);
	read_nics(item, vm);
	return 0;
}

bool vm_is_dead(const struct vm *vm)
{
	return vm->state &&
	       (!strcmp(vm->state, "terminated") || !strcmp(vm->state, "shutting-down"));
}

int vm_give(struct vm *vm, bool public_ip, struct instance *instance, struct error *err)
{
	*instance = (struct instance){
		.id = vm->id,
		.created = vm->launched,
		.addresses = calloc(VM_NICS_MAX + 1, sizeof(char *)),
	};
	vm->id = NULL;
	tags_give(&vm->tags, instance);
	if (!instance->addresses) {
		instance_free(instance);
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	size_t count = 0;
	if (public_ip && !vm->public_ip)
		return 0;
	for (size_t i = 0; i < VM_NICS_MAX; i++) {
		char **from = public_ip && i == 0 ? &vm->public_ip : &vm->nics[i].address;
		if (!*from)
			break;
		instance->addresses[count++] = take_ptr(*from);
	}
	return 0;
}
