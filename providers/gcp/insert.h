/* SPDX-License-Identifier: Apache-2.0 */
/*
 * insert.h - the request that makes an instance
 */
#ifndef PEERPOD_GCP_INSERT_H
#define PEERPOD_GCP_INSERT_H

#include <jansson.h>
#include "providers/choice/choice.h"
#include "providers/gcp/image.h"
#include "providers/gcp/options.h"
#include "providers/gcp/place.h"
#include "providers/provider.h"

/* A metadata value has at most 256 KiB, and user data goes as base64. */
#define USER_DATA_MAX ((size_t)256 / 4 * 3 << 10)

struct insert {
	const struct gcp_options *options;
	const struct instance_request *request;
	const struct location *at;
	const struct image_facts *image;
	const struct offering *offering;
	const json_t *tags;    /* NULL: none */
	enum instance_tee tee; /* never TEE_DEFAULT */
	const char *name;
};

/* What no offering can mend. */
int insert_check(const struct gcp_options *o, const struct instance_request *r, struct error *err);

/* The body; a new object. */
int insert_body(const struct insert *in, json_t **out, struct error *err);

#endif
