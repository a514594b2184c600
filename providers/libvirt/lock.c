/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lock.c - one actor at a time for one VM
 *
 * Two adaptors can meet on one sandbox: an old one that is being replaced and its successor. Both run in the network
 * namespace of the worker, so the lock is an abstract Unix socket named after the VM's UUID: binding it is exclusive,
 * it needs no folder that both see, and it goes with the process that dies.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "providers/libvirt/driver.h"

#define LOOK_NS (100 * NS_PER_MS)

int vm_lock(const char *uuid, const struct bound *bound, struct error *err)
{
	cleanup(close_fd) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set_errno(err, errno, "lock of VM %s", uuid);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int len = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "peerpod-libvirt-%s",
		uuid);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)len);
	while (bind(fd, (struct sockaddr *)&address, size) < 0) {
		if (errno != EADDRINUSE)
			return error_set_errno(err, errno, "lock of VM %s", uuid);
		if (bound_sleep(bound, LOOK_NS, "another call on the same VM to end", err) < 0)
			return -1;
	}
	return take_fd(&fd);
}
