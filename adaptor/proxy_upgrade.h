/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy_upgrade.h - another version of agent-proxy in the place of the one that runs
 *
 * For an adaptor that is run by hand and starts agent-proxy itself. Upgraded together with it, it finds the
 * agent-proxy of before, which outlived its adaptor; the new one takes over from that, and no pod notices.
 */
#ifndef PEERPOD_ADAPTOR_PROXY_UPGRADE_H
#define PEERPOD_ADAPTOR_PROXY_UPGRADE_H

#include "adaptor/proxy_client.h"
#include "adaptor/proxy_process.h"
#include "base/bound.h"
#include "ttrpc/client.h"

/*
 * Compares the program that the settings name with the one behind ttrpc, and starts it where they differ. true: it has
 * taken over, and the connection (of which watch_fd is a copy) is gone. An agent-proxy that we started ourselves, one of
 * the same program, or one that keeps what it has, is left alone: false.
 */
bool proxy_upgrade(struct proxy_process *process, const struct proxy_client_settings *settings,
	struct ttrpc_client *ttrpc, int watch_fd, const struct bound *bound);

#endif
