/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandbox_id.h - ids of sandboxes, which come from outside and become parts of paths
 */
#ifndef PEERPOD_ADAPTOR_SANDBOX_ID_H
#define PEERPOD_ADAPTOR_SANDBOX_ID_H

#include "base/error.h"

/* May the sandbox id be a component of a path, of a tag and of a file name? */
int sandbox_id_check(const char *id, struct error *err);

#endif
