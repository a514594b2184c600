/* SPDX-License-Identifier: Apache-2.0 */
/* azure_token.c - what Entra ID and the metadata service answer, SSH keys and ids of resources. The first byte chooses. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/bound.h"
#include "providers/azure/arm_id.h"
#include "providers/azure/ssh_key.h"
#include "providers/azure/token.h"

static void fuzz_ids(const char *text)
{
	struct arm_id id;
	enum image_form form;
	char part[ARM_PART_MAX];
	if (arm_id_parse("fuzz", text, KIND_VM, &id, NULL) == 0 &&
		(!is_arm_name(id.subscription) || !is_arm_name(id.group) || !is_arm_name(id.name)))
		abort();
	arm_subnet_check("fuzz", text, NULL);
	image_form_of("fuzz", text, &form, NULL);
	for (unsigned i = 0; i < 12; i++)
		path_part(text, i, part, sizeof(part));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || size > 1 << 16)
		return 0;
	cleanup_secret token = SECRET_INIT;
	cleanup_error err = ERROR_INIT;
	cleanup(free_ptr) char *text = strndup((const char *)data + 1, size - 1);
	uint64_t lives_ns = 0;
	switch (data[0] % 5) {
	case 0:
		if (token_read("fuzz", data + 1, size - 1, 1773569420, &token, &lives_ns, NULL) ==
				0 &&
			(secret_is_empty(&token) || lives_ns > UINT64_C(604800) * NS_PER_S))
			abort();
		break;
	case 1:
		token_refusal_read(400 + data[0], data + 1, size - 1, &err);
		break;
	case 2:
		imds_refusal_read(400 + data[0], data + 1, size - 1, &err);
		break;
	case 3:
		ssh_key_check(text, NULL);
		break;
	case 4:
		fuzz_ids(text);
		break;
	}
	if ((data[0] % 5 == 1 || data[0] % 5 == 2) && err.kind == ERROR_NONE)
		abort();
	return 0;
}
