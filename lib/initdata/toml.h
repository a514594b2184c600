/* SPDX-License-Identifier: Apache-2.0 */
/* toml.h - the C door to the TOML parser, for this room only */
#ifndef PEERPOD_INITDATA_TOML_H
#define PEERPOD_INITDATA_TOML_H

#include "initdata/initdata.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Fills algorithm, version and entries from TOML text; what may be said about them is checked
 * by the caller. On failure what was filled in is left for initdata_free.
 */
int initdata_parse_toml(const char *toml, size_t len, struct initdata *out, struct error *err);

#ifdef __cplusplus
}
#endif

#endif
