/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage.h - one line on the console for each stage of the boot
 *
 * "podvm-init: 1.234 s modules 12": seconds since the machine (or, in namespaces, podvm-init) was
 * started. These lines are what a failed start shows to the user, and what boot times are measured by.
 */
#ifndef PEERPOD_INIT_STAGE_H
#define PEERPOD_INIT_STAGE_H

#include <stdbool.h>

/* Times count from now on instead of from the start of the machine. */
void stage_count_from_now(void);

void stage_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
