/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.h - the log of a VM's serial console
 */
#ifndef PEERPOD_LIBVIRT_CONSOLE_H
#define PEERPOD_LIBVIRT_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

struct provider;

/* File of the console's log for a new domain; new string, NULL where there is none. */
char *console_log_path(const struct provider *p, const char *name);
/* Deletes the log and its rotated parts, where they are on this machine. */
void console_log_remove(const struct provider *p, const char *path);
/* The path that a domain's XML tells; new string, NULL: none. */
char *console_log_of(const char *domain_xml);

/* Printable text, whole lines where it was cut: what a guest prints may end on a user's terminal. New string. */
char *console_tidy(const char *bytes, size_t len, bool cut);

#endif
