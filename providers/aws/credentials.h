/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials.h - the key pair that requests are signed with, wherever it comes from
 *
 * Sources in order: the driver's own options, the profile of -aws-profile, web identity (IRSA), the profile
 * of AWS_PROFILE or "default" in the shared files, the container endpoint (EKS Pod Identity), the instance profile.
 * The first that is configured is used.
 */
#ifndef PEERPOD_AWS_CREDENTIALS_H
#define PEERPOD_AWS_CREDENTIALS_H

#include <stdint.h>
#include "base/bound.h"
#include "base/error.h"
#include "base/secret.h"
#include "http/http.h"
#include "providers/aws/options.h"
#include "providers/aws/place.h"

struct credentials {
	char *key_id;
	struct secret secret_key, session_token;
	int64_t expires; /* Unix time by the clock of who gave it; 0: never */
	int64_t given;   /* when it was given, by that clock; 0: not told */
};

void credentials_free(struct credentials *c);
#define cleanup_credentials cleanup(credentials_free) struct credentials

struct credential_store;

/* Options, client and place must outlive it. NULL: no memory. */
struct credential_store *credential_store_new(const struct aws_options *options,
	struct http_client *http, struct place *place);
void credential_store_free(struct credential_store *store);

/*
 * A copy of the set in use. It is renewed 15 minutes before it ends, by one thread at a time; where that fails,
 * the old set is used as long as it is good. Blocks for a renewal only where there is no good set. How long it lasts is
 * counted from when it was given: this machine's clock may be wrong.
 */
int credentials_get(struct credential_store *store, struct credentials *out,
	const struct bound *bound, struct error *err);

/* The service refused this key: the next credentials_get fetches a set, unless that has happened since. */
void credentials_refuse(struct credential_store *store, const char *key_id);

/* Readers of what sources send. ERROR_INVALID where it is not as it should be. */
int credentials_of_json(const char *source, const char *text, size_t len, struct credentials *out,
	struct error *err);
int credentials_of_sts(const char *text, size_t len, struct credentials *out, struct error *err);

/*
 * A profile of ~/.aws/credentials ([name]) or, with config, ~/.aws/config ([profile name], [default]). region
 * may be NULL. ERROR_GONE where there is no such profile, ERROR_EXISTS where it is there without a key pair (for its region,
 * mostly), ERROR_UNSUPPORTED where it gets its keys in a way that this driver does not know.
 */
int credentials_of_profile(const char *text, const char *profile, bool config,
	struct credentials *out, char **region, struct error *err);

/* "2026-03-15T10:15:30Z" to Unix time; -1 where it is no such time. */
int64_t aws_time_parse(const char *text);

#endif
