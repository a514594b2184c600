/* SPDX-License-Identifier: Apache-2.0 */
/* journal.c - see journal.h */
#include "adaptor/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "adaptor/journal_look.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

/* New string, NULL when memory runs out. */
static char *record_path(const struct journal *journal, const char *sandbox, const char *suffix)
{
	char *path;
	return asprintf(&path, "%s/%s" RECORD_SUFFIX "%s", journal->folder, sandbox, suffix) < 0
		       ? NULL
		       : path;
}

/* A lock of the kernel's: it goes with its holder, however that dies. */
static int take_lock(const char *state_dir, struct error *err)
{
	cleanup(free_ptr) char *path = NULL;
	if (asprintf(&path, "%s/lock", state_dir) < 0) {
		path = NULL;
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	cleanup(close_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_set_errno(err, errno, "open %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		char holder[32] = "";
		if (errno != EWOULDBLOCK)
			return error_set_errno(err, errno, "lock %s", path);
		ssize_t n = read(fd, holder, sizeof(holder) - 1);
		holder[n > 0 ? n : 0] = 0;
		holder[strcspn(holder, "\n")] = 0;
		return error_set(err, ERROR_EXISTS,
			"state folder %s is in use by another cloud-api-adaptor (process %s): stop it, or give "
			"this one its own -state-dir",
			state_dir, *holder ? holder : "unknown");
	}
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		return error_set_errno(err, errno, "write %s", path);
	return take_fd(&fd);
}

int journal_open(struct journal *journal, const char *state_dir, struct error *err)
{
	*journal = (struct journal){.lock = -1};
	if (dir_make(state_dir, 0700, err) < 0)
		return -1;
	int lock = take_lock(state_dir, err);
	if (lock < 0)
		return -1;
	journal->lock = lock;
	if (asprintf(&journal->folder, "%s/sandboxes", state_dir) < 0) {
		journal->folder = NULL;
		error_set(err, ERROR_CAPACITY, "out of memory");
	} else if (dir_make(journal->folder, 0700, err) == 0) {
		if (chmod(journal->folder, 0700) == 0)
			return 0;
		error_set_errno(err, errno, "journal %s", journal->folder);
	}
	journal_close(journal);
	return -1;
}

void journal_close(struct journal *journal)
{
	free(journal->folder);
	if (journal->lock >= 0)
		close(journal->lock);
	*journal = (struct journal){.lock = -1};
}

/* What a crash in the middle of an atomic write leaves behind: it holds keys and is of no use. */
static void remove_temporary(const struct journal *journal, const char *file)
{
	const char *suffix = strstr(file, RECORD_SUFFIX ".");
	cleanup(free_ptr) char *path = NULL;
	if (!suffix || !strcmp(suffix, RECORD_SUFFIX RECORD_DAMAGED_SUFFIX))
		return;
	if (asprintf(&path, "%s/%s", journal->folder, file) < 0)
		path = NULL;
	if (path)
		unlink(path);
}

static void move_aside(const char *path, const struct error *why)
{
	cleanup(free_ptr) char *aside = NULL;
	if (asprintf(&aside, "%s" RECORD_DAMAGED_SUFFIX, path) < 0)
		aside = NULL;
	if (aside && rename(path, aside) == 0)
		log_error("damaged record moved to %s: %s; its instance will be found by its tags",
			aside, error_message(why));
	else
		log_error("damaged record %s left where it is: %s", path, error_message(why));
}

int journal_read_all(const struct journal *journal, struct record **records, size_t *count,
	struct error *err)
{
	*records = NULL;
	*count = 0;
	cleanup(closedir_ptr) DIR *dir = opendir(journal->folder);
	if (!dir)
		return error_set_errno(err, errno, "journal %s", journal->folder);
	const struct dirent *entry;
	while ((entry = readdir(dir))) {
		cleanup(free_ptr) char *id = NULL;
		if (!record_file_id(entry->d_name, &id)) {
			remove_temporary(journal, entry->d_name);
			continue;
		}
		log_scope(((struct log_context){.sandbox = id}));
		cleanup(free_ptr) char *path = record_path(journal, id, "");
		struct record *grown = reallocarray(*records, *count + 1, sizeof(**records));
		if (grown)
			*records = grown;
		if (!grown || !path)
			return error_set(err, ERROR_CAPACITY, "journal %s: out of memory",
				journal->folder);
		cleanup_error why = ERROR_INIT;
		if (record_file_read(path, id, &(*records)[*count], &why) == 0)
			(*count)++;
		else if (why.kind == ERROR_INVALID)
			move_aside(path, &why);
		else if (why.kind != ERROR_GONE)
			return error_move(err, &why);
	}
	return 0;
}

int journal_write(const struct journal *journal, struct record *record, enum fault_step step,
	struct error *err)
{
	cleanup(free_ptr) char *path = record_path(journal, record->sandbox, "");
	cleanup(buf_wipe) struct buf text = BUF_INIT;
	if (!path)
		return error_set(err, ERROR_CAPACITY, "journal: out of memory");
	record->changed_at = (int64_t)time(NULL);
	if (record_write(record, &text, err) < 0)
		return error_prefix(err, "journal");
	fault_before(step);
	if (file_write(path, 0600, text.data, text.len, err) < 0)
		return error_prefix(err, "journal");
	fault_after(step);
	return 0;
}

int journal_remove(const struct journal *journal, const char *sandbox, struct error *err)
{
	cleanup(free_ptr) char *path = record_path(journal, sandbox, "");
	if (!path)
		return error_set(err, ERROR_CAPACITY, "journal: out of memory");
	return file_remove(path, err) < 0 ? error_prefix(err, "journal") : 0;
}

bool journal_is_damaged(const struct journal *journal, const char *sandbox)
{
	cleanup(free_ptr) char *path = record_path(journal, sandbox, RECORD_DAMAGED_SUFFIX);
	return path && access(path, F_OK) == 0;
}

int journal_remove_damaged(const struct journal *journal, const char *sandbox, struct error *err)
{
	cleanup(free_ptr) char *path = record_path(journal, sandbox, RECORD_DAMAGED_SUFFIX);
	if (!path)
		return error_set(err, ERROR_CAPACITY, "journal: out of memory");
	return file_remove(path, err) < 0 ? error_prefix(err, "journal") : 0;
}
