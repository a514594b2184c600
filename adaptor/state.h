/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - the states of a sandbox, and which may follow which
 */
#ifndef PEERPOD_ADAPTOR_STATE_H
#define PEERPOD_ADAPTOR_STATE_H

#include <stdbool.h>
#include "base/error.h"

enum sandbox_state {
	SANDBOX_CREATED,  /* CreateVM has answered; nothing exists in the cloud */
	SANDBOX_STARTING, /* a StartVM is at work */
	SANDBOX_RUNNING,  /* the agent has answered; agent-proxy serves the shim */
	SANDBOX_STOPPING, /* being taken down because somebody asked */
	SANDBOX_FAILED,   /* its StartVM failed; what it left is being taken down */
};
#define SANDBOX_STATES (SANDBOX_FAILED + 1)

/* How far a start has come: what may exist in the world, and so has to be taken down. */
enum start_stage {
	STAGE_NONE,      /* nothing but the reservation in the pod's netns */
	STAGE_CREATING,  /* the instance may exist: its id is not known */
	STAGE_INSTANCE,  /* the instance's id is known */
	STAGE_ADDRESSED, /* its addresses too */
	STAGE_NETWORK,   /* the tunnel is up */
	STAGE_SERVED,    /* agent-proxy has answered */
};
#define START_STAGES (STAGE_SERVED + 1)

const char *sandbox_state_name(enum sandbox_state state);
const char *start_stage_name(enum start_stage stage);
int sandbox_state_parse(const char *text, enum sandbox_state *state, struct error *err);
int start_stage_parse(const char *text, enum start_stage *stage, struct error *err);

/* May `to` follow `from`? */
bool sandbox_state_may(enum sandbox_state from, enum sandbox_state to);

#endif
