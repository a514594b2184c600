/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provision.c - from a user data document to files in /run/peerpod
 *
 * Whoever controls the cloud or the worker writes the user data, so a table says what may come that way. The
 * configuration of attestation (aa.toml, cdh.toml) may not, since nothing measures user data: it
 * comes with initdata, whose digest goes into the evidence. Adaptors older than initdata put it into
 * user data; an option of this program lets it in.
 *
 * aa.toml is written last of all: its appearance starts the services that read the others.
 */
#include "provision.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "initdata/initdata.h"

#define FOLDER "/run/peerpod"
#define INITDATA_FILE FOLDER "/initdata"
#define DIGEST_FILE FOLDER "/initdata.digest"
#define AA_FILE FOLDER "/aa.toml"

/* What user data may hold. */
static const struct {
	const char *path;
	mode_t mode; /* 0600 where keys or passwords are inside */
	bool unmeasured;
} allowed[] = {
	{FOLDER "/apf.json", 0600, false},
	{FOLDER "/auth.json", 0600, false},
	{INITDATA_FILE, 0644, false},
	{FOLDER "/scratch-space.marker", 0644, false},
	{FOLDER "/cdh.toml", 0644, true},
	{AA_FILE, 0644, true},
};

/* What initdata may hold, in the order of writing. */
static const struct {
	const char *key, *path;
} extracted[] = {
	{"policy.rego", FOLDER "/policy.rego"},
	{"cdh.toml", FOLDER "/cdh.toml"},
	{"aa.toml", AA_FILE},
};

static char *below(const struct provision_settings *settings, const char *path, struct error *err)
{
	char *full = NULL;
	if (asprintf(&full, "%s%s", strcmp(settings->root, "/") ? settings->root : "", path) < 0) {
		error_set(err, ERROR_CAPACITY, "write %s: out of memory", path);
		return NULL;
	}
	return full;
}

static int write_file(const struct provision_settings *settings, const char *path, mode_t mode,
	const char *bytes, size_t len, struct error *err)
{
	cleanup(free_ptr) char *folder = below(settings, FOLDER, err);
	cleanup(free_ptr) char *full = folder ? below(settings, path, err) : NULL;
	if (!full || dir_make(folder, 0755, err) < 0 || file_write(full, mode, bytes, len, err) < 0)
		return -1;
	log_info("wrote %s (%zu bytes)", path, len);
	return 0;
}

static int provision_file(const struct provision_settings *settings,
	const struct cloudinit_file *file, struct error *err)
{
	for (size_t i = 0; i < array_size(allowed); i++) {
		if (strcmp(allowed[i].path, file->path) != 0)
			continue;
		if (allowed[i].unmeasured && !settings->accept_unmeasured) {
			log_warn(
				"user data hold %s, which nothing measures: left out; it belongs into "
				"initdata (for adaptors that know no initdata there is "
				"-accept-unmeasured)",
				file->path);
			return 0;
		}
		if (allowed[i].unmeasured)
			log_warn(
				"%s comes from user data, which nothing measures: the host chooses what "
				"it says (-accept-unmeasured)",
				file->path);
		return write_file(settings, file->path, allowed[i].mode,
			file->content ? file->content : "", file->len, err);
	}
	log_warn(
		"user data hold \"%.200s\", which is not one of the files they may write: left out",
		file->path);
	return 0;
}

int provision_files(const struct provision_settings *settings, const struct cloudinit *document,
	struct error *err)
{
	if (!document->count)
		log_warn("the user data name no files: the forwarder will have no configuration");
	for (size_t i = 0; i < document->count; i++)
		if (provision_file(settings, &document->files[i], err) < 0)
			return -1;
	return 0;
}

/* The encoded initdata, from the file or, where there is none, the dummy, which becomes the file. */
static int read_initdata(const struct provision_settings *settings, struct buf *text,
	struct error *err)
{
	cleanup_error why = ERROR_INIT;
	cleanup(free_ptr) char *path = below(settings, INITDATA_FILE, err);
	if (!path)
		return -1;
	if (file_read(path, INITDATA_ENCODED_MAX, text, &why) == 0)
		return 0;
	if (why.kind != ERROR_GONE)
		return error_move(err, &why);
	log_info("there is no initdata: the dummy is measured");
	if (initdata_encode(initdata_dummy, strlen(initdata_dummy), text, err) < 0)
		return -1;
	return write_file(settings, INITDATA_FILE, 0644, buf_text(text), text->len, err);
}

static bool is_extracted(const char *key)
{
	for (size_t i = 0; i < array_size(extracted); i++)
		if (!strcmp(extracted[i].key, key))
			return true;
	return false;
}

static int extract(const struct provision_settings *settings, const struct initdata *initdata,
	struct error *err)
{
	for (size_t i = 0; i < initdata->count; i++)
		if (!is_extracted(initdata->entries[i].key))
			log_info(
				"initdata hold \"%.200s\", which is measured but not written to a file",
				initdata->entries[i].key);
	for (size_t i = 0; i < array_size(extracted); i++) {
		const struct initdata_entry *entry = initdata_find(initdata, extracted[i].key);
		if (entry && write_file(settings, extracted[i].path, 0644, entry->value, entry->len,
				     err) < 0)
			return -1;
	}
	return 0;
}

/* Without aa.toml nothing behind the attestation agent would ever start, and nobody would be told why. */
static int ensure_aa_toml(const struct provision_settings *settings, struct error *err)
{
	cleanup(free_ptr) char *path = below(settings, AA_FILE, err);
	if (!path)
		return -1;
	if (access(path, F_OK) == 0)
		return 0;
	log_info("initdata hold no aa.toml: an empty one is made");
	return write_file(settings, AA_FILE, 0644, "", 0, err);
}

int provision_initdata(const struct provision_settings *settings, struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT, digest = BUF_INIT;
	cleanup(initdata_free) struct initdata initdata = {0};
	if (read_initdata(settings, &text, err) < 0)
		return -1;
	if (initdata_decode(buf_text(&text), text.len, &initdata, err) < 0)
		return error_prefix(err, INITDATA_FILE);
	initdata_digest_hex(&initdata, &digest);
	if (digest.failed)
		return error_set(err, ERROR_CAPACITY, DIGEST_FILE ": out of memory");
	log_info("initdata digest (%s): %s", initdata.algorithm, buf_text(&digest));
	if (write_file(settings, DIGEST_FILE, 0644, buf_text(&digest), digest.len, err) < 0 ||
		extract(settings, &initdata, err) < 0)
		return -1;
	return ensure_aa_toml(settings, err);
}
