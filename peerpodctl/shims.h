/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shims.h - to which sandboxes a shim is connected, as agent-proxy says
 */
#ifndef PEERPODCTL_SHIMS_H
#define PEERPODCTL_SHIMS_H

#include <stdbool.h>
#include "base/bound.h"
#include "base/error.h"

struct shims {
	char **sandboxes; /* NULL-terminated */
};

/*
 * Where nobody serves the socket, no shim is connected to anything: an empty list. Any other failure is one: who has no
 * answer must not delete what may be in use.
 */
int shims_ask(const char *socket, const struct bound *bound, struct shims *shims,
	struct error *err);
bool shims_hold(const struct shims *shims, const char *sandbox);
void shims_free(struct shims *shims);

#endif
