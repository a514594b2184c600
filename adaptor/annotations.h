/* SPDX-License-Identifier: Apache-2.0 */
/*
 * annotations.h - what the shim says about a pod in CreateVM
 *
 * The shims send nine keys, always all of them, empty where there is nothing to say; other keys are
 * ignored. A value that is wrong is refused with a message that names the annotation.
 *
 * No shim passes on a key for the kind of confidential VM or for spot, so the machine type carries them:
 * "m6a.large,tee=snp,market=spot", each part optional.
 */
#ifndef PEERPOD_ADAPTOR_ANNOTATIONS_H
#define PEERPOD_ADAPTOR_ANNOTATIONS_H

#include <stddef.h>
#include <stdint.h>
#include "adaptor/sandbox_id.h"
#include "base/error.h"
#include "providers/provider.h"

struct annotation {
	const char *key, *value; /* NULL counts as empty */
};

/* Strings owned, never NULL after annotations_read. */
struct pod_request {
	char *pod, *pod_namespace;
	char *pod_uid;      /* from a CRI-O sandbox name, else "": no shim sends it */
	char *machine_type; /* "": the provider's choice */
	enum instance_tee tee;
	enum instance_market market;
	char *image;        /* "": the configured one */
	char *gpu_model;    /* a hint */
	char *initdata;     /* TOML text, exact bytes; "" where the pod brings none */
	int64_t vcpus;      /* 0: default */
	int64_t memory_mib; /* 0: default */
	int64_t gpus;
};

/* Who it is, and nothing else: pod, pod_namespace and pod_uid. On failure nothing is left to free. */
int annotations_read_names(const struct annotation *annotations, size_t count,
	struct pod_request *request, struct error *err);

/* All of it. On failure nothing is left to free. */
int annotations_read(const struct annotation *annotations, size_t count,
	struct pod_request *request, struct error *err);
void pod_request_free(struct pod_request *request);

#endif
