/* SPDX-License-Identifier: Apache-2.0 */
/* imds.h - asking a cloud's metadata service */
#ifndef PEERPOD_PROCESS_USER_DATA_IMDS_H
#define PEERPOD_PROCESS_USER_DATA_IMDS_H

#include "source.h"

/* What base64 makes of the largest user data, and some line ends. */
#define IMDS_BODY_MAX 1572864

/* Once, before the others. */
int imds_init(struct error *err);

/*
 * Appends the user data as they are meant (base64 taken off). endpoint: instead of the cloud's own, for
 * tests; "" otherwise. Blocks for at most ten seconds and within bound. Everything that may pass by
 * itself is ERROR_RETRY or ERROR_TIMEOUT.
 */
int imds_fetch(const struct cloud *cloud, const char *endpoint, const struct bound *bound,
	struct buf *out, struct error *err);

/* Whether the cloud's probe answers with status 200; blocks for at most two seconds. */
bool imds_probe(const struct cloud *cloud, const char *endpoint, const struct bound *bound);

/* The user data in an answer: base64 taken off where the cloud has it. Pure. */
int imds_decode(const struct cloud *cloud, const struct buf *body, struct buf *out,
	struct error *err);

#endif
