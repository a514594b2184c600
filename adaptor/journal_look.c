/* SPDX-License-Identifier: Apache-2.0 */
/* journal_look.c - see journal_look.h */
#include "adaptor/journal_look.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "adaptor/sandbox_id.h"
#include "base/cleanup.h"
#include "base/file.h"

/* The id in "<id><suffix>". */
static bool id_before(const char *file, const char *suffix, char **id)
{
	size_t len = strlen(file), suffix_len = strlen(suffix);
	if (len <= suffix_len || strcmp(file + len - suffix_len, suffix) != 0)
		return false;
	*id = strndup(file, len - suffix_len);
	if (*id && sandbox_id_check(*id, NULL) == 0)
		return true;
	free(take_ptr(*id));
	return false;
}

bool record_file_id(const char *file, char **id)
{
	return id_before(file, RECORD_SUFFIX, id);
}

int record_file_read(const char *path, const char *id, struct record *record, struct error *err)
{
	cleanup(buf_wipe) struct buf text = BUF_INIT;
	if (file_read(path, RECORD_SIZE_MAX, &text, err) < 0 ||
		record_read(path, text.data, text.len, record, err) < 0)
		return -1;
	if (!strcmp(record->sandbox, id))
		return 0;
	error_set(err, ERROR_INVALID, "%s: it is the record of another sandbox, \"%.80s\"", path,
		record->sandbox);
	record_free(record);
	return -1;
}

static int add_record(struct journal_look *look, struct record *record, struct error *err)
{
	struct record *grown = reallocarray(look->records, look->count + 1, sizeof(*grown));
	if (!grown) {
		record_free(record);
		return error_set(err, ERROR_CAPACITY, "journal: out of memory");
	}
	look->records = grown;
	look->records[look->count++] = *record;
	return 0;
}

static int add_damage(struct journal_look *look, const char *sandbox, bool moved, const char *why,
	struct error *err)
{
	struct journal_damage *grown =
		reallocarray(look->damaged, look->damaged_count + 1, sizeof(*grown));
	if (grown)
		look->damaged = grown;
	struct journal_damage one = {strdup(sandbox), strdup(why), moved};
	if (grown && one.sandbox && one.why) {
		look->damaged[look->damaged_count++] = one;
		return 0;
	}
	free(one.sandbox);
	free(one.why);
	return error_set(err, ERROR_CAPACITY, "journal: out of memory");
}

static int look_at(struct journal_look *look, const char *folder, const char *file,
	struct error *err)
{
	cleanup(free_ptr) char *id = NULL;
	cleanup(free_ptr) char *path = NULL;
	if (id_before(file, RECORD_SUFFIX RECORD_DAMAGED_SUFFIX, &id))
		return add_damage(look, id, true, "it was moved aside by the adaptor", err);
	if (!record_file_id(file, &id))
		return 0;
	if (asprintf(&path, "%s/%s", folder, file) < 0) {
		path = NULL;
		return error_set(err, ERROR_CAPACITY, "journal: out of memory");
	}
	struct record record;
	cleanup_error why = ERROR_INIT;
	if (record_file_read(path, id, &record, &why) == 0)
		return add_record(look, &record, err);
	if (why.kind == ERROR_GONE)
		return 0;
	if (why.kind == ERROR_INVALID)
		return add_damage(look, id, false, error_message(&why), err);
	return error_move(err, &why);
}

static int by_sandbox(const void *left, const void *right)
{
	const struct record *a = left, *b = right;
	return strcmp(a->sandbox, b->sandbox);
}

int journal_look(const char *state_dir, struct journal_look *look, struct error *err)
{
	*look = (struct journal_look){0};
	cleanup(free_ptr) char *folder = NULL;
	if (asprintf(&folder, "%s/sandboxes", state_dir) < 0) {
		folder = NULL;
		return error_set(err, ERROR_CAPACITY, "journal: out of memory");
	}
	cleanup(closedir_ptr) DIR *dir = opendir(folder);
	if (!dir)
		return error_set_errno(err, errno, "journal %s", folder);
	const struct dirent *entry;
	while ((entry = readdir(dir))) {
		if (look_at(look, folder, entry->d_name, err) < 0) {
			journal_look_free(look);
			return -1;
		}
	}
	if (look->count)
		qsort(look->records, look->count, sizeof(*look->records), by_sandbox);
	return 0;
}

void journal_look_free(struct journal_look *look)
{
	for (size_t i = 0; i < look->count; i++)
		record_free(&look->records[i]);
	free(look->records);
	for (size_t i = 0; i < look->damaged_count; i++) {
		free(look->damaged[i].sandbox);
		free(look->damaged[i].why);
	}
	free(look->damaged);
	*look = (struct journal_look){0};
}

const struct record *journal_look_find(const struct journal_look *look, const char *sandbox)
{
	for (size_t i = 0; i < look->count; i++) {
		if (!strcmp(look->records[i].sandbox, sandbox))
			return &look->records[i];
	}
	return NULL;
}

const struct journal_damage *journal_look_damage(const struct journal_look *look,
	const char *sandbox)
{
	for (size_t i = 0; i < look->damaged_count; i++) {
		if (!strcmp(look->damaged[i].sandbox, sandbox))
			return &look->damaged[i];
	}
	return NULL;
}
