/* SPDX-License-Identifier: Apache-2.0 */
/* mtu.c - see mtu.h */
#include "podnetwork/mtu.h"

#include <sys/socket.h>

#define IPV4_MTU_MIN 68
#define IPV6_MTU_MIN 1280

static int64_t smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int tunnel_mtu(int64_t cni_mtu, int64_t worker_underlay, int64_t vm_underlay, int family,
	bool ipv6_inside, uint32_t *mtu, struct error *err)
{
	int64_t overhead = family == AF_INET6 ? TUNNEL_OVERHEAD_IPV6 : TUNNEL_OVERHEAD_IPV4;
	int64_t underlay = smaller(worker_underlay ? worker_underlay : UNDERLAY_MTU_UNKNOWN,
		vm_underlay       ? vm_underlay
		: worker_underlay ? worker_underlay
				  : UNDERLAY_MTU_UNKNOWN);
	int64_t result = underlay - overhead;
	if (cni_mtu)
		result = smaller(result, cni_mtu);
	int64_t least = ipv6_inside ? IPV6_MTU_MIN : IPV4_MTU_MIN;
	if (result < least)
		return error_set(err, ERROR_INVALID,
			"the tunnel's MTU would be %lld, and %s needs %lld: the path between worker and pod VM "
			"has an MTU of %lld, the tunnel takes %lld of it, and the pod's interface has %lld",
			(long long)result, ipv6_inside ? "IPv6" : "IPv4", (long long)least,
			(long long)underlay, (long long)overhead, (long long)cni_mtu);
	*mtu = (uint32_t)result;
	return 0;
}
