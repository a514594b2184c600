/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interface.h - links, addresses and routes of the network namespace that the caller is in
 */
#ifndef PEERPOD_INIT_INTERFACE_H
#define PEERPOD_INIT_INTERFACE_H

#include <stddef.h>
#include "base/error.h"

int interface_up(const char *name, struct error *err);

/*
 * Name of the first Ethernet interface (by index) into name. ERROR_GONE where there is none.
 */
int interface_first(char *name, size_t size, struct error *err);

/* mtu 0: left alone. */
int interface_set_mtu(const char *name, int mtu, struct error *err);

/* Puts address (CIDR) on the interface; one that is there is renewed. */
int interface_add_address(const char *name, const char *cidr, struct error *err);

/* Takes all IPv4 addresses off the interface. */
int interface_flush(const char *name, struct error *err);

/* Makes gateway the next hop of the default route of its family. */
int interface_set_gateway(const char *name, const char *gateway, struct error *err);

#endif
