/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.h - the calls of grpc.AgentService and grpc.Health
 */
#ifndef PEERPOD_MINI_AGENT_AGENT_H
#define PEERPOD_MINI_AGENT_AGENT_H

#include "sandbox.h"
#include "ttrpc/server.h"

#define AGENT_SERVICES 2

/* Both services, working on sandbox. */
void agent_services(struct ttrpc_service services[AGENT_SERVICES], struct sandbox *sandbox);

#endif
