/* SPDX-License-Identifier: Apache-2.0 */
/*
 * medium.h - disks known by label, and the user data that one of them carries
 */
#ifndef PEERPOD_INIT_MEDIUM_H
#define PEERPOD_INIT_MEDIUM_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

enum medium_type { MEDIUM_ISO9660, MEDIUM_EXT4 };

/*
 * Looks for a file system of this type and label (in any case) on the block devices of this machine.
 * 0: device holds its path. -1: none has it.
 */
int medium_find(enum medium_type type, const char *label, char *device, size_t size);

/* Waits for the GPT partition of this name, at most timeout_ns; device holds its path. */
int medium_wait_partition(const char *name, uint64_t timeout_ns, char *device, size_t size,
	struct error *err);

/* The label in the head of a file system, NUL-terminated; -1 where it is not of this type. */
int medium_label(enum medium_type type, const void *head, size_t len, char label[33]);

/* How much of a device medium_label wants to see. */
#define MEDIUM_HEAD_SIZE ((size_t)34 * 1024)

/*
 * Makes the user data readable at path (/media/cidata/user-data): from the firmware configuration
 * entry opt/org.peerpod/user-data, else from the ISO9660 medium with the label cidata, which may still be about to
 * appear for timeout_ns. from: where it was found. ERROR_GONE: nowhere.
 */
int medium_provide(const char *path, uint64_t timeout_ns, char *from, size_t size,
	struct error *err);

#endif
