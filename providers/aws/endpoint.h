/* SPDX-License-Identifier: Apache-2.0 */
/*
 * endpoint.h - the URL of a service in a region, and the host name that is signed
 */
#ifndef PEERPOD_AWS_ENDPOINT_H
#define PEERPOD_AWS_ENDPOINT_H

#include "base/error.h"
#include "providers/aws/options.h"

struct endpoint {
	char url[512];  /* with one slash at the end */
	char host[256]; /* as in the Host header: with a port that is not the scheme's own */
};

/* service: "ec2" or "sts" */
int endpoint_make(const struct aws_options *o, const char *service, const char *region,
	struct endpoint *out, struct error *err);

#endif
