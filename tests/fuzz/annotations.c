/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CreateVM's annotations. The input is key, TAB, value, separated by 0x1e; what was accepted keeps its limits and
 * is fit for a log and a tag.
 */
#include <stdlib.h>
#include <string.h>

#include "adaptor/annotations.h"
#include "base/cleanup.h"

#define ANNOTATIONS_MAX 16

static void check_text(const char *text, size_t max)
{
	if (!text || strlen(text) > max)
		abort();
	for (const char *p = text; *p; p++) {
		if ((unsigned char)*p < 0x20)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(free_ptr) char *text = strndup((const char *)data, size);
	struct annotation annotations[ANNOTATIONS_MAX];
	size_t count = 0;
	char *rest = text;
	/* Values may have several lines: they end with the separator 0x1e. */
	for (char *line; count < ANNOTATIONS_MAX && (line = strsep(&rest, "\x1e"));) {
		char *key = strsep(&line, "\t");
		annotations[count++] = (struct annotation){key, line};
		sandbox_id_check(key, NULL);
	}
	struct pod_request request;
	if (annotations_read(annotations, count, &request, NULL) < 0)
		return 0;
	check_text(request.pod, 253);
	check_text(request.pod_namespace, 63);
	check_text(request.pod_uid, 253);
	check_text(request.machine_type, 128);
	check_text(request.image, 1024);
	check_text(request.gpu_model, 128);
	if (!*request.pod || !*request.pod_namespace || request.vcpus < 0 || request.vcpus > 4096 ||
		request.memory_mib < 0 || request.gpus < 0 || request.gpus > 64)
		abort();
	pod_request_free(&request);
	return 0;
}
