/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sign.h - Signature Version 4 for POST /
 */
#ifndef PEERPOD_AWS_SIGN_H
#define PEERPOD_AWS_SIGN_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/secret.h"

#define FORM_TYPE "application/x-www-form-urlencoded; charset=utf-8"
#define FORM_HEADER ("Content-Type: " FORM_TYPE)

struct sign_input {
	const char *key_id;
	const struct secret *secret_key;
	const struct secret *session_token; /* empty: none */
	const char *host;                   /* with the port where it is not the scheme's own */
	const char *region, *service;
	const char *content_type,
		*target; /* NULL: a form; none. target: X-Amz-Target, of JSON services */
	int64_t now;     /* Unix time */
	const void *body;
	size_t body_len;
};

/* "20260315T101530Z" */
#define SIGN_TIME_SIZE 17
void sign_time(int64_t now, char text[SIGN_TIME_SIZE]);

/* Appends the value of the Authorization header. */
int sign_request(const struct sign_input *in, struct buf *authorization, struct error *err);

#endif
