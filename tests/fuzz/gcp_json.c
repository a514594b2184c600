/* SPDX-License-Identifier: Apache-2.0 */
/* gcp_json.c - answers of Compute Engine: instances, operations, types, images, errors. The first byte chooses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "providers/gcp/catalogue.h"
#include "providers/gcp/failure.h"
#include "providers/gcp/image.h"
#include "providers/gcp/operation.h"
#include "providers/gcp/vm.h"

static void fuzz_instance(const json_t *o, bool public_ip)
{
	cleanup_vm vm = {0};
	cleanup(instance_free) struct instance instance = {0};
	if (vm_read(o, &vm, NULL) < 0) {
		if (vm.name)
			abort();
		return;
	}
	if (!name_is_plain(vm.name) || !name_is_plain(vm.zone) ||
		(vm_is_dead(&vm) && vm_is_placed(&vm)))
		abort();
	if (vm_give(&vm, public_ip, &instance, NULL) == 0 && !instance.id)
		abort();
}

static void fuzz_operation(const json_t *o)
{
	cleanup_operation op = {0};
	if (operation_read(o, &op, NULL) == 0 && !name_is_plain(op.zone))
		abort();
}

static void fuzz_type(const json_t *o)
{
	struct type_entry e;
	if (!type_read(o, &e))
		return;
	if (e.offering.vcpus < 0 || e.offering.memory_mib < 0 || e.offering.gpus < 0 ||
		!e.offering.family || e.offering.max_nics < 2)
		abort();
	type_entry_clear(&e);
}

static void fuzz_image(const json_t *o)
{
	cleanup_image facts = {0};
	if (image_read(o, &facts, NULL) == 0) {
		if (!facts.path || facts.disk_gib < 0)
			abort();
		image_check(&facts, TEE_SNP, NULL);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || size > 1 << 16)
		return 0;
	if (data[0] % 5 == 4) {
		cleanup_error err = ERROR_INIT;
		failure_read(400 + data[0], data + 1, size - 1, &err);
		if (err.kind == ERROR_NONE)
			abort();
		return 0;
	}
	cleanup_json *o = json_parse("fuzz", data + 1, size - 1, 1 << 16, false, NULL);
	switch (o ? data[0] % 5 : 5) {
	case 0:
		fuzz_instance(o, data[0] & 128);
		break;
	case 1:
		fuzz_operation(o);
		break;
	case 2:
		fuzz_type(o);
		break;
	case 3:
		fuzz_image(o);
		break;
	}
	return 0;
}
