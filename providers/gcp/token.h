/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token.h - access tokens for credentials
 */
#ifndef PEERPOD_GCP_TOKEN_H
#define PEERPOD_GCP_TOKEN_H

#include <stdint.h>
#include "base/bound.h"
#include "base/buf.h"
#include "base/error.h"
#include "http/http.h"
#include "providers/gcp/credentials.h"
#include "providers/gcp/metadata.h"

/* Resource Manager's tags need it; compute alone would not do. */
#define TOKEN_SCOPE "https://www.googleapis.com/auth/cloud-platform"

struct token_source;

/* credentials: those that the options gave at the start. All must outlive it. NULL: no memory. */
struct token_source *token_source_new(const struct gcp_options *options,
	const struct gcp_credentials *credentials, struct http_client *http,
	struct metadata *metadata);
void token_source_free(struct token_source *s);

/* A bearer_fetch; with: a struct token_source. */
int token_fetch(void *with, struct secret *token, uint64_t *lives_ns, const struct bound *bound,
	struct error *err);

/* The signed assertion of a key for a token from now on (Unix time); appended to out. */
int jwt_sign(const struct gcp_credentials *c, int64_t now, struct buf *out, struct error *err);

/* Readers of answers. */
int token_read(const char *what, const void *body, size_t len, struct secret *token,
	uint64_t *lives_ns, struct error *err);
int impersonated_token_read(const void *body, size_t len, int64_t now, struct secret *token,
	uint64_t *lives_ns, struct error *err);
/* *clock: the server finds our clock wrong. The result is -1. */
int token_failure_read(const char *what, int status, const void *body, size_t len, bool *clock,
	struct error *err);
/* The subject's token in a file or an answer. field: NULL: all of it. */
int subject_token_read(const char *what, const void *text, size_t len, const char *field,
	struct secret *token, struct error *err);

#endif
