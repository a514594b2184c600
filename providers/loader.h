/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.h - finds drivers by name in a folder and loads them
 */
#ifndef PEERPOD_PROVIDERS_LOADER_H
#define PEERPOD_PROVIDERS_LOADER_H

#include "providers/provider.h"

/*
 * The folder of drivers: the one that is named, else ("") "providers" beside this program, else
 * ../lib/peerpod/providers of it. New string.
 */
char *provider_folder(const char *named, struct error *err);

/*
 * Loads <folder>/<name>.so and checks its ABI. The table lives until the process ends (libraries
 * behind drivers do not survive being unloaded). A name with a slash, a missing file, another ABI: errors
 * that list what the folder holds.
 */
const struct provider_table *provider_load(const char *folder, const char *name, struct error *err);

/* Names of the drivers in the folder, sorted, NULL-terminated; strings and array are freed by the caller. */
char **provider_names(const char *folder, struct error *err);

#endif
