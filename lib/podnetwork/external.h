/* SPDX-License-Identifier: Apache-2.0 */
/*
 * external.h - the pod's way out by a second interface of the VM instead of the worker
 *
 * Experimental, as upstream's. What goes this way is not seen by the worker: its network policies
 * do not apply, and the cloud's metadata address can be reached from the pod.
 */
#ifndef PEERPOD_PODNETWORK_EXTERNAL_H
#define PEERPOD_PODNETWORK_EXTERNAL_H

#include "podnetwork/ip.h"
#include "podnetwork/netlink.h"

/*
 * Moves the VM's second interface into podns and makes it the way of podns' IPv4 default route. The
 * interface is the first that carries neither the primary default route nor the tunnel and that has
 * a default route of its own or lies in the primary's subnet.
 */
int external_attach(struct netlink *root, struct netlink *pod, int podns,
	const struct ip_prefix *worker, struct error *err);

/* Moves it back and restores its name, address and default route. Nothing attached: success. */
int external_detach(struct netlink *root, struct netlink *pod, struct error *err);

#endif
