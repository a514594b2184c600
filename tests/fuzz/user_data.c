/* SPDX-License-Identifier: Apache-2.0 */
/*
 * user_data.c - fuzz: what a metadata service answers, from its body to initdata, as the pod VM takes
 * it. The first byte chooses whether the body is base64 text.
 */
#include <stdint.h>
#include <string.h>
#include "../../podvm-image/process-user-data/imds.h"
#include "cloudinit/cloudinit.h"
#include "initdata/initdata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	const struct cloud cloud = {.base64 = data[0] & 1};
	cleanup_error err = ERROR_INIT;
	cleanup(buf_free) struct buf body = BUF_INIT, text = BUF_INIT;
	cleanup(cloudinit_free) struct cloudinit document = {0};
	buf_append(&body, data + 1, size - 1);
	if (imds_decode(&cloud, &body, &text, &err) < 0 ||
		cloudinit_read(buf_text(&text), text.len, &document, &err) < 0)
		return 0;
	for (size_t i = 0; i < document.count; i++) {
		cleanup(initdata_free) struct initdata initdata = {0};
		initdata_decode(document.files[i].content ? document.files[i].content : "",
			document.files[i].len, &initdata, &err);
	}
	return 0;
}
