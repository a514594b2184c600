/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failure.h - what an error of libvirt means for a caller
 *
 * libvirt tells errors by a code and the domain (the part of libvirt) that raised it; texts are translated and
 * change, so they decide only where code and domain leave several causes open.
 */
#ifndef PEERPOD_LIBVIRT_FAILURE_H
#define PEERPOD_LIBVIRT_FAILURE_H

#include <stdbool.h>
#include "base/error.h"

/* The kind for (code, domain, text); see the table in failure.c. */
enum error_kind failure_kind(int code, int domain, const char *text);

/* Did the connection break? Then the call may be repeated on a new one. */
bool failure_is_loss(int code, int domain);

/* Did QEMU die at start because KVM does not work here? */
bool failure_is_kvm(int code, int domain, const char *text);

/* The last error of this thread; 0 where there is none. Read it before any other call to libvirt. */
int failure_code(void);
int failure_domain(void);
const char *failure_text(void);

/* Keeps libvirt from printing errors to standard error. Once per process. */
void failure_silence(void);

#endif
