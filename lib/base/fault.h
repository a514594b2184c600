/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fault.h - named places where a test can make the process die
 *
 * In builds for tests (SAN=address) a process whose environment has PEERPOD_FAULT=<name> kills itself
 * with SIGKILL when it reaches fault_point("<name>"). In every other build this is nothing at all.
 */
#ifndef PEERPOD_BASE_FAULT_H
#define PEERPOD_BASE_FAULT_H

#ifdef PEERPOD_FAULTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static inline void fault_point(const char *name)
{
	const char *wanted = getenv("PEERPOD_FAULT");
	if (wanted && !strcmp(wanted, name))
		raise(SIGKILL);
}
#else
static inline void fault_point(const char *name)
{
	(void)name;
}
#endif

#endif
