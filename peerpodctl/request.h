/* SPDX-License-Identifier: Apache-2.0 */
/*
 * request.h - what an instance is to be able to do: from options, or from a line of JSON
 *
 *   {"vcpu": 8, "memory": "16Gi", "gpu": 1, "tee": "snp", "types": ["m6a.xlarge"], "zones": ["a"], "spot": true}
 */
#ifndef PEERPODCTL_REQUEST_H
#define PEERPODCTL_REQUEST_H

#include "base/error.h"
#include "providers/choice/choice.h"

struct request {
	int64_t vcpus, memory_mib, gpus;
	unsigned tees;
	char **types, **zones; /* NULL or empty: any */
	bool spot;
};

/* One JSON object; every member may be left out, and others are refused. On failure nothing is left to free. */
int request_read(const char *text, size_t len, struct request *request, struct error *err);
void request_free(struct request *request);

/* "snp", "tdx", "sev"; "none" and "": no need. */
int tee_parse(const char *text, unsigned *tees, struct error *err);

/* For choice_rank; borrows the lists. */
struct choice_request request_wish(const struct request *request);

/* "8 vCPU, 16 GiB, 1 GPU, snp, spot or on-demand". Appended. */
void request_print(const struct request *request, struct buf *out);

#endif
