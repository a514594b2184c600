/* SPDX-License-Identifier: Apache-2.0 */
/* aws_xml.c - answers of EC2: instances, types, images, interfaces, addresses, volumes, errors. The first byte chooses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "providers/aws/catalogue.h"
#include "providers/aws/failure.h"
#include "providers/aws/image.h"
#include "providers/aws/resource.h"
#include "providers/aws/vm.h"

static void fuzz_instances(xmlNode *root)
{
	for (xmlNode *i = xml_first_item(root, "instancesSet"); i; i = xml_next_item(i)) {
		cleanup_vm vm = {0};
		cleanup(instance_free) struct instance instance = {0};
		if (vm_read(i, &vm, NULL) == 0 &&
			vm_give(&vm, root->line & 1, &instance, NULL) == 0 && !instance.id)
			abort();
	}
}

static void fuzz_catalogue(xmlNode *root)
{
	for (xmlNode *i = xml_first_item(root, "instanceTypeSet"); i; i = xml_next_item(i)) {
		struct type_entry type;
		if (type_read(i, &type) && (type.offering.vcpus < 0 || !type.offering.family))
			abort();
		type_entry_clear(&type);
	}
	for (xmlNode *i = xml_first_item(root, "imagesSet"); i; i = xml_next_item(i)) {
		struct image_entry image;
		image_read(i, &image);
		image_entry_clear(&image);
	}
}

static void fuzz_resources(xmlNode *root)
{
	static const char *const sets[] = {"networkInterfaceSet", "addressesSet", "volumeSet"};
	for (size_t k = 0; k < array_size(sets); k++) {
		for (xmlNode *i = xml_first_item(root, sets[k]); i; i = xml_next_item(i)) {
			struct resource *one = resource_read(resource_kinds[k], i);
			if (one && (!one->id || one->created < 0))
				abort();
			resource_free(one);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || size > 1 << 16)
		return 0;
	if (data[0] % 2) {
		char code[FAILURE_CODE_SIZE];
		cleanup_error err = ERROR_INIT;
		failure_read(400 + data[0], data + 1, size - 1, code, sizeof(code), &err);
		if (err.kind == ERROR_NONE || strlen(code) >= sizeof(code))
			abort();
		return 0;
	}
	cleanup_xml *doc = xml_parse("fuzz", data + 1, size - 1, NULL);
	if (doc) {
		fuzz_instances(xmlDocGetRootElement(doc));
		fuzz_catalogue(xmlDocGetRootElement(doc));
		fuzz_resources(xmlDocGetRootElement(doc));
	}
	return 0;
}
