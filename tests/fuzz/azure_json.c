/* SPDX-License-Identifier: Apache-2.0 */
/*
 * azure_json.c - answers of Azure Resource Manager: errors, VMs with their instance views, NICs, disks, sizes, image
 * definitions, permissions, headers; and what the metadata service says of the machine. The first byte chooses.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "providers/azure/arm.h"
#include "providers/azure/arm_id.h"
#include "providers/azure/catalogue.h"
#include "providers/azure/failure.h"
#include "providers/azure/image.h"
#include "providers/azure/name.h"
#include "providers/azure/permissions.h"
#include "providers/azure/place.h"
#include "providers/azure/vm.h"
#include "providers/azure/watch.h"

static void fuzz_error(int status, const uint8_t *data, size_t size)
{
	cleanup_error err = ERROR_INIT;
	failure_read(status, data, size, "", &err);
	if (err.kind == ERROR_NONE || strlen(error_message(&err)) > 2000)
		abort();
}

static void fuzz_headers(const uint8_t *data, size_t size)
{
	cleanup_response response = {0};
	buf_append(&response.headers, data, size);
	if (arm_retry_after_ns(&response) > UINT64_C(1000001) * NS_PER_S)
		abort();
	for (int class = 0; class < ARM_CLASSES; class ++) {
		if (arm_remaining_hold_ns(&response, (enum arm_class) class) > 5 * NS_PER_S)
			abort();
	}
}

static void fuzz_vm(const json_t *vm)
{
	cleanup(instance_free) struct instance instance = {0};
	cleanup_error err = ERROR_INIT;
	vm_state(vm);
	vm_failure(vm, &err);
	if (instance_give(resource_id(vm), resource_name(vm), vm, &instance, NULL) == 0 &&
		(!instance.id || !instance.token || instance.created < 0))
		abort();
}

static void fuzz_parts(const json_t *list)
{
	size_t i;
	const json_t *one;
	cleanup(instance_free) struct instance instance = {0};
	addresses_give(list, NULL, &instance, NULL);
	json_array_foreach(list, i, one)
	{
		char name[VM_NAME_SIZE];
		nic_address(one);
		nic_public_ip(one);
		nic_is_on_a_host(one);
		for (int part = 0; part < PARTS; part++) {
			if (*part_vm((enum part)part, one, name) &&
				!part_is_of((enum part)part, one, name))
				abort();
		}
		disk_name_matches(resource_name(one), "c", "n");
	}
}

static void fuzz_catalogue(const json_t *list)
{
	size_t i;
	const json_t *one;
	json_array_foreach(list, i, one)
	{
		struct size s;
		struct image_facts facts;
		if (size_read(one, "eastus", &s, NULL) == 1 &&
			(!*s.name || s.facts.vcpus < 0 || s.facts.memory_mib < 0 ||
				*s.zones[ZONES_MAX - 1]))
			abort();
		size_clear(&s);
		image_facts_read(one, &facts);
		image_not_confidential(&facts);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || size > 1 << 16)
		return 0;
	if (data[0] == 'h') {
		fuzz_headers(data + 1, size - 1);
		return 0;
	}
	fuzz_error(data[0] * 2, data + 1, size - 1);
	cleanup_json *value = json_parse("fuzz", data + 1, size - 1, 1 << 16, true, NULL);
	fuzz_vm(value);
	fuzz_parts(value);
	fuzz_catalogue(value);
	action_is_allowed(value, "Microsoft.Compute/virtualMachines/write");
	cleanup(place_free) struct place place = {0};
	if (place_read(data + 1, size - 1, &place, NULL) == 0 && !is_arm_name(place.region))
		abort();
	return 0;
}
