/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.h - which addresses a running domain has
 */
#ifndef PEERPOD_LIBVIRT_ADDRESS_H
#define PEERPOD_LIBVIRT_ADDRESS_H

#include <netinet/in.h>
#include "base/error.h"
#include "providers/libvirt/connection.h"
#include "providers/libvirt/domain.h"
#include "providers/libvirt/options.h"
#include "providers/libvirt/uri.h"

/* The NICs as the domain's XML tells them. */
struct domain_nics {
	struct {
		char mac[MAC_TEXT_LEN + 1];
		char *network; /* owned; NULL where it is not on a network of libvirt */
		char address[INET6_ADDRSTRLEN]; /* "": not known yet */
	} nic[NICS_MAX];
	size_t count;
	bool user; /* user networking: nothing reaches the VM */
};

int domain_nics_read(const char *what, const char *domain_xml, struct domain_nics *nics,
	struct error *err);
void domain_nics_free(struct domain_nics *nics);

/*
 * Fills in what is known now, by the sources that the option allows. One look, no waiting. A source that this host
 * lacks is passed over; 0 also when nothing was found.
 */
int addresses_look(struct call *call, virDomainPtr domain, const struct libvirt_options *options,
	const struct uri_facts *uri, struct domain_nics *nics, struct error *err);

#endif
