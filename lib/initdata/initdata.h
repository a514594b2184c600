/* SPDX-License-Identifier: Apache-2.0 */
/*
 * initdata.h - initdata: a TOML document that the owner of a pod gives to its VM, measured by hash
 *
 * The digest is over the exact TOML bytes, so the text is carried unchanged everywhere. Encoded form:
 * base64(gzip(TOML)).
 */
#ifndef PEERPOD_INITDATA_H
#define PEERPOD_INITDATA_H

#include <stddef.h>
#include "base/buf.h"
#include "base/error.h"

/* Annotations are limited to 256 KiB by Kubernetes; the decoded text may not exceed this. */
#define INITDATA_TOML_MAX 1048576
#define INITDATA_ENCODED_MAX 524288

struct initdata_entry {
	char *key;   /* "aa.toml" */
	char *value; /* the text, NUL-terminated */
	size_t len;
};

struct initdata {
	char *toml; /* exact bytes, NUL-terminated, owned */
	size_t toml_len;
	char *algorithm; /* "sha256", "sha384", "sha512" */
	char *version;   /* "0.1.0" */
	struct initdata_entry *entries;
	size_t count;
	unsigned char digest[64];
	size_t digest_len;
};

/* Parses TOML text: needs algorithm, version 0.1.0 and a [data] table of strings. Unknown keys are kept out. */
int initdata_parse(const char *toml, size_t len, struct initdata *out, struct error *err);

/* From the encoded form, with limits on both sides of the decompression. */
int initdata_decode(const char *text, size_t len, struct initdata *out, struct error *err);

/* TOML bytes to the encoded form (maximum compression), appended. */
int initdata_encode(const char *toml, size_t len, struct buf *out, struct error *err);

const struct initdata_entry *initdata_find(const struct initdata *initdata, const char *key);
/* Lower-case hex of the digest, appended. */
void initdata_digest_hex(const struct initdata *initdata, struct buf *out);
void initdata_free(struct initdata *initdata);

/* The document a VM without initdata measures: 66 bytes, SHA-256 adb48cc1...478d. */
extern const char initdata_dummy[];

#endif
