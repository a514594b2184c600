/* SPDX-License-Identifier: Apache-2.0 */
/*
 * announce.h - tells neighbours which interface an IPv4 address lives on
 *
 * A machine with two interfaces in one Ethernet answers for each of its addresses on both, so a neighbour may have
 * learned the address of one with the MAC of the other.
 */
#ifndef PEERPOD_PODNETWORK_ANNOUNCE_H
#define PEERPOD_PODNETWORK_ANNOUNCE_H

#include "podnetwork/ip.h"
#include "podnetwork/link.h"

/* Broadcasts a gratuitous ARP request from the calling thread's netns. A failure is logged: it costs seconds, no more. */
void announce_ipv4(const struct link *link, const struct ip_prefix *address);

#endif
