/* SPDX-License-Identifier: Apache-2.0 */
/*
 * initdata_verbs.c - peerpodctl initdata: from TOML to a pod's annotation and back, and digests
 *
 * Input is TOML or the annotation's form of it, base64(gzip(TOML)); which of them is seen from the text: TOML of
 * initdata holds quotes and '=' between words, base64 does not.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "initdata/initdata.h"
#include "peerpodctl/print.h"
#include "peerpodctl/verb.h"

#define INPUT_MAX ((size_t)2 * 1024 * 1024)

static int read_input(const char *file, struct buf *text, struct error *err)
{
	bool standard = !strcmp(file, "-");
	if (file_read(standard ? "/dev/stdin" : file, INPUT_MAX, text, err) < 0)
		return standard ? error_prefix(err, "standard input") : -1;
	if (!text->len)
		return error_set(err, ERROR_INVALID, "%s: there is nothing in it",
			standard ? "standard input" : file);
	return 0;
}

static bool looks_encoded(const struct buf *text)
{
	for (size_t i = 0; i < text->len; i++) {
		unsigned char c = text->data[i];
		if (!isalnum(c) && !isspace(c) && c != '+' && c != '/' && c != '=')
			return false;
	}
	return true;
}

static int read_initdata(const char *file, struct initdata *out, struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (read_input(file, &text, err) < 0)
		return -1;
	int result = looks_encoded(&text) ? initdata_decode(buf_text(&text), text.len, out, err)
					  : initdata_parse(buf_text(&text), text.len, out, err);
	return result < 0
		       ? error_prefix(err, "%s", strcmp(file, "-") != 0 ? file : "standard input")
		       : 0;
}

static const char *input_of(const struct invocation *in)
{
	return in->word_count ? in->words[0] : "-";
}

/* All about it but the text. NULL: no memory. */
static json_t *about_json(const struct initdata *initdata)
{
	cleanup(buf_free) struct buf hex = BUF_INIT, base64 = BUF_INIT;
	json_t *keys = json_array();
	initdata_digest_hex(initdata, &hex);
	base64_encode(initdata->digest, initdata->digest_len, &base64);
	for (size_t i = 0; i < initdata->count; i++)
		json_array_append_new(keys, json_text(initdata->entries[i].key));
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:o}", "algorithm", initdata->algorithm,
		"version", initdata->version, "digest", buf_text(&hex), "digest_base64",
		buf_text(&base64), "bytes", (json_int_t)initdata->toml_len, "entries", keys);
}

static int initdata_encode_verb(struct invocation *in, struct error *err)
{
	cleanup(initdata_free) struct initdata initdata = {0};
	cleanup(buf_free) struct buf encoded = BUF_INIT;
	if (read_initdata(input_of(in), &initdata, err) < 0 ||
		initdata_encode(initdata.toml, initdata.toml_len, &encoded, err) < 0)
		return -1;
	if (!in->values.json) {
		puts(buf_text(&encoded));
		return 0;
	}
	json_t *about = about_json(&initdata);
	json_object_set_new(about, "annotation", json_string(buf_text(&encoded)));
	return print_json(about, false, err);
}

static int initdata_decode_verb(struct invocation *in, struct error *err)
{
	cleanup(initdata_free) struct initdata initdata = {0};
	if (read_initdata(input_of(in), &initdata, err) < 0)
		return -1;
	if (in->values.json) {
		json_t *about = about_json(&initdata);
		json_object_set_new(about, "toml", json_text(initdata.toml));
		return print_json(about, false, err);
	}
	/* The exact bytes: their hash is the digest. */
	if (fwrite(initdata.toml, 1, initdata.toml_len, stdout) != initdata.toml_len)
		return error_set_errno(err, errno, "write standard output");
	return 0;
}

/* "sha384:abc...", "abc..." in hexadecimal of either case, or base64. */
static int check_digest(const struct initdata *initdata, const char *wanted, struct error *err)
{
	cleanup(buf_free) struct buf hex = BUF_INIT, base64 = BUF_INIT;
	const char *digest = wanted, *colon = strchr(wanted, ':');
	initdata_digest_hex(initdata, &hex);
	base64_encode(initdata->digest, initdata->digest_len, &base64);
	if (colon) {
		digest = colon + 1;
		if (strlen(initdata->algorithm) != (size_t)(colon - wanted) ||
			strncmp(wanted, initdata->algorithm, (size_t)(colon - wanted)) != 0)
			return error_set(err, ERROR_INVALID, "its digest is of %s, not of %.*s",
				initdata->algorithm, (int)(colon - wanted), wanted);
	}
	if (!strcasecmp(digest, buf_text(&hex)) || !strcmp(digest, buf_text(&base64)))
		return 0;
	return error_set(err, ERROR_INVALID, "its digest is %s:%s, not %s", initdata->algorithm,
		buf_text(&hex), wanted);
}

static int check_file(const struct initdata *initdata, const char *file, struct error *err)
{
	cleanup(initdata_free) struct initdata other = {0};
	if (read_initdata(file, &other, err) < 0)
		return -1;
	size_t same = 0, line = 1;
	while (same < initdata->toml_len && same < other.toml_len &&
		initdata->toml[same] == other.toml[same]) {
		line += initdata->toml[same] == '\n';
		same++;
	}
	if (same == initdata->toml_len && same == other.toml_len)
		return 0;
	return error_set(err, ERROR_INVALID,
		"it is not what %s holds: they differ from byte %zu on (line %zu)", file, same + 1,
		line);
}

static int initdata_verify_verb(struct invocation *in, struct error *err)
{
	cleanup(initdata_free) struct initdata initdata = {0};
	if (*in->values.file && !strcmp(in->values.file, "-") && !strcmp(input_of(in), "-"))
		return usage_error(in, "standard input cannot be both: name a file");
	if (read_initdata(input_of(in), &initdata, err) < 0 ||
		(*in->values.digest && check_digest(&initdata, in->values.digest, err) < 0) ||
		(*in->values.file && check_file(&initdata, in->values.file, err) < 0))
		return -1;
	if (in->values.json)
		return print_json(about_json(&initdata), false, err);
	cleanup(buf_free) struct buf hex = BUF_INIT;
	initdata_digest_hex(&initdata, &hex);
	printf("%s:%s\n", initdata.algorithm, buf_text(&hex));
	return 0;
}

static const struct option plain_options[] = {OPTION_ROW_JSON};
static const struct option verify_options[] = {
	{"digest", NULL, NULL, "digest it must have: hexadecimal or base64, also as sha256:...",
		AT(digest)},
	{"file", NULL, NULL,
		"file with the initdata that it must be, byte for byte: TOML or annotation",
		AT(file)},
	OPTION_ROW_JSON,
};

const struct verb initdata_verbs[] = {
	{"initdata", "encode", "[FILE]", 0, 1,
		"TOML to the form that a pod's annotation takes; standard input where no file is named",
		plain_options, array_size(plain_options), false, initdata_encode_verb},
	{"initdata", "decode", "[FILE]", 0, 1,
		"an annotation's text to TOML, byte for byte as it was", plain_options,
		array_size(plain_options), false, initdata_decode_verb},
	{"initdata", "verify", "[FILE]", 0, 1,
		"checks TOML or an annotation's text, prints its digest, and compares it where asked to",
		verify_options, array_size(verify_options), false, initdata_verify_verb},
	{0},
};
