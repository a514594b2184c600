/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.c - see loader.h
 *
 * A driver is <folder>/<name>.so with the symbol `peerpod_provider`. The name comes from the command
 * line, so it may hold nothing that leaves the folder. What a driver needs of lib/base it finds in the
 * program that loads it. Libraries are never unloaded: those behind drivers keep threads and caches.
 */
#include "providers/loader.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define DRIVER_SUFFIX ".so"
#define DRIVER_SYMBOL "peerpod_provider"

/* Letters of a driver's name: all of upstream's provider names fit. */
#define DRIVER_NAME_LETTERS "abcdefghijklmnopqrstuvwxyz0123456789-"

static void names_free(char **names)
{
	for (char **name = names; name && *name; name++)
		free(*name);
	free(names);
}
DEFINE_CLEANUP(char *, names_free)

static int is_driver_file(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name), suffix = strlen(DRIVER_SUFFIX);
	return len > suffix && !strcmp(entry->d_name + len - suffix, DRIVER_SUFFIX) &&
	       strspn(entry->d_name, DRIVER_NAME_LETTERS) == len - suffix;
}

char **provider_names(const char *folder, struct error *err)
{
	struct dirent **files;
	int count = scandir(folder, &files, is_driver_file, alphasort);
	if (count < 0) {
		error_set_errno(err, errno, "folder of drivers %s", folder);
		return NULL;
	}
	char **names = calloc((size_t)count + 1, sizeof(*names));
	bool failed = !names;
	for (int i = 0; i < count; i++) {
		size_t len = strlen(files[i]->d_name) - strlen(DRIVER_SUFFIX);
		if (!failed)
			names[i] = strndup(files[i]->d_name, len);
		failed = failed || !names[i];
		free(files[i]);
	}
	free(files);
	if (!failed)
		return names;
	names_free(names);
	error_set(err, ERROR_CAPACITY, "out of memory");
	return NULL;
}

/* Ends the message with what could have been named instead. */
static void append_choices(const char *folder, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	cleanup(names_free_ptr) char **names = provider_names(folder, &why);
	if (!names) {
		error_append(err, " (%s)", error_message(&why));
		return;
	}
	cleanup(buf_free) struct buf list = BUF_INIT;
	for (char **name = names; *name; name++)
		buf_printf(&list, "%s%s", list.len ? ", " : "", *name);
	error_append(err, "; drivers in %s: %s", folder, list.len ? buf_text(&list) : "none");
}

const struct provider_table *provider_load(const char *folder, const char *name, struct error *err)
{
	if (!*name || strspn(name, DRIVER_NAME_LETTERS) != strlen(name)) {
		error_set(err, ERROR_INVALID,
			"\"%s\" is no name of a provider: lower-case letters, digits and '-' only",
			name);
		return NULL;
	}
	cleanup(free_ptr) char *path = NULL;
	if (asprintf(&path, "%s/%s" DRIVER_SUFFIX, folder, name) < 0) {
		path = NULL;
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	if (access(path, F_OK) < 0) {
		error_set(err, ERROR_GONE, "there is no provider \"%s\"", name);
		append_choices(folder, err);
		return NULL;
	}
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		error_set(err, ERROR_INVALID, "load provider \"%s\": %s", name, dlerror());
		return NULL;
	}
	const struct provider_table *table = dlsym(library, DRIVER_SYMBOL);
	if (!table) {
		error_set(err, ERROR_INVALID, "%s is no driver: it has no symbol %s", path,
			DRIVER_SYMBOL);
		return NULL;
	}
	if (table->abi != PROVIDER_ABI) {
		error_set(err, ERROR_INVALID,
			"driver %s is for interface %u, this program for %u: install both from one build",
			path, (unsigned)table->abi, (unsigned)PROVIDER_ABI);
		return NULL;
	}
	return table;
}

static char *folder_beside_program(struct error *err)
{
	char program[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	if (n < 0) {
		error_set_errno(err, errno, "path of this program");
		return NULL;
	}
	program[n] = 0;
	const char *folder = dirname(program);
	char *beside = NULL, *installed = NULL;
	if (asprintf(&beside, "%s/providers", folder) < 0)
		beside = NULL;
	if (beside && access(beside, F_OK) == 0)
		return beside;
	if (asprintf(&installed, "%s/../lib/peerpod/providers", folder) < 0)
		installed = NULL;
	if (installed && access(installed, F_OK) == 0) {
		free(beside);
		return installed;
	}
	free(installed);
	if (!beside)
		error_set(err, ERROR_CAPACITY, "out of memory");
	return beside;
}

char *provider_folder(const char *named, struct error *err)
{
	if (!*named)
		return folder_beside_program(err);
	char *copy = strdup(named);
	if (!copy)
		error_set(err, ERROR_CAPACITY, "out of memory");
	return copy;
}
