/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules.h - which agent calls are changed on their way, and how
 *
 * A rule names a method and edits the bytes of its request: everything that it does not touch leaves
 * as it came. Several rules may name one method; they apply in the order of the table.
 */
#ifndef PEERPOD_VSOCK_RULES_H
#define PEERPOD_VSOCK_RULES_H

#include "base/buf.h"
#include "base/error.h"
#include "ttrpc/frame.h"

/* What rules may know of the outside. */
struct rule_settings {
	const char *pod_netns; /* forwarder: path of the pod's network namespace in the VM */
};

/*
 * Edits the payload in place. 0: done (*changed says whether anything was). -1: the caller gets err as the
 * answer and nothing is forwarded.
 */
typedef int rule_edit(const struct rule_settings *settings, struct buf *payload, bool *changed,
	struct error *err);

struct rule {
	const char *name; /* for OpenRequest.rules and for logs */
	const char *service, *method;
	rule_edit *edit;
};

struct rule_set {
	const struct rule *rules;
	size_t count;
	struct rule_settings settings;
	uint64_t disabled; /* bit n: rule n does not apply */
};

extern const struct rule proxy_rules[];
extern const size_t proxy_rule_count;
extern const struct rule forwarder_rules[];
extern const size_t forwarder_rule_count;

/* Does a rule name this method? */
bool rules_concern(const struct rule_set *set, const struct ttrpc_request *request);

/*
 * Applies them. *changed: payload holds what is to be sent instead. -1: as rule_edit.
 */
int rules_apply(const struct rule_set *set, const struct ttrpc_request *request,
	struct buf *payload, bool *changed, struct error *err);

/* May this call be made twice without harm (it reads, or it waits)? */
bool method_repeatable(const struct ttrpc_request *request);

bool request_is(const struct ttrpc_request *request, const char *service, const char *method);

#endif
