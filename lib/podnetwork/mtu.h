/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mtu.h - how much fits through the tunnel
 */
#ifndef PEERPOD_PODNETWORK_MTU_H
#define PEERPOD_PODNETWORK_MTU_H

#include <stdint.h>
#include "base/error.h"

/* Inner Ethernet 14, VXLAN 8, UDP 8, and the outer IP header: 20 or 40. */
#define TUNNEL_OVERHEAD_IPV4 50
#define TUNNEL_OVERHEAD_IPV6 70
/*
 * What upstream assumes of every path, and so what an end that says nothing may be relied on for.
 */
#define UNDERLAY_MTU_UNKNOWN 1500

/*
 * min(the CNI's MTU, the smaller underlay MTU - overhead); 0 stands for "not known". family is
 * that of the outer packets; ipv6_inside asks for the 1280 that IPv6 must have (RFC 8200), else 68
 * (RFC 791).
 */
int tunnel_mtu(int64_t cni_mtu, int64_t worker_underlay, int64_t vm_underlay, int family,
	bool ipv6_inside, uint32_t *mtu, struct error *err);

#endif
