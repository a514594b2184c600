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

/* folder "": does nothing. Prices and zones are not kept. */
int catalogue_save(const char *folder, const char *provider, const char *region,
	const struct offering *list, size_t count, struct error *err);

/* Offerings with strings of their own; freed with saved_catalogue_free. */
struct saved_catalogue {
	struct offering *list;
	size_t count;
	int64_t saved_at; /* Unix time */
};

/* ERROR_GONE: there is none. ERROR_INVALID: it cannot be used, and why. */
int catalogue_load(const char *folder, const char *provider, const char *region,
	struct saved_catalogue *out, struct error *err);
void saved_catalogue_free(struct saved_catalogue *catalogue);

#endif
