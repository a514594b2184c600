/* SPDX-License-Identifier: Apache-2.0 */
/*
 * imds.h - the instance metadata service: what this machine is told about itself
 */
#ifndef PEERPOD_AZURE_IMDS_H
#define PEERPOD_AZURE_IMDS_H

#include "base/bound.h"
#include "base/error.h"
#include "http/http.h"
#include "providers/azure/options.h"

#define IMDS_ANSWER_MAX ((size_t)256 << 10) /* user data and tags may be in it */

/*
 * Asks once, for at most 10 s. 0 when an answer came, whatever its status: what is said by it differs between the paths.
 * ERROR_RETRY where none came, be it that nobody listens or that it took too long.
 */
int imds_get(struct http_client *http, const struct azure_options *o, const char *path,
	struct http_response *response, const struct bound *bound, struct error *err);

#endif
