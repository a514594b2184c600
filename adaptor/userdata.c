/* SPDX-License-Identifier: Apache-2.0 */
/*
 * userdata.c - see userdata.h
 *
 * Built once, at CreateVM, and kept in the journal until the instance's id is known: a creation that is
 * repeated after a crash then sends the very same bytes, as clouds demand for the same token.
 */
#include "adaptor/userdata.h"

#include <string.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "cloudinit/cloudinit.h"
#include "initdata/initdata.h"

#define INITDATA_PATH "/run/peerpod/initdata"
#define SCRATCH_MARKER_PATH "/run/peerpod/scratch-space.marker"

static int encode_initdata(const struct settings *settings, const char *toml, struct buf *out,
	struct error *err)
{
	if (*toml)
		return initdata_encode(toml, strlen(toml), out, err);
	/* As configured, on one line whatever the ConfigMap made of it. */
	for (const char *p = settings->initdata; *p; p++) {
		if (!strchr(" \t\r\n", *p))
			buf_append(out, p, 1);
	}
	return out->failed ? error_set(err, ERROR_CAPACITY, "out of memory") : 0;
}

int user_data_build(const struct settings *settings, const struct apf *apf,
	const char *initdata_toml, struct secret *user_data, struct error *err)
{
	cleanup(buf_wipe) struct buf apf_json = BUF_INIT;
	cleanup(buf_free) struct buf initdata = BUF_INIT;
	cleanup(buf_wipe) struct buf document = BUF_INIT;
	if (apf_write(apf, &apf_json, err) < 0 ||
		encode_initdata(settings, initdata_toml, &initdata, err) < 0)
		return error_prefix(err, "user data");

	/* Upstream's order and names: its VMs accept these files and these keys only. */
	struct cloudinit_file files[3];
	size_t count = 0;
	files[count++] = (struct cloudinit_file){.path = (char *)APF_PATH,
		.content = (char *)apf_json.data,
		.len = apf_json.len};
	if (initdata.len)
		files[count++] = (struct cloudinit_file){.path = (char *)INITDATA_PATH,
			.content = (char *)initdata.data,
			.len = initdata.len};
	if (settings->scratch_space)
		files[count++] = (struct cloudinit_file){.path = (char *)SCRATCH_MARKER_PATH};
	if (cloudinit_write(files, count, &document, err) < 0)
		return error_prefix(err, "user data");
	if (document.len > (size_t)CLOUDINIT_DOCUMENT_MAX)
		return error_set(err, ERROR_INVALID,
			"user data: %zu bytes are more than the limit of %d; the largest part is initdata with "
			"%zu bytes: make it smaller",
			document.len, CLOUDINIT_DOCUMENT_MAX, initdata.len);
	if (!secret_set(user_data, buf_text(&document), document.len))
		return error_set(err, ERROR_CAPACITY, "user data: out of memory");
	return 0;
}

int user_data_initdata_digest(const struct settings *settings, const char *initdata_toml,
	char **digest, struct error *err)
{
	cleanup(initdata_free) struct initdata initdata = {0};
	cleanup(buf_free) struct buf text = BUF_INIT;
	int result = 0;
	if (*initdata_toml)
		result = initdata_parse(initdata_toml, strlen(initdata_toml), &initdata, err);
	else if (*settings->initdata)
		result = initdata_decode(settings->initdata, strlen(settings->initdata), &initdata,
			err);
	if (result < 0)
		return error_prefix(err, "initdata");
	buf_append_text(&text, "");
	base64_encode(initdata.digest, initdata.digest_len, &text);
	*digest = buf_take(&text);
	return *digest ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}
