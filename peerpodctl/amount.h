/* SPDX-License-Identifier: Apache-2.0 */
/*
 * amount.h - how much of something: "8", "16Gi"
 */
#ifndef PEERPODCTL_AMOUNT_H
#define PEERPODCTL_AMOUNT_H

#include <stdint.h>
#include "base/error.h"

/*
 * "16Gi", "512Mi", "1.5Gi", "2Ti", also decimal "16G", "512M": MiB, rounded up. A unit is required: bare bytes are what
 * nobody means.
 */
int memory_parse(const char *text, int64_t *mib, struct error *err);

/* A whole number of 0 to most. */
int count_parse(const char *text, int64_t most, int64_t *count, struct error *err);

#define VCPUS_MOST 100000
#define GPUS_MOST 1024

#endif
