/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ssh_key.h - the public key that Azure insists on for a Linux VM
 *
 * A pod VM has no use for one. Where none is configured, one is made for the process, and nobody has its private half.
 */
#ifndef PEERPOD_AZURE_SSH_KEY_H
#define PEERPOD_AZURE_SSH_KEY_H

#include <stdatomic.h>
#include "base/buf.h"
#include "base/error.h"

/* $NAME and ${NAME} become the environment's; what is not set becomes nothing. */
int path_expand(const char *path, struct buf *out, struct error *err);

/* One line of the file at path (expanded): "ssh-rsa ..." or "ssh-ed25519 ...". Appended, without its line end. */
int ssh_key_read(const char *path, struct buf *out, struct error *err);

/* Is this the text of a public key that Azure takes? ERROR_INVALID says what is wrong. */
int ssh_key_check(const char *line, struct error *err);

/* A new key of 2048 bits as "ssh-rsa ..."; its private half is gone when this returns. stop: gives up; NULL: never. */
int ssh_key_make(struct buf *out, const atomic_bool *stop, struct error *err);

/* The key of a process: read when it is first needed, or made beside what else is done. */
struct ssh_key;

/* path: kept; "": one is made, from now on. NULL: no memory. */
struct ssh_key *ssh_key_new(const char *path);
void ssh_key_free(struct ssh_key *key);

/* Its text; the key's. Waits until it is made. NULL on failure. */
const char *ssh_key_text(struct ssh_key *key, struct error *err);

#endif
