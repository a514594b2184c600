/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmdline.h - what the kernel command line says about the network
 */
#ifndef PEERPOD_INIT_CMDLINE_H
#define PEERPOD_INIT_CMDLINE_H

#include "base/error.h"

enum cmdline_network_mode { CMDLINE_NETWORK_DHCP, CMDLINE_NETWORK_STATIC, CMDLINE_NETWORK_OFF };

struct cmdline_network {
	enum cmdline_network_mode mode;
	char address[64]; /* CIDR */
	char gateway[64]; /* "" where there is none */
	char device[16];  /* "": the first one */
	char dns[2][64];  /* "" where there is none */
};

/*
 * Reads ip= in the form that the kernel itself has for it (Debian's is built without):
 * ip=dhcp, ip=off, or ip=CLIENT:[SERVER]:GATEWAY:NETMASK:HOSTNAME:DEVICE:AUTOCONF:DNS0:DNS1, where
 * trailing fields may be left out. NETMASK may be a prefix length; IPv6 addresses are written in
 * brackets. Nothing said: DHCP. The last ip= counts.
 */
int cmdline_network(const char *line, struct cmdline_network *out, struct error *err);

#endif
