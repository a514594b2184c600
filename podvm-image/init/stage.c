/* SPDX-License-Identifier: Apache-2.0 */
/* stage.c - see stage.h. A line is written at once, so that lines of other programs do not cut it. */
#include "stage.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static uint64_t origin_ns;

static uint64_t boot_ns(void)
{
	/* Unlike CLOCK_MONOTONIC it counts a suspended machine's time too: seconds since power-on. */
	struct timespec now;
	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void stage_count_from_now(void)
{
	origin_ns = boot_ns();
}

void stage_line(const char *format, ...)
{
	char text[512], line[600];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);

	uint64_t ms = (boot_ns() - origin_ns) / 1000000;
	int len = snprintf(line, sizeof(line), "podvm-init: %llu.%03llu s %s\n",
		(unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000), text);
	if (len > 0 && write(STDERR_FILENO, line, (size_t)len) < 0)
		return; /* nobody is there to read it */
}
