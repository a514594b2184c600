/* SPDX-License-Identifier: Apache-2.0 */
/*
 * azure_ready.c - fuzz: what the host of a pod VM on Azure answers. The first byte chooses the document. What is taken
 * of it can go into a header, and the health report made of it is XML.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../podvm-image/azure-ready/document.h"

static void check(const struct document_value *value)
{
	size_t len = strnlen(value->text, sizeof(value->text));
	if (!len || len > DOCUMENT_VALUE_MAX)
		abort();
	for (size_t i = 0; i < len; i++) {
		if (value->text[i] < ' ' || value->text[i] > '~')
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	cleanup_error err = ERROR_INIT;
	struct document_value version;
	struct goal_state state;
	if (data[0] % 2) {
		if (versions_read(data + 1, size - 1, &version, &err) == 0)
			check(&version);
		return 0;
	}
	if (goal_state_read(data + 1, size - 1, &state, &err) < 0)
		return 0;
	check(&state.incarnation);
	check(&state.container_id);
	check(&state.instance_id);
	cleanup(buf_free) struct buf report = BUF_INIT;
	if (health_write(&state, &report, &err) < 0)
		abort();
	/* A report is no goal state, but as sound an XML document. */
	if (goal_state_read(buf_text(&report), report.len, &state, &err) == 0 ||
		!strstr(error_message(&err), "has no GoalState/Incarnation"))
		abort();
	return 0;
}
