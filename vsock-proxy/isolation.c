/* SPDX-License-Identifier: Apache-2.0 */
/*
 * isolation.c - see isolation.h
 *
 * agent-proxy holds the TLS client keys of every pod of the node, and relays bytes that pod VMs send.
 * Stage 1 keeps the keys from leaving with a core dump or through /proc. Stage 2 leaves nothing to be
 * had by taking the process over but what the process itself may do: its sockets.
 *
 * Stage 2 keeps the user id: files of root's are made and removed as their owner, which needs no
 * capability.
 */
#include "vsock-proxy/isolation.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int isolation_hide_memory(struct error *err)
{
	const struct rlimit none = {0, 0};
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return error_set_errno(err, errno, "forbid core dumps");
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return error_set_errno(err, errno, "hide memory");
	return 0;
}

int isolation_drop_rights(struct error *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set_errno(err, errno, "forbid new privileges");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return error_set_errno(err, errno, "drop ambient capabilities");
	/* The bounding set first: dropping from it takes CAP_SETPCAP. Without it there is nothing to drop. */
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++) {
		if (prctl(PR_CAPBSET_DROP, cap) < 0 && errno != EPERM)
			return error_set_errno(err, errno, "drop capability %lu", cap);
	}
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
	memset(none, 0, sizeof(none));
	if (syscall(SYS_capset, &header, none) < 0)
		return error_set_errno(err, errno, "drop capabilities");
	return 0;
}
