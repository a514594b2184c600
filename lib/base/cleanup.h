/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleanup.h - release by scope
 *
 * `cleanup(free_ptr) char *s = NULL;` frees s at the end of its scope, whichever way the scope is
 * left. Hand a value over to the caller with take_ptr(s), which leaves NULL behind. Every type of
 * this project that has a `x_free(struct x *)` gets its scope helper from DEFINE_CLEANUP.
 */
#ifndef PEERPOD_BASE_CLEANUP_H
#define PEERPOD_BASE_CLEANUP_H

#include <dirent.h>
#include <stdlib.h>
#include <stdio.h>
#include <unistd.h>

#define cleanup(function) __attribute__((cleanup(function)))

/* Defines function_ptr(type **): calls function(*p) where *p is not NULL. */
#define DEFINE_CLEANUP(type, function)              \
	static inline void function##_ptr(type **p) \
	{                                           \
		if (*p)                             \
			function(*p);               \
	}

static inline void free_ptr(void *p)
{
	free(*(void **)p);
}

static inline void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void fclose_ptr(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void closedir_ptr(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* Gives the pointer to the caller and leaves NULL behind, so that the scope frees nothing. */
#define take_ptr(p)                         \
	({                                  \
		__typeof__(p) taken_ = (p); \
		(p) = NULL;                 \
		taken_;                     \
	})

/* The same for a descriptor: leaves -1 behind. */
static inline int take_fd(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

#define array_size(a) (sizeof(a) / sizeof((a)[0]))

#endif
