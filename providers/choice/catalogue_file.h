/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catalogue_file.h - a cloud's catalogue kept on disk, for when the cloud cannot be asked
 *
 * One file per provider and region: <folder>/<provider>-<region>.json, written whole and renamed into place.
 */
#ifndef PEERPOD_PROVIDERS_CATALOGUE_FILE_H
#define PEERPOD_PROVIDERS_CATALOGUE_FILE_H

#include <stdint.h>
#include "providers/choice/choice.h"

#define CATALOGUE_FOLDER "/var/lib/peerpod/catalogue"
/* Every type of a large cloud is about 200 KB. */
#define CATALOGUE_SIZE_MAX ((size_t)16 * 1024 * 1024)

/*
 * folder "": does nothing. Prices, zones and markets are not kept: one entry for each type. A missing folder is
 * made, for its owner alone, as the state folder above it is. Safe from several threads and processes at once.
 */
int catalogue_save(const char *folder, const char *provider, const char *region,
	const struct offering *list, size_t count, struct error *err);

/* Sorted by type; zone "", on-demand, no price. Freed with saved_catalogue_free. */
struct saved_catalogue {
	struct offering *list;
	size_t count;
	int64_t saved_at; /* Unix time */
	void *file;       /* owns the strings */
};

/* ERROR_GONE: there is none (folder "": always). ERROR_INVALID: it cannot be used, and why. */
int catalogue_load(const char *folder, const char *provider, const char *region,
	struct saved_catalogue *out, struct error *err);

/* The same of text in memory. name: for messages. */
int catalogue_read(const char *provider, const char *region, const char *name, const void *text,
	size_t len, struct saved_catalogue *out, struct error *err);
void saved_catalogue_free(struct saved_catalogue *catalogue);

#endif
