/* SPDX-License-Identifier: Apache-2.0 */
/*
 * initdata.c - meaning and digest of an initdata document
 *
 * The digest is over the text as it came, byte by byte, so the text is kept beside what was read
 * from it.
 */
#include "initdata/initdata.h"

#include <openssl/evp.h>
#include <string.h>
#include "base/base64.h"
#include "initdata/toml.h"

#define VERSION_KNOWN "0.1.0" /* the one version that the specification and kata-agent know */

const char initdata_dummy[] = "algorithm = \"sha256\"\n"
			      "version = \"0.1.0\"\n"
			      "\n"
			      "[data]\n"
			      "\"aa.toml\" = '''\n"
			      "'''";

static int digest(struct initdata *out, struct error *err)
{
	static const struct {
		const char *name;
		const EVP_MD *(*type)(void);
	} algorithms[] = {{"sha256", EVP_sha256}, {"sha384", EVP_sha384}, {"sha512", EVP_sha512}};
	for (size_t i = 0; i < array_size(algorithms); i++) {
		if (strcmp(algorithms[i].name, out->algorithm) != 0)
			continue;
		unsigned len = 0;
		if (!EVP_Digest(out->toml, out->toml_len, out->digest, &len, algorithms[i].type(),
			    NULL))
			return error_set(err, ERROR_INTERNAL,
				"initdata: %s is not to be had from OpenSSL", out->algorithm);
		out->digest_len = len;
		return 0;
	}
	return error_set(err, ERROR_INVALID,
		"initdata: the algorithm \"%.40s\" is unknown; use sha256, sha384 or sha512",
		out->algorithm);
}

static int parse(struct initdata *out, struct error *err)
{
	if (initdata_parse_toml(out->toml, out->toml_len, out, err) < 0)
		return -1;
	if (strcmp(out->version, VERSION_KNOWN) != 0)
		return error_set(err, ERROR_INVALID,
			"initdata: the version \"%.40s\" is unknown; use %s", out->version,
			VERSION_KNOWN);
	return digest(out, err);
}

int initdata_parse(const char *toml, size_t len, struct initdata *out, struct error *err)
{
	*out = (struct initdata){0};
	if (len > INITDATA_TOML_MAX)
		return error_set(err, ERROR_INVALID,
			"initdata: %zu bytes are more than the limit of %d", len,
			INITDATA_TOML_MAX);
	if (!(out->toml = malloc(len + 1)))
		return error_set(err, ERROR_CAPACITY, "initdata: out of memory");
	if (len)
		memcpy(out->toml, toml, len);
	out->toml[len] = 0;
	out->toml_len = len;
	if (parse(out, err) == 0)
		return 0;
	initdata_free(out);
	return -1;
}

const struct initdata_entry *initdata_find(const struct initdata *initdata, const char *key)
{
	for (size_t i = 0; i < initdata->count; i++)
		if (!strcmp(initdata->entries[i].key, key))
			return &initdata->entries[i];
	return NULL;
}

void initdata_digest_hex(const struct initdata *initdata, struct buf *out)
{
	hex_encode(initdata->digest, initdata->digest_len, out);
}

void initdata_free(struct initdata *initdata)
{
	for (size_t i = 0; i < initdata->count; i++) {
		free(initdata->entries[i].key);
		free(initdata->entries[i].value);
	}
	free(initdata->entries);
	free(initdata->toml);
	free(initdata->algorithm);
	free(initdata->version);
	*initdata = (struct initdata){0};
}
