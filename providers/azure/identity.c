/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.c - see identity.h
 *
 * A table of sources; the first that is configured is used, and no other is tried when it fails, so that what is wrong
 * with it is told. Repetition: what Entra ID refuses is told at once; what fails in passing is asked again when it says so,
 * else by the caller.
 * The metadata service is asked again here: it answers 404, 410 and 429 while it comes up or is renewed, 410 for up to
 * 70 s, which is longer than one fetch; the caller's next ones go on.
 */
#include "providers/azure/identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "http/attempt.h"
#include "providers/azure/imds.h"
#include "providers/azure/token.h"

#define TRY_NS (10 * NS_PER_S)
#define IMDS_PATH "/metadata/identity/oauth2/token?api-version=2018-02-01&resource="
#define IMDS_MOST_NS (8 * NS_PER_S)
#define ASSERTION_MAX ((size_t)32 << 10)
#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

struct source {
	const char *name, *kind; /* for messages; of AZURE_CREDENTIAL */
	bool (*configured)(const struct azure_options *o);
	int (*fetch)(struct identity *i, struct secret *token, uint64_t *lives_ns,
		const struct bound *bound, struct error *err);
};

struct identity {
	const struct azure_options *options;
	const struct cloud *cloud;
	struct http_client *http;
	const struct source *source;
};

/* application/x-www-form-urlencoded */
static void encode(struct buf *out, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			     (*p >= '0' && *p <= '9') || strchr("-._~", *p);
		char coded[3] = {'%', hex[*p >> 4], hex[*p & 15]};
		if (plain)
			buf_append(out, p, 1);
		else
			buf_append(out, coded, sizeof(coded));
	}
}

static void field(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, "%s%s=", out->len ? "&" : "", name);
	encode(out, value);
}

/* ---- Entra ID ---------------------------------------------------------------------------------------------- */

static int entra_ask(struct identity *i, struct buf *form, struct secret *token, uint64_t *lives_ns,
	const struct bound *bound, struct error *err)
{
	static const char *const headers[] = {"Content-Type: application/x-www-form-urlencoded",
		"Accept: application/json", NULL};
	cleanup(buf_free) struct buf url = BUF_INIT, scope = BUF_INIT;
	struct attempt attempt = {.who = "azure"};
	buf_printf(&scope, "%s/.default", i->cloud->audience);
	field(form, "client_id", secret_reveal(&i->options->client_id));
	field(form, "scope", buf_text(&scope));
	field(form, "grant_type", "client_credentials");
	buf_printf(&url, "%s/%s/oauth2/v2.0/token", i->cloud->authority,
		secret_reveal(&i->options->tenant_id));
	if (form->failed || url.failed || scope.failed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	const struct http_request request = {.method = "POST",
		.url = buf_text(&url),
		.headers = headers,
		.body = form->data,
		.body_len = form->len,
		.body_max = TOKEN_ANSWER_MAX};
	for (;;) {
		cleanup_error why = ERROR_INIT;
		cleanup_response response = {0};
		struct bound within = bound_within(bound, TRY_NS);
		int64_t now = time(NULL);
		if (http_call(i->http, &request, &response, &within, err) < 0) {
			/* One try's own limit is a passing fault, unless the caller's bound is over, too. */
			if (err && err->kind == ERROR_TIMEOUT && bound_left_ns(bound) > 0)
				err->kind = ERROR_RETRY;
			return -1;
		}
		if (response.status == 200)
			return token_read("Entra ID", response.body.data, response.body.len, now,
				token, lives_ns, err);
		token_refusal_read(response.status, response.body.data, response.body.len, &why);
		/* When to come again is told to us, not to our caller. */
		uint64_t retry_after_ns = http_response_retry_after_ns(&response);
		if (!retry_after_ns || !attempt_again(&attempt, retry_after_ns, bound, &why))
			return error_move(err, &why);
	}
}

static int fetch_secret(struct identity *i, struct secret *token, uint64_t *lives_ns,
	const struct bound *bound, struct error *err)
{
	cleanup(buf_wipe) struct buf form = BUF_INIT;
	field(&form, "client_secret", secret_reveal(&i->options->client_secret));
	return entra_ask(i, &form, token, lives_ns, bound, err);
}

/* The file is renewed by the kubelet: it is read for every request. */
static int fetch_workload(struct identity *i, struct secret *token, uint64_t *lives_ns,
	const struct bound *bound, struct error *err)
{
	cleanup(buf_wipe) struct buf form = BUF_INIT, assertion = BUF_INIT;
	if (file_read(i->options->token_file, ASSERTION_MAX, &assertion, err) < 0) {
		error_prefix(err, "AZURE_FEDERATED_TOKEN_FILE");
		if (err && err->kind == ERROR_GONE)
			err->kind = ERROR_DENIED;
		return -1;
	}
	char *text = (char *)assertion.data;
	size_t len = text ? strlen(text) : 0;
	while (len && strchr(" \t\r\n", text[len - 1]))
		text[--len] = '\0';
	const char *start = text ? text + strspn(text, " \t\r\n") : "";
	if (!*start)
		return error_set(err, ERROR_DENIED, "AZURE_FEDERATED_TOKEN_FILE: %s is empty",
			i->options->token_file);
	field(&form, "client_assertion_type", ASSERTION_TYPE);
	field(&form, "client_assertion", start);
	return entra_ask(i, &form, token, lives_ns, bound, err);
}

/* ---- the instance metadata service ------------------------------------------------------------------------- */

static int imds_ask(struct identity *i, const char *path, struct secret *token, uint64_t *lives_ns,
	const struct bound *bound, struct error *err)
{
	cleanup_response response = {0};
	int64_t now = time(NULL);
	if (imds_get(i->http, i->options, path, &response, bound, err) < 0)
		return -1;
	if (response.status == 200)
		return token_read("instance metadata service", response.body.data,
			response.body.len, now, token, lives_ns, err);
	return imds_refusal_read(response.status, response.body.data, response.body.len, err);
}

static int fetch_managed(struct identity *i, struct secret *token, uint64_t *lives_ns,
	const struct bound *bound, struct error *err)
{
	cleanup(buf_wipe) struct buf path = BUF_INIT;
	buf_append_text(&path, IMDS_PATH);
	encode(&path, i->cloud->audience);
	encode(&path, "/");
	if (!secret_is_empty(&i->options->client_id))
		field(&path, "client_id", secret_reveal(&i->options->client_id));
	if (path.failed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	uint64_t pause = 500 * NS_PER_MS;
	for (;;) {
		cleanup_error why = ERROR_INIT;
		if (imds_ask(i, buf_text(&path), token, lives_ns, bound, &why) == 0)
			return 0;
		/* The error of the last try says more than that the time is over. */
		if (why.kind != ERROR_RETRY || pause >= bound_left_ns(bound) ||
			bound_sleep(bound, pause, "ask for a token again", NULL) < 0)
			return error_move(err, &why);
		pause = pause * 2 < IMDS_MOST_NS ? pause * 2 : IMDS_MOST_NS;
	}
}

/* ---- which one --------------------------------------------------------------------------------------------- */

static bool has_secret(const struct azure_options *o)
{
	return !secret_is_empty(&o->client_secret);
}

static bool has_token_file(const struct azure_options *o)
{
	return *o->token_file;
}

static bool always(const struct azure_options *o)
{
	(void)o;
	return true;
}

static const struct source sources[] = {
	{"client secret", "secret", has_secret, fetch_secret},
	{"workload identity", "workload", has_token_file, fetch_workload},
	{"managed identity", "managed", always, fetch_managed},
};

struct identity *identity_new(const struct azure_options *o, const struct cloud *cloud,
	struct http_client *http)
{
	struct identity *i = calloc(1, sizeof(*i));
	if (!i)
		return NULL;
	*i = (struct identity){o, cloud, http, NULL};
	for (size_t s = 0; s < array_size(sources) && !i->source; s++) {
		bool wanted = *o->credential ? !strcmp(o->credential, sources[s].kind)
					     : sources[s].configured(o);
		if (wanted)
			i->source = &sources[s];
	}
	return i;
}

void identity_free(struct identity *identity)
{
	free(identity);
}

const char *identity_kind(const struct identity *identity)
{
	return identity->source->name;
}

int identity_fetch(void *with, struct secret *token, uint64_t *lives_ns, const struct bound *bound,
	struct error *err)
{
	struct identity *i = with;
	if (i->source->fetch(i, token, lives_ns, bound, err) == 0)
		return 0;
	return error_prefix(err, "token by %s", i->source->name);
}
