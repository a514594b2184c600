/* SPDX-License-Identifier: Apache-2.0 */
/* offload.c - see offload.h */
#include "podnetwork/offload.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "podnetwork/netns.h"

struct order {
	const char *name;
	int errnum;
};

static void carry_out(void *arg)
{
	struct order *order = arg;
	struct ethtool_value off = {.cmd = ETHTOOL_STXCSUM, .data = 0};
	struct ifreq request = {.ifr_data = (char *)&off};
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", order->name);
	cleanup(close_fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &request) < 0)
		order->errnum = errno;
}

int offload_switch_off_checksums(int netns_fd, const char *name, struct error *err)
{
	struct order order = {.name = name};
	if (netns_run(netns_fd, carry_out, &order, err))
		return -1;
	return order.errnum ? error_set_errno(err, order.errnum,
				      "switch off the checksum offload of %s", name)
			    : 0;
}
