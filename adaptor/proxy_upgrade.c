/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_upgrade.c - see proxy_upgrade.h
 *
 * agent-proxy tells of which file it was started; a file that was replaced meanwhile is another one even where
 * the version has the same name. The process that is started does the rest: it finds the socket served and asks for
 * everything. If that is refused it says why in its log and ends, and the old one goes on.
 */
#include "adaptor/proxy_upgrade.h"

#include <poll.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "proto/proxy.pb-c.h"
#include "ttrpc/message.h"

#define ASK_NS (5 * NS_PER_S)
/* The two agree within ten seconds or not at all. */
#define TAKE_OVER_NS (45 * NS_PER_S)
#define LOOK_NS (20 * NS_PER_MS)

/* Until the old one has let go (true), or the new one has ended. */
static bool await_takeover(struct proxy_process *process, int watch_fd, const struct bound *bound)
{
	const struct bound limit = bound_within(bound, TAKE_OVER_NS);
	while (bound_left_ns(&limit) && process->pid >= 0) {
		const struct bound look = bound_within(&limit, LOOK_NS);
		cleanup_error why = ERROR_INIT;
		if (bound_poll(&look, watch_fd, POLLRDHUP, "agent-proxy", &why) > 0)
			return true;
		if (why.kind == ERROR_CANCELED)
			return false;
		proxy_process_reap(process);
	}
	return false;
}

bool proxy_upgrade(struct proxy_process *process, const struct proxy_client_settings *settings,
	struct ttrpc_client *ttrpc, int watch_fd, const struct bound *bound)
{
	cleanup_error why = ERROR_INIT;
	char program[FILE_IDENTITY_SIZE];
	proxy_process_reap(process);
	if (!*settings->program || process->pid >= 0)
		return false;
	if (file_identity(settings->program, program, &why) < 0) {
		log_warn("agent-proxy: %s; going on with the one that runs", error_message(&why));
		return false;
	}
	Agentproxy__ListRequest request = AGENTPROXY__LIST_REQUEST__INIT;
	const struct bound soon = bound_within(bound, ASK_NS);
	cleanup(message_ptr) Agentproxy__ListResponse *running =
		(Agentproxy__ListResponse *)ttrpc_client_call_message(ttrpc, "peerpod.AgentProxy",
			"List", &request.base, &agentproxy__list_response__descriptor, &soon, NULL);
	if (!running || !strcmp(running->program, program))
		return false;
	log_info(
		"agent-proxy %s, which serves %zu sandboxes, was not started from %s as it is now: "
		"starting that to take over",
		running->version, running->n_sandboxes, settings->program);
	proxy_process_ensure(process, settings, &why);
	if (process->pid >= 0 && await_takeover(process, watch_fd, bound))
		return true;
	log_warn("agent-proxy %s was not replaced and serves on%s%s", running->version,
		why.kind ? ": " : "", error_message(&why));
	return false;
}
