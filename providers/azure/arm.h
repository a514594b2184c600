/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arm.h - one call of Azure Resource Manager: rate limit, token, repetition, errors with a kind
 */
#ifndef PEERPOD_AZURE_ARM_H
#define PEERPOD_AZURE_ARM_H

#include <jansson.h>
#include "base/bound.h"
#include "base/error.h"
#include "base/json.h"
#include "http/http.h"
#include "providers/azure/cloud.h"
#include "providers/azure/options.h"

/*
 * Versions of the API. Virtual machines: the first in which the NICs and addresses that a machine's creation makes take
 * tags; it has conditional writes and NonPersistedTPM, too.
 */
#define VERSION_VM "2025-04-01"
#define VERSION_DISK "2025-01-02"
#define VERSION_GALLERY "2025-03-03"
#define VERSION_SKUS "2021-07-01"
#define VERSION_USAGES "2025-04-01"
#define VERSION_NETWORK "2024-10-01"
#define VERSION_GROUP "2021-04-01"
#define VERSION_PERMISSIONS "2022-04-01"
#define VERSION_NETWORK_OF_VM "2022-11-01" /* networkApiVersion of a VM's NIC configurations */

struct arm;

/* Options must outlive it. */
struct arm *arm_new(const struct azure_options *o, struct error *err);
void arm_free(struct arm *arm);
const char *arm_credential(const struct arm *arm);

/* Azure counts calls of these classes apart. */
enum arm_class { ARM_READ, ARM_CREATE, ARM_WRITE, ARM_DELETE, ARM_CLASSES };

struct arm_request {
	const char *method; /* "GET" */
	enum arm_class class;
	const char
		*path; /* "/subscriptions/...?api-version=...", or a URL that ARM gave out itself */
	const json_t *body;
	const char *header; /* one more, "If-None-Match: *"; NULL: none */
	const char *what;   /* "create VM podvm-web-01234567": for messages */
};

#define ARM_URL_MAX 2048

struct arm_reply {
	int status;
	json_t *body;                /* NULL: none */
	char operation[ARM_URL_MAX]; /* Azure-AsyncOperation, "" */
	char location[ARM_URL_MAX];  /* Location, "" */
	char request_id[64];
	uint64_t retry_after_ns; /* 0: not told */
};

/*
 * Throttled calls are repeated until the bound, passing faults a few times: so only what may be done twice goes here.
 * A 401 gets a new token once. 2xx is success. Errors: "<what>: <code>: <text> (HTTP n, request id)"; *reply is filled
 * as far as there was an answer, then, too.
 */
int arm_call(struct arm *arm, const struct arm_request *request, struct arm_reply *reply,
	const struct bound *bound, struct error *err);
void arm_reply_free(struct arm_reply *reply);
#define cleanup_reply cleanup(arm_reply_free) struct arm_reply

/* A GET; the body is a new reference and an object. format: the path. */
json_t *arm_get(struct arm *arm, const char *what, const struct bound *bound, struct error *err,
	const char *format, ...) __attribute__((format(printf, 5, 6)));

/*
 * GETs a list page by page: each(with, item) for the items of "value". Stops at its failure, and at a nextLink that
 * repeats or leads to somebody else.
 */
typedef int arm_each(void *with, const json_t *item, struct error *err);
int arm_list(struct arm *arm, const char *what, const char *path, arm_each *each, void *with,
	const struct bound *bound, struct error *err);

/* GETs a blob by a signed URL of Azure's, without any token. Not appended where it cannot be had. */
void arm_fetch_blob(struct arm *arm, const char *url, size_t max, struct buf *out,
	const struct bound *bound);

/* What the headers of an answer say of how many calls are left: 0: enough, else how long to hold back. */
uint64_t arm_remaining_hold_ns(const struct http_response *response, enum arm_class class);

/* Retry-After, retry-after-ms and x-ms-retry-after-ms; 0: none. */
uint64_t arm_retry_after_ns(const struct http_response *response);

#endif
