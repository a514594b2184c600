/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token.c - see token.h
 *
 *   a key          a signed assertion is exchanged for a token (jwt.c)
 *   a federation   a token that somebody else gave the pod is exchanged at the security token service; where a service
 *                  account is to be impersonated, what came back is exchanged for one of its tokens
 *   a user         a refresh token is exchanged
 *   otherwise      the metadata server has one
 *
 * A file of credentials is read again for each token: an operator who replaces a key replaces it there. Only what tokens are
 * asked for with is taken from it then; universe and project stay those of the start.
 *
 * A clock that is off makes an assertion worthless: the server's own clock (Date) is taken then, once.
 */
#include "providers/gcp/token.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "http/attempt.h"
#include "providers/gcp/encode.h"

#define CALL_NS (15 * NS_PER_S)
#define ANSWER_MAX ((size_t)256 << 10)
#define LIVES_MOST_S ((int64_t)24 * 3600)
#define FORM_HEADER "Content-Type: application/x-www-form-urlencoded"
#define METADATA_PATH "instance/service-accounts/default/token?scopes=" TOKEN_SCOPE

/* One thread fetches at a time: credentials, replaced and retry_after_ns are its own. */
struct token_source {
	const struct gcp_options *options;
	const struct gcp_credentials *credentials; /* those of the start, or replaced */
	struct gcp_credentials replaced;
	struct http_client *http;
	struct metadata *metadata;
	_Atomic int64_t clock_offset_s;
	uint64_t retry_after_ns; /* of the last answer */
};

struct token_source *token_source_new(const struct gcp_options *options,
	const struct gcp_credentials *credentials, struct http_client *http,
	struct metadata *metadata)
{
	struct token_source *s = calloc(1, sizeof(*s));
	if (s) {
		s->options = options;
		s->credentials = credentials;
		s->http = http;
		s->metadata = metadata;
	}
	return s;
}

void token_source_free(struct token_source *s)
{
	if (s)
		credentials_free(&s->replaced);
	free(s);
}

/* ---- answers ----------------------------------------------------------------------------------------------- */

/* It goes into a header: printable and without blanks. */
static int keep_token(const char *what, const char *text, size_t len, struct secret *token,
	struct error *err)
{
	for (size_t i = 0; i < len; i++) {
		if (!isgraph((unsigned char)text[i]))
			return error_set(err, ERROR_DENIED, "%s: the token holds what no token has",
				what);
	}
	if (!len)
		return error_set(err, ERROR_DENIED, "%s: the token is empty", what);
	return secret_set(token, text, len) ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}

/* jansson's message may quote what is secret. */
static json_t *parse(const char *what, const void *body, size_t len, struct error *err)
{
	json_t *o = json_parse(what, body, len, ANSWER_MAX, false, NULL);
	if (json_is_object(o))
		return o;
	json_decref(o);
	error_set(err, ERROR_RETRY, "%s: the answer is no JSON object", what);
	return NULL;
}

int token_read(const char *what, const void *body, size_t len, struct secret *token,
	uint64_t *lives_ns, struct error *err)
{
	cleanup_json *o = parse(what, body, len, err);
	const json_t *text = json_object_get(o, "access_token");
	const json_t *lives = json_object_get(o, "expires_in");
	if (!o)
		return -1;
	if (!json_is_string(text))
		return error_set(err, ERROR_DENIED, "%s: the answer holds no \"access_token\"",
			what);
	/* Any number, or none: 0. */
	double seconds = json_number_value(lives);
	if (!(seconds > 0))
		seconds = 0;
	else if (seconds > (double)LIVES_MOST_S)
		seconds = (double)LIVES_MOST_S;
	*lives_ns = (uint64_t)seconds * NS_PER_S;
	return keep_token(what, json_string_value(text), json_string_length(text), token, err);
}

int impersonated_token_read(const void *body, size_t len, int64_t now, struct secret *token,
	uint64_t *lives_ns, struct error *err)
{
	static const char what[] = "generateAccessToken";
	cleanup_json *o = parse(what, body, len, err);
	const json_t *text = json_object_get(o, "accessToken");
	int64_t ends;
	if (!o)
		return -1;
	if (!json_is_string(text))
		return error_set(err, ERROR_DENIED, "%s: the answer holds no \"accessToken\"",
			what);
	*lives_ns = 0;
	if (time_read(json_string_value(json_object_get(o, "expireTime")), &ends) && ends > now)
		*lives_ns = (uint64_t)(ends - now < LIVES_MOST_S ? ends - now : LIVES_MOST_S) *
			    NS_PER_S;
	return keep_token(what, json_string_value(text), json_string_length(text), token, err);
}

int token_failure_read(const char *what, int status, const void *body, size_t len, bool *clock,
	struct error *err)
{
	cleanup_json *o = json_parse(what, body, len, ANSWER_MAX, false, NULL);
	const json_t *error = json_object_get(o, "error");
	/* OAuth says a word, other APIs an object. */
	const char *code = json_is_string(error)
				   ? json_string_value(error)
				   : json_string_value(json_object_get(error, "status"));
	const char *text = json_is_string(error)
				   ? json_string_value(json_object_get(o, "error_description"))
				   : json_string_value(json_object_get(error, "message"));
	bool passing = status == 429 || status >= 500 || status == 408 || status < 400;
	*clock = code && text && !strcmp(code, "invalid_grant") &&
		 (strstr(text, "reasonable timeframe") || strstr(text, "short-lived token"));
	error_set(err,
		status == 429 ? ERROR_THROTTLED
		: passing     ? ERROR_RETRY
			      : ERROR_DENIED,
		"%s: %.100s: %.500s (HTTP %d)", what, code ? code : "no error code",
		text ? text : "no message", status);
	if (err)
		err->status = status;
	return -1;
}

int subject_token_read(const char *what, const void *text, size_t len, const char *field,
	struct secret *token, struct error *err)
{
	if (field) {
		cleanup_json *o = parse(what, text, len, err);
		const json_t *value = json_object_get(o, field);
		if (!o)
			return -1;
		if (!json_is_string(value))
			return error_set(err, ERROR_INVALID, "%s: \"%.100s\" is missing", what,
				field);
		return keep_token(what, json_string_value(value), json_string_length(value), token,
			err);
	}
	const char *start = text;
	while (len && isspace((unsigned char)start[len - 1]))
		len--;
	while (len && isspace((unsigned char)*start)) {
		start++;
		len--;
	}
	return keep_token(what, start, len, token, err);
}

/* ---- calls ------------------------------------------------------------------------------------------------- */

static int post(struct token_source *s, const char *url, const char *const *headers,
	const struct buf *body, struct http_response *response, const struct bound *bound,
	struct error *err)
{
	const struct http_request request = {.method = body ? "POST" : "GET",
		.url = url,
		.headers = headers,
		.body = body ? body->data : NULL,
		.body_len = body ? body->len : 0,
		.body_max = ANSWER_MAX};
	if (body && body->failed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	struct bound within = bound_within(bound, CALL_NS);
	if (http_call(s->http, &request, response, &within, err) == 0) {
		s->retry_after_ns = http_response_retry_after_ns(response);
		return 0;
	}
	if (err && err->kind == ERROR_TIMEOUT && bound_left_ns(bound) > 0)
		err->kind = ERROR_RETRY;
	return -1;
}

static int exchange(struct token_source *s, const char *what, const struct buf *form,
	struct secret *token, uint64_t *lives_ns, bool *clock, int64_t *date,
	const struct bound *bound, struct error *err)
{
	static const char *const headers[] = {FORM_HEADER, NULL};
	cleanup_response response = {0};
	if (post(s, s->credentials->token_url, headers, form, &response, bound, err) < 0)
		return -1;
	*date = http_response_date(&response);
	if (response.status != 200)
		return token_failure_read(what, response.status, response.body.data,
			response.body.len, clock, err);
	return token_read(what, response.body.data, response.body.len, token, lives_ns, err);
}

static int64_t now_of(struct token_source *s)
{
	return (int64_t)time(NULL) + atomic_load(&s->clock_offset_s);
}

static int fetch_by_key(struct token_source *s, struct secret *token, uint64_t *lives_ns,
	const struct bound *bound, struct error *err)
{
	for (bool corrected = false;; corrected = true) {
		cleanup_error why = ERROR_INIT;
		cleanup(buf_wipe) struct buf form = BUF_INIT;
		bool clock = false;
		int64_t date = 0;
		buf_append_text(&form,
			"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
		if (jwt_sign(s->credentials, now_of(s), &form, err) < 0)
			return -1;
		if (exchange(s, "token of the service account", &form, token, lives_ns, &clock,
			    &date, bound, &why) == 0)
			return 0;
		if (!clock || !date || corrected)
			return error_move(err, &why);
		int64_t offset = date - (int64_t)time(NULL);
		atomic_store(&s->clock_offset_s, offset);
		log_warn(
			"gcp: this machine's clock differs from Google's by %lld s; tokens are asked for with theirs",
			(long long)-offset);
	}
}

static int subject_token(struct token_source *s, struct secret *token, const struct bound *bound,
	struct error *err)
{
	const struct gcp_credentials *c = s->credentials;
	if (c->source_file) {
		cleanup(buf_wipe) struct buf text = BUF_INIT;
		if (file_read(c->source_file, ANSWER_MAX, &text, err) < 0)
			return error_prefix(err, "the token to exchange");
		return subject_token_read(c->source_file, text.data, text.len, c->source_field,
			token, err);
	}
	cleanup_response response = {0};
	if (post(s, c->source_url, (const char *const *)c->source_headers, NULL, &response, bound,
		    err) < 0)
		return error_prefix(err, "the token to exchange");
	if (response.status != 200)
		return error_set(err, response.status >= 500 ? ERROR_RETRY : ERROR_DENIED,
			"the token to exchange: HTTP %d", response.status);
	return subject_token_read("the token to exchange", response.body.data, response.body.len,
		c->source_field, token, err);
}

static int impersonate(struct token_source *s, const struct secret *federated, struct secret *token,
	uint64_t *lives_ns, const struct bound *bound, struct error *err)
{
	cleanup(buf_wipe) struct buf header = BUF_INIT;
	cleanup(buf_free) struct buf body = BUF_INIT;
	cleanup_response response = {0};
	bool clock;
	buf_printf(&header, "Authorization: Bearer %s", secret_reveal(federated));
	buf_printf(&body, "{\"scope\":[\"" TOKEN_SCOPE "\"],\"lifetime\":\"%llds\"}",
		(long long)s->credentials->lifetime_s);
	const char *const headers[] = {buf_text(&header),
		"Content-Type: application/json; charset=utf-8", NULL};
	if (post(s, s->credentials->impersonation_url, headers, &body, &response, bound, err) < 0)
		return error_prefix(err, "generateAccessToken");
	if (response.status != 200)
		return token_failure_read("generateAccessToken", response.status,
			response.body.data, response.body.len, &clock, err);
	/* The end is told by the server's clock. */
	int64_t date = http_response_date(&response);
	return impersonated_token_read(response.body.data, response.body.len,
		date ? date : (int64_t)time(NULL), token, lives_ns, err);
}

static int fetch_by_federation(struct token_source *s, struct secret *token, uint64_t *lives_ns,
	const struct bound *bound, struct error *err)
{
	const struct gcp_credentials *c = s->credentials;
	cleanup_secret subject = SECRET_INIT, federated = SECRET_INIT;
	cleanup(buf_wipe) struct buf form = BUF_INIT;
	bool clock = false;
	int64_t date;
	if (subject_token(s, &subject, bound, err) < 0)
		return -1;
	form_add(&form, "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
	form_add(&form, "audience", c->audience);
	form_add(&form, "scope", TOKEN_SCOPE);
	form_add(&form, "requested_token_type", "urn:ietf:params:oauth:token-type:access_token");
	form_add(&form, "subject_token", secret_reveal(&subject));
	form_add(&form, "subject_token_type", c->subject_token_type);
	if (exchange(s, "token exchange", &form, c->impersonation_url ? &federated : token,
		    lives_ns, &clock, &date, bound, err) < 0)
		return -1;
	if (!c->impersonation_url)
		return 0;
	return impersonate(s, &federated, token, lives_ns, bound, err);
}

static int fetch_by_user(struct token_source *s, struct secret *token, uint64_t *lives_ns,
	const struct bound *bound, struct error *err)
{
	const struct gcp_credentials *c = s->credentials;
	cleanup(buf_wipe) struct buf form = BUF_INIT;
	bool clock;
	int64_t date;
	form_add(&form, "grant_type", "refresh_token");
	form_add(&form, "client_id", c->client_id);
	form_add(&form, "client_secret", secret_reveal(&c->client_secret));
	form_add(&form, "refresh_token", secret_reveal(&c->refresh_token));
	return exchange(s, "token of the user", &form, token, lives_ns, &clock, &date, bound, err);
}

static int fetch_by_metadata(struct token_source *s, struct secret *token, uint64_t *lives_ns,
	const struct bound *bound, struct error *err)
{
	cleanup(buf_wipe) struct buf text = BUF_INIT;
	if (metadata_get(s->metadata, METADATA_PATH, &text, bound, err) < 0) {
		if (err && err->kind == ERROR_GONE)
			return error_set(err, ERROR_DENIED,
				"this instance has no service account: give it one, or set GCP_CREDENTIALS");
		return error_append(err,
			" (neither GCP_CREDENTIALS nor GOOGLE_APPLICATION_CREDENTIALS is set, so the credentials are "
			"those of this instance)");
	}
	return token_read("metadata server", text.data, text.len, token, lives_ns, err);
}

/* What the file says now. One that is damaged or gone, for the moment perhaps, changes nothing. */
static void read_again(struct token_source *s)
{
	cleanup_error why = ERROR_INIT;
	struct gcp_credentials now;
	if (credentials_find(s->options, &now, &why) < 0) {
		log_warn("gcp: %s is of no use now, its earlier content is used: %s",
			s->options->credentials_file, error_message(&why));
		return;
	}
	credentials_free(&s->replaced);
	s->replaced = now;
	s->credentials = &s->replaced;
}

int token_fetch(void *with, struct secret *token, uint64_t *lives_ns, const struct bound *bound,
	struct error *err)
{
	static int (*const fetchers[])(struct token_source *, struct secret *, uint64_t *,
		const struct bound *, struct error *) = {
		[CREDENTIALS_METADATA] = fetch_by_metadata,
		[CREDENTIALS_KEY] = fetch_by_key,
		[CREDENTIALS_FEDERATED] = fetch_by_federation,
		[CREDENTIALS_USER] = fetch_by_user,
	};
	struct token_source *s = with;
	if (credentials_are_in_file(s->options))
		read_again(s);
	/* metadata_get tries again itself. */
	struct attempt attempt = {.who = "gcp",
		.faults_max = s->credentials->kind == CREDENTIALS_METADATA ? 1 : 0};
	for (;;) {
		cleanup_error why = ERROR_INIT;
		s->retry_after_ns = 0;
		if (fetchers[s->credentials->kind](s, token, lives_ns, bound, &why) == 0)
			return 0;
		if (attempt_again(&attempt, s->retry_after_ns, bound, &why))
			continue;
		return error_move(err, &why);
	}
}
