/* SPDX-License-Identifier: Apache-2.0 */
/* remove.c - the netns driver takes an instance down */
#include "driver.h"

#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>

#include "base/fault.h"
#include "base/log.h"
#include "cgroup.h"
#include "network.h"

int instance_take_down(struct provider *p, const char *token, const struct record *record,
	const struct bound *bound, struct error *err)
{
	cleanup(close_fd) int pidfd = -1;
	pid_t pid = state_process(p->values->state_dir, token, &pidfd);
	if (pid) {
		/* The first process of a PID namespace takes all others with it. */
		if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
			return error_set_errno(err, errno, "kill process %d", (int)pid);
		if (bound_poll(bound, pidfd, POLLIN, "the end of the instance", err) < 0)
			return -1;
	}
	fault_point("netns-delete-killed");
	for (size_t nic = 0; nic < NETWORK_NICS_MAX; nic++) {
		char link[IF_NAMESIZE];
		network_link_name(token, nic, link, sizeof(link));
		if (network_remove(link, err) < 0)
			return -1;
	}
	cgroups_remove(token);
	state_wipe(p->values->state_dir, token, record);
	return 0;
}

int driver_delete(struct provider *p, const char *id, const struct bound *bound, struct error *err)
{
	const char *token = NULL, *dir = p->values->state_dir;
	if (trouble_due(&p->troubles, "delete", err) < 0 || token_of(id, &token, err) < 0)
		return -1;
	cleanup(close_fd) int lock = -1;
	cleanup_error failure = ERROR_INIT;
	if (state_lock(dir, token, false, bound, &lock, &failure) < 0)
		return failure.kind == ERROR_GONE ? 0 : error_move(err, &failure);
	cleanup(record_free) struct record record = {0};
	if (state_read(dir, token, &record, &failure) < 0 && failure.kind != ERROR_GONE)
		return error_move(err, &failure);
	if (instance_take_down(p, token, &record, bound, err) < 0)
		return error_prefix(err, "delete instance %s", id);
	state_forget(dir, token);
	log_info("netns: instance %s deleted", id);
	return 0;
}
