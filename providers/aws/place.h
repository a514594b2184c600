/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.h - where pod VMs go: region, subnets, security groups, key pair
 *
 * What the options leave empty is asked of the instance metadata service (IMDSv2) when it is first needed, each value
 * for itself, and kept. Start-up asks nothing.
 */
#ifndef PEERPOD_AWS_PLACE_H
#define PEERPOD_AWS_PLACE_H

#include "base/bound.h"
#include "base/buf.h"
#include "base/error.h"
#include "http/http.h"
#include "providers/aws/options.h"

struct place;

struct place *place_new(const struct aws_options *options, struct http_client *http);
void place_free(struct place *place);

/* Kept by the place. ERROR_INVALID, naming the variable, where nothing tells it. */
const char *place_region(struct place *place, const struct bound *bound, struct error *err);

/* NULL-terminated lists and a name ("": none), kept by the place. */
struct place_network {
	char *const *subnets;
	char *const *security_groups;
	const char *key_name;
};
int place_network(struct place *place, struct place_network *out, const struct bound *bound,
	struct error *err);

/*
 * GET of the metadata service, /latest/meta-data/ before the path. ERROR_GONE where the path is not there,
 * ERROR_UNSUPPORTED where the service is switched off, ERROR_RETRY where it does not answer. *date: the service's own
 * time, 0: not told; NULL: not wanted.
 */
int imds_get(struct place *place, const char *path, struct buf *out, int64_t *date,
	const struct bound *bound, struct error *err);

/* Readers of its answers, new strings: a list with any white space between, and the first line of "0=NAME" lines. */
char **imds_words(const char *text);
char *imds_key_pair(const char *text);

/* A string of the shared config file's profile. */
char *place_profile_region(const struct aws_options *options);

#endif
