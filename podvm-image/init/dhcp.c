/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dhcp.c - podvm-dhcp: does what the DHCP client learned
 *
 * busybox's udhcpc runs it with the event as the only argument and the lease in the environment
 * (interface, ip, mask, router, dns, domain, mtu). It sets the interface, writes /etc/resolv.conf and
 * tells the first process with SIGUSR1 that there is an address. It ends after every event.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "interface.h"
#include "stage.h"

static const char *variable(const char *name)
{
	const char *value = getenv(name);
	return value ? value : "";
}

static int write_resolver(struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (*variable("domain"))
		buf_printf(&text, "search %s\n", variable("domain"));
	cleanup(free_ptr) char *servers = strdup(variable("dns"));
	char *rest = NULL;
	for (char *one = servers ? strtok_r(servers, " ", &rest) : NULL; one;
		one = strtok_r(NULL, " ", &rest))
		buf_printf(&text, "nameserver %s\n", one);
	if (!text.len)
		return 0;
	return file_write("/etc/resolv.conf", 0644, text.data, text.len, err);
}

static int take_lease(const char *interface, bool is_new, struct error *err)
{
	char cidr[64], router[64];
	const char *mask = *variable("mask") ? variable("mask") : "24";
	snprintf(cidr, sizeof(cidr), "%s/%s", variable("ip"), mask);
	/* The first of several routers is the preferred one (RFC 2132, 3.5). */
	snprintf(router, sizeof(router), "%.*s", (int)strcspn(variable("router"), " "),
		variable("router"));
	/* A server may tell of more than the interface can do, or of nonsense: better its own MTU than no address. */
	cleanup_error refused = ERROR_INIT;
	if (interface_set_mtu(interface, atoi(variable("mtu")), &refused) < 0)
		stage_line("network: MTU %s: %s", variable("mtu"), error_message(&refused));
	if (interface_add_address(interface, cidr, err) < 0)
		return -1;
	if (*router && interface_set_gateway(interface, router, err) < 0)
		return -1;
	if (write_resolver(err) < 0)
		return -1;
	if (is_new)
		stage_line("network %s on %s", cidr, interface);
	kill(1, SIGUSR1);
	return 0;
}

int main(int argc, char **argv)
{
	const char *interface = variable("interface");
	if (argc != 2 || !*interface) {
		fprintf(stderr, "podvm-dhcp: run by udhcpc, with an event and $interface\n");
		return 2;
	}
	cleanup_error err = ERROR_INIT;
	int result = 0;
	if (!strcmp(argv[1], "deconfig"))
		result = interface_up(interface, &err) < 0 ? -1 : interface_flush(interface, &err);
	else if (!strcmp(argv[1], "bound") || !strcmp(argv[1], "renew"))
		result = take_lease(interface, !strcmp(argv[1], "bound"), &err);
	else
		stage_line("network: DHCP says %s", argv[1]);
	if (result < 0) {
		stage_line("network: %s", error_message(&err));
		return 1;
	}
	return 0;
}
