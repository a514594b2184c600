/* SPDX-License-Identifier: Apache-2.0 */
/* state.c - see state.h */
#include "adaptor/state.h"

#include <string.h>

static const char *const state_names[SANDBOX_STATES] = {
	[SANDBOX_CREATED] = "created",
	[SANDBOX_STARTING] = "starting",
	[SANDBOX_RUNNING] = "running",
	[SANDBOX_STOPPING] = "stopping",
	[SANDBOX_FAILED] = "failed",
};

static const char *const stage_names[START_STAGES] = {
	[STAGE_NONE] = "none",
	[STAGE_CREATING] = "creating",
	[STAGE_INSTANCE] = "instance",
	[STAGE_ADDRESSED] = "addressed",
	[STAGE_NETWORK] = "network",
	[STAGE_SERVED] = "served",
};

/* transitions[from][to]. A sandbox that is stopping ends by disappearing. */
static const bool transitions[SANDBOX_STATES][SANDBOX_STATES] = {
	[SANDBOX_CREATED] = {[SANDBOX_STARTING] = true, [SANDBOX_STOPPING] = true},
	[SANDBOX_STARTING] =
		{[SANDBOX_RUNNING] = true, [SANDBOX_FAILED] = true, [SANDBOX_STOPPING] = true},
	[SANDBOX_RUNNING] = {[SANDBOX_STOPPING] = true},
	[SANDBOX_STOPPING] = {false},
	[SANDBOX_FAILED] = {[SANDBOX_STOPPING] = true},
};

const char *sandbox_state_name(enum sandbox_state state)
{
	return state_names[state];
}

const char *start_stage_name(enum start_stage stage)
{
	return stage_names[stage];
}

/* The place of text in names, or -1. */
static int find_name(const char *const *names, int count, const char *text)
{
	for (int i = 0; i < count; i++) {
		if (!strcmp(names[i], text))
			return i;
	}
	return -1;
}

int sandbox_state_parse(const char *text, enum sandbox_state *state, struct error *err)
{
	int found = find_name(state_names, SANDBOX_STATES, text);
	if (found < 0)
		return error_set(err, ERROR_INVALID, "\"%s\" is no state of a sandbox", text);
	*state = (enum sandbox_state)found;
	return 0;
}

int start_stage_parse(const char *text, enum start_stage *stage, struct error *err)
{
	int found = find_name(stage_names, START_STAGES, text);
	if (found < 0)
		return error_set(err, ERROR_INVALID, "\"%s\" is no stage of a start", text);
	*stage = (enum start_stage)found;
	return 0;
}

bool sandbox_state_may(enum sandbox_state from, enum sandbox_state to)
{
	return transitions[from][to];
}
