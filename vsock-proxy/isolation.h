/* SPDX-License-Identifier: Apache-2.0 */
/*
 * isolation.h - giving up rights that a data plane process does not need
 */
#ifndef PEERPOD_VSOCK_ISOLATION_H
#define PEERPOD_VSOCK_ISOLATION_H

#include "base/error.h"

/* Stage 1, before any key is read: no core dumps, not readable by others through /proc or ptrace. */
int isolation_hide_memory(struct error *err);

/* Stage 2, once the sockets are open: no capabilities, and no way to regain any. */
int isolation_drop_rights(struct error *err);

#endif
