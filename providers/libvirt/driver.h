/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - the state of the libvirt driver, and its verbs
 *
 * Order of making: look, reserve addresses, define the domain with its metadata, root volume, user data, start. Order
 * of removing: destroy, volumes, reservations, undefine. So whatever exists of a VM, its record does too, except for
 * reservations, which carry the UUID themselves. Every step is "look, then make", so that a step may be repeated after a
 * crash or a lost connection.
 *
 * Three connections: calls (create, delete), uploads, and status (finding, listing, waiting, console), so that none of
 * them starves another.
 */
#ifndef PEERPOD_LIBVIRT_DRIVER_H
#define PEERPOD_LIBVIRT_DRIVER_H

#include <stdatomic.h>
#include "providers/libvirt/connection.h"
#include "providers/libvirt/host.h"
#include "providers/libvirt/names.h"
#include "providers/libvirt/options.h"
#include "providers/libvirt/record.h"
#include "providers/libvirt/uri.h"
#include "providers/verbs.h"

struct provider {
	const struct libvirt_options *options;
	struct uri_facts uri;
	char *uri_text;
	struct connection *calls, *uploads, *status;
	atomic_bool kvm_broken; /* a start failed because of KVM: the next ones do not try it */
};

/*
 * One actor at a time for one VM, among all threads and processes of this machine's network namespace: held
 * while making or removing it. Returns a descriptor to close.
 */
int vm_lock(const char *uuid, const struct bound *bound, struct error *err);

/* Removes all there is of this UUID; keep_console leaves the console's log. Takes no lock. */
int vm_remove(struct provider *p, const char *uuid, bool keep_console, const struct bound *bound,
	struct error *err);

/* The domain, found by UUID: 1; 0: there is none; -1: failed. */
int domain_find(struct call *call, const char *uuid, virDomainPtr *domain, struct error *err);

/* Its metadata. ERROR_DENIED where it is not ours. */
int domain_record(struct call *call, virDomainPtr domain, struct record *record, struct error *err);

/* Is it running (or paused, which a starting one is)? */
int domain_active(struct call *call, virDomainPtr domain, bool *active, struct error *err);

#endif
