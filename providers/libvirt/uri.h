/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uri.h - what a connection URI says about the host behind it
 */
#ifndef PEERPOD_LIBVIRT_URI_H
#define PEERPOD_LIBVIRT_URI_H

#include <stdbool.h>
#include "base/error.h"

struct uri_facts {
	bool local;          /* libvirt runs on this machine: Unix socket, embed or test */
	bool test;           /* libvirt's own test driver */
	bool unverified_ssh; /* no_verify=1: any host key is taken */
	char *socket; /* the daemon's socket where it is local and known; owned, may be NULL */
};

/*
 * The URI to open: for ssh with no_tty=1, so that ssh fails instead of asking. New string. ERROR_INVALID for
 * what is no URI of libvirt.
 */
char *uri_prepare(const char *uri, struct uri_facts *facts, struct error *err);

#endif
