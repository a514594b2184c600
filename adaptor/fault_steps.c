/* SPDX-License-Identifier: Apache-2.0 */
/* fault_steps.c - see fault_steps.h */
#include "adaptor/fault_steps.h"

#include "base/fault.h"

#define FAULT_STEP_NAMES(name, text) {text ".before", text ".after"},
static const struct {
	const char *before, *after;
} steps[FAULT_STEP_COUNT] = {FAULT_STEPS(FAULT_STEP_NAMES)};

void fault_before(enum fault_step step)
{
	fault_point(steps[step].before);
}

void fault_after(enum fault_step step)
{
	fault_point(steps[step].after);
}

void fault_steps_print(FILE *out)
{
	for (int i = 0; i < FAULT_STEP_COUNT; i++)
		fprintf(out, "%s\n%s\n", steps[i].before, steps[i].after);
}
