/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cloud.h - a driver, loaded and opened as the command line and the environment say
 */
#ifndef PEERPODCTL_CLOUD_H
#define PEERPODCTL_CLOUD_H

#include "providers/provider.h"
#include "peerpodctl/verb.h"

struct cloud {
	const struct provider_table *table;
	struct provider *provider;
	struct option_set set;
	struct bound bound; /* for all that the command does with it */
};

/* Close with cloud_close, also after a failure. */
int cloud_open(struct invocation *in, struct cloud *cloud, struct error *err);
void cloud_close(struct cloud *cloud);

/* Loads the driver and prints its options. */
int cloud_help(const char *provider, const char *folder, FILE *out, struct error *err);

/* "aws"; an error where none is named. */
int cloud_named(struct invocation *in, struct error *err);

#endif
