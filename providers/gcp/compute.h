/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compute.h - calls of Compute Engine and of Resource Manager
 *
 * Throttled, authorized, and sent again where that is safe: every change carries a requestId by which the cloud knows it
 * again.
 */
#ifndef PEERPOD_GCP_COMPUTE_H
#define PEERPOD_GCP_COMPUTE_H

#include <jansson.h>
#include <stdint.h>
#include "base/bound.h"
#include "base/buf.h"
#include "base/error.h"
#include "providers/gcp/credentials.h"
#include "providers/gcp/options.h"

struct compute;
struct metadata;

/* Each has a bucket of its own, shared by all pods. */
enum compute_class {
	COMPUTE_CREATE,
	COMPUTE_CHANGE,
	COMPUTE_READ,
	COMPUTE_MANAGER,
	COMPUTE_CLASSES
};

struct compute *compute_new(const struct gcp_options *options,
	const struct gcp_credentials *credentials, struct error *err);
void compute_free(struct compute *c);

struct metadata *compute_metadata(struct compute *c);

struct compute_call {
	const char *what; /* "instances.insert": for messages */
	enum compute_class class;
	const char *method;
	const char *path; /* "projects/P/zones/Z/instances?..."; with COMPUTE_MANAGER "v3/..." */
	const char *body; /* JSON; NULL: none */
	size_t body_len;
	uint64_t answer_ns; /* how long one answer may take; 0: 30 s */
	unsigned faults;    /* tries of a call that fails in passing; 0: 5 */
};

/*
 * *reply is a new object. ERROR_GONE and the like as failure.h has them; an answer that is no JSON object is ERROR_RETRY.
 * date: NULL, or where Google's clock goes (Unix time; 0: not told).
 */
int compute_call(struct compute *c, const struct compute_call *call, json_t **reply, int64_t *date,
	const struct bound *bound, struct error *err);

/* A GET of the class COMPUTE_READ. */
int compute_get(struct compute *c, const char *what, const char *path, json_t **reply,
	const struct bound *bound, struct error *err);

/*
 * Goes through all pages of a list, a GET: each page's object is given to `page`, which may keep nothing of it. The
 * path is without maxResults and pageToken.
 */
int compute_pages(struct compute *c, const struct compute_call *call,
	int (*page)(void *with, const json_t *page, struct error *err), void *with,
	const struct bound *bound, struct error *err);

#endif
