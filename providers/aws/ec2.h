/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ec2.h - one call of the EC2 API: rate limit, signature, repetition, errors with a kind
 */
#ifndef PEERPOD_AWS_EC2_H
#define PEERPOD_AWS_EC2_H

#include "base/bound.h"
#include "base/error.h"
#include "base/json.h"
#include "providers/aws/options.h"
#include "providers/aws/place.h"
#include "providers/aws/query.h"
#include "providers/aws/xml.h"

struct ec2;

/* Options must outlive it. */
struct ec2 *ec2_new(const struct aws_options *options, struct error *err);
void ec2_free(struct ec2 *ec2);
struct place *ec2_place(struct ec2 *ec2);

/* Amazon counts calls of these classes apart. */
enum ec2_class { EC2_CREATE, EC2_CHANGE, EC2_READ, EC2_CLASSES };

/*
 * *reply is the answer: xmlFreeDoc. Throttled calls are repeated until the bound, passing faults a few times, unless the
 * query says `once` (RunInstances may be repeated: it carries a ClientToken). Credentials that are refused are renewed
 * once, and a clock that is off is put right once. Errors: "RunInstances: <code>: <text> (HTTP n, request id)".
 */
int ec2_call(struct ec2 *ec2, enum ec2_class class, const struct query *query, xmlDoc **reply,
	const struct bound *bound, struct error *err);

/* A list that comes page by page; begins as {0}. */
struct ec2_pages {
	xmlNode *page; /* the last that came, until the next is asked for */
	xmlDoc *reply;
	char *next; /* NULL: that was the last */
	size_t query_len;
};

/* The next page, a call of the class EC2_READ: 1 it came, 0 there are no more, -1. The query is that of the first. */
int ec2_page(struct ec2 *ec2, struct query *query, struct ec2_pages *pages,
	const struct bound *bound, struct error *err);
void ec2_pages_free(struct ec2_pages *pages);
#define cleanup_pages cleanup(ec2_pages_free) struct ec2_pages

/*
 * One call of a service that speaks JSON ("servicequotas"), with these credentials. target: "Prefix.Action". *reply is new.
 * Throttled calls and passing faults are repeated within the bound.
 */
int aws_json_call(struct ec2 *ec2, const char *service, const char *target, const char *body,
	json_t **reply, const struct bound *bound, struct error *err);

/* The same as ec2_call where the answer says nothing of interest. */
int ec2_do(struct ec2 *ec2, enum ec2_class class, const struct query *query,
	const struct bound *bound, struct error *err);

#endif
