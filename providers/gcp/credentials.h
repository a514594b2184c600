/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials.h - who we are to Google: what the JSON of a key or of a federation says
 */
#ifndef PEERPOD_GCP_CREDENTIALS_H
#define PEERPOD_GCP_CREDENTIALS_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/secret.h"
#include "providers/gcp/options.h"

#define CREDENTIALS_MAX ((size_t)256 << 10)
#define UNIVERSE "googleapis.com"

enum credentials_kind {
	CREDENTIALS_METADATA,  /* none were given: the metadata server has some */
	CREDENTIALS_KEY,       /* service_account */
	CREDENTIALS_FEDERATED, /* external_account */
	CREDENTIALS_USER,      /* authorized_user */
};

struct gcp_credentials {
	enum credentials_kind kind;
	char *universe; /* domain of the APIs; never NULL once read */
	char *project, *quota_project;
	char *token_url;
	/* A key */
	EVP_PKEY *key;
	char *key_id, *email;
	/* A federation */
	char *audience, *subject_token_type, *impersonation_url;
	char *source_file, *source_url; /* one of them */
	char *source_field;    /* the member with the token; NULL: all of it is the token */
	char **source_headers; /* "Name: value" */
	int64_t lifetime_s;
	/* A user */
	char *client_id;
	struct secret client_secret, refresh_token;
};

/* Reads one of the forms of JSON. what: where it is from, for messages, which hold nothing of it. */
int credentials_read(const char *what, const char *text, size_t len, struct gcp_credentials *out,
	struct error *err);

/* Do the options name a file for them? It may be replaced at any time. */
bool credentials_are_in_file(const struct gcp_options *o);

/* From the options: GCP_CREDENTIALS, else the file, else CREDENTIALS_METADATA. Reads a file, asks nobody. */
int credentials_find(const struct gcp_options *o, struct gcp_credentials *out, struct error *err);

void credentials_free(struct gcp_credentials *c);
#define cleanup_credentials cleanup(credentials_free) struct gcp_credentials

#endif
