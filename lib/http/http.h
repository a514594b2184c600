/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - blocking HTTP(S) calls to clouds and metadata services
 *
 * A client holds connections that are kept between calls; any number of threads may call at once. A call
 * ends at its bound, takes in no more than its limits, and follows no redirect: what comes back is the
 * answer, whatever its status. Nothing of a request or an answer is logged, and answers are overwritten
 * when they are freed: both may hold secrets.
 *
 * Certificates are checked against the client's CA file, else $SSL_CERT_FILE, else the system's. Proxies
 * come from the environment (https_proxy, http_proxy, no_proxy), unless the request says not to use any.
 */
#ifndef PEERPOD_HTTP_HTTP_H
#define PEERPOD_HTTP_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/bound.h"
#include "base/buf.h"
#include "base/error.h"

#define HTTP_BODY_MAX ((size_t)16 << 20)    /* where a request sets no limit */
#define HTTP_HEADERS_MAX ((size_t)64 << 10) /* likewise, all header lines together */

struct http_client;

/* ca_file: "" or NULL for the default. One per driver. */
struct http_client *http_client_new(const char *ca_file, struct error *err);
void http_client_free(struct http_client *client);

struct http_request {
	const char *method;         /* "GET" */
	const char *url;            /* http or https */
	const char *const *headers; /* "Name: value" lines, NULL-terminated; NULL: none */
	const void *body;
	size_t body_len;
	size_t body_max, headers_max; /* of the answer; 0: the defaults above */
	uint64_t connect_ns;          /* how long connecting may take; 0: 10 s */
	bool direct;                  /* use no proxy: link-local services */
};

struct http_response {
	int status;
	struct buf headers; /* the final answer's lines, each ended by \n */
	struct buf body;
};

/*
 * 0 when an answer came, whatever its status. Else -1: ERROR_TIMEOUT and ERROR_CANCELED from the bound;
 * ERROR_RETRY where name, connection or transfer failed (the peer may have acted on the request);
 * ERROR_DENIED for a certificate that does not convince; ERROR_INVALID for a bad URL and for an answer
 * over its limits. Messages name the host and not the query.
 */
int http_call(struct http_client *client, const struct http_request *request,
	struct http_response *response, const struct bound *bound, struct error *err);

/* The first header of this name, into value (cut to size); false: there is none. */
bool http_response_header(const struct http_response *response, const char *name, char *value,
	size_t size);

/* Unix time of the Date header; 0: none. */
int64_t http_response_date(const struct http_response *response);

/* What Retry-After says, seconds or a date, at most an hour; 0: nothing. */
uint64_t http_response_retry_after_ns(const struct http_response *response);

void http_response_free(struct http_response *response);
#define cleanup_response cleanup(http_response_free) struct http_response

#endif
