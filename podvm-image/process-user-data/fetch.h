/* SPDX-License-Identifier: Apache-2.0 */
/* fetch.h - getting a user data document that can be read, with patience */
#ifndef PEERPOD_PROCESS_USER_DATA_FETCH_H
#define PEERPOD_PROCESS_USER_DATA_FETCH_H

#include "cloudinit/cloudinit.h"
#include "source.h"

/*
 * Fetches and parses until it works, bound ends, or what is there has proved unreadable several
 * times. root and endpoint as for machine_read and imds_fetch.
 */
int user_data_fetch(const struct source *source, const char *root, const char *endpoint,
	const struct bound *bound, struct cloudinit *document, struct error *err);

#endif
