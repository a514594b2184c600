/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cloud.h - which of Azure's clouds: where tokens come from, where the API is, and what tokens are for
 */
#ifndef PEERPOD_AZURE_CLOUD_H
#define PEERPOD_AZURE_CLOUD_H

#include "base/error.h"
#include "providers/azure/options.h"

struct cloud {
	char authority[256]; /* "https://login.microsoftonline.com", without a slash at the end */
	char arm[256];       /* "https://management.azure.com", likewise */
	char audience[256];  /* "https://management.azure.com" */
};

/*
 * From AZURE_AUTHORITY_HOST (empty: the public cloud), with AZURE_RESOURCE_MANAGER_ENDPOINT and
 * AZURE_RESOURCE_MANAGER_AUDIENCE over it. ERROR_INVALID where the authority is not a known one and the endpoint is not
 * told, and for plain http to anything but this machine.
 */
int cloud_of(const struct azure_options *o, struct cloud *cloud, struct error *err);

/* https, or http to this machine. */
int url_check(const char *url, const char *variable, struct error *err);

/* Do both have the same scheme, host and port? Tokens go nowhere else. */
bool same_origin(const char *a, const char *b);

/* The service's URL without slashes at its end, into to (cut to size). */
void url_base(char *to, size_t size, const char *url);

#endif
