/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.h - tokens for Azure Resource Manager, by client secret, workload identity or managed identity
 */
#ifndef PEERPOD_AZURE_IDENTITY_H
#define PEERPOD_AZURE_IDENTITY_H

#include "http/bearer.h"
#include "http/http.h"
#include "providers/azure/cloud.h"
#include "providers/azure/options.h"

struct identity;

/* All must outlive it. NULL: no memory. */
struct identity *identity_new(const struct azure_options *o, const struct cloud *cloud,
	struct http_client *http);
void identity_free(struct identity *identity);

/* bearer_fetch of a struct identity. */
int identity_fetch(void *identity, struct secret *token, uint64_t *lives_ns,
	const struct bound *bound, struct error *err);

/* "client secret", "workload identity", "managed identity": which one is used. */
const char *identity_kind(const struct identity *identity);

#endif
