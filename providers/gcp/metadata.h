/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metadata.h - the metadata server of a Compute Engine instance
 */
#ifndef PEERPOD_GCP_METADATA_H
#define PEERPOD_GCP_METADATA_H

#include "base/bound.h"
#include "base/buf.h"
#include "base/error.h"
#include "http/http.h"

struct metadata;

/* host: "host" or "host:port"; "": Google's. http must outlive it. NULL: no memory. */
struct metadata *metadata_new(const char *host, struct http_client *http);
void metadata_free(struct metadata *m);

/*
 * GET of computeMetadata/v1/<path>. ERROR_GONE where it has no such thing, ERROR_RETRY where there is no metadata server
 * or it does not answer.
 */
int metadata_get(struct metadata *m, const char *path, struct buf *out, const struct bound *bound,
	struct error *err);

#endif
