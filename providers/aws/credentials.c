/* SPDX-License-Identifier: Apache-2.0 */
/* credentials.c - the sources of key pairs, and the one set that is in use; see credentials.h */
#include "providers/aws/credentials.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "http/attempt.h"
#include "providers/aws/endpoint.h"
#include "providers/aws/failure.h"
#include "providers/aws/query.h"
#include "providers/aws/sign.h"
#include "providers/aws/xml.h"

#define RENEW_BEFORE_NS (15 * 60 * NS_PER_S)
#define RENEW_AGAIN_NS \
	(60 * NS_PER_S) /* pause after a renewal that failed while the old set is good */
#define FETCH_NS (10 * NS_PER_S)
#define RENEW_NS (5 * NS_PER_S) /* of a renewal that nobody needs yet */
#define FETCH_TRIES 3
#define ANSWER_MAX ((size_t)64 << 10)
#define FILE_MAX ((size_t)1 << 20)
#define WEB_TOKEN_MAX 20000 /* STS: WebIdentityToken */
#define SESSION_SECONDS "3600"
#define LOCK_STEP_NS (10 * NS_PER_MS)
#define LIFE_MAX_S (INT64_C(7) * 24 * 3600) /* no session lives longer; a wrong time is cut */

struct credential_store {
	const struct aws_options *options;
	struct http_client *http;
	struct place *place;
	pthread_mutex_t lock;   /* what is below */
	struct credentials set; /* key_id NULL: none yet */
	uint64_t ends_ns;       /* of the set */
	bool refused;
	uint64_t renew_again_ns;
	const char *source;
	pthread_mutex_t renewing; /* one at a time; taken before lock */
};

void credentials_free(struct credentials *c)
{
	free(c->key_id);
	secret_free(&c->secret_key);
	secret_free(&c->session_token);
	*c = (struct credentials){0};
}

static int credentials_make(struct credentials *out, const char *key_id, const char *secret_key,
	const char *token, int64_t expires, struct error *err)
{
	*out = (struct credentials){.key_id = strdup(key_id), .expires = expires};
	if (out->key_id && secret_set(&out->secret_key, secret_key, strlen(secret_key)) &&
		secret_set(&out->session_token, token, strlen(token)))
		return 0;
	credentials_free(out);
	return error_set(err, ERROR_CAPACITY, "out of memory");
}

int64_t aws_time_parse(const char *text)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (rest && *rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (!rest || strcmp(rest, "Z") != 0)
		return -1;
	time_t t = timegm(&tm);
	return t >= 0 ? t : -1;
}

static void wipe_ptr(char **text)
{
	if (*text) {
		explicit_bzero(*text, strlen(*text));
		free(*text);
	}
}

/* Characters that can stand in a header; what comes from outside goes into one. */
static bool is_clean(const char *text)
{
	for (; *text; text++) {
		if (!isgraph((unsigned char)*text))
			return false;
	}
	return true;
}

static int credentials_checked(const char *source, const char *key_id, const char *secret_key,
	const char *token, const char *expiration, struct credentials *out, struct error *err)
{
	int64_t expires = expiration && *expiration ? aws_time_parse(expiration) : 0;
	if (!key_id || !*key_id || !secret_key || !*secret_key || !is_clean(key_id) ||
		!is_clean(token))
		return error_set(err, ERROR_INVALID, "%s: the answer holds no key pair", source);
	if (expires < 0)
		return error_set(err, ERROR_INVALID,
			"%s: the key pair ends at \"%.40s\", which is no time", source, expiration);
	return credentials_make(out, key_id, secret_key, token, expires, err);
}

int credentials_of_json(const char *source, const char *text, size_t len, struct credentials *out,
	struct error *err)
{
	cleanup_json *answer = json_parse(source, text, len, ANSWER_MAX, true, err);
	cleanup(free_ptr) char *code = NULL, *expiration = NULL, *key_id = NULL;
	cleanup(wipe_ptr) char *secret_key = NULL, *token = NULL;
	if (!answer || json_read_string(answer, source, "Code", JSON_OPTIONAL, &code, err) < 0)
		return -1;
	if (code && strcmp(code, "Success") != 0)
		return error_set(err, ERROR_DENIED, "%s: no credentials: %.100s", source, code);
	if (json_read_string(answer, source, "AccessKeyId", JSON_REQUIRED, &key_id, err) < 0 ||
		json_read_string(answer, source, "SecretAccessKey", JSON_REQUIRED, &secret_key,
			err) < 0 ||
		json_read_string(answer, source, "Token", JSON_OPTIONAL, &token, err) < 0 ||
		json_read_string(answer, source, "Expiration", JSON_OPTIONAL, &expiration, err) < 0)
		return -1;
	return credentials_checked(source, key_id, secret_key, token ? token : "", expiration, out,
		err);
}

int credentials_of_sts(const char *text, size_t len, struct credentials *out, struct error *err)
{
	cleanup_xml *doc = xml_parse("STS", text, len, err);
	if (!doc)
		return -1;
	xmlNode *c =
		xml_at(xmlDocGetRootElement(doc), "AssumeRoleWithWebIdentityResult/Credentials");
	cleanup(free_ptr) char *key_id = xml_text(c, "AccessKeyId"),
			       *expiration = xml_text(c, "Expiration");
	cleanup(wipe_ptr) char *secret_key = xml_text(c, "SecretAccessKey"),
			       *token = xml_text(c, "SessionToken");
	return credentials_checked("STS", key_id, secret_key, token ? token : "", expiration, out,
		err);
}

/* ---- the sources ------------------------------------------------------------------------------------------- */

static int load_options(struct credential_store *s, struct credentials *out,
	const struct bound *bound, struct error *err)
{
	(void)bound;
	const struct aws_options *o = s->options;
	return credentials_make(out, secret_reveal(&o->access_key_id),
		secret_reveal(&o->secret_key), secret_reveal(&o->session_token), 0, err);
}

static int load_old_names(struct credential_store *s, struct credentials *out,
	const struct bound *bound, struct error *err)
{
	(void)bound;
	const struct aws_options *o = s->options;
	return credentials_make(out, secret_reveal(&o->access_key_old),
		secret_reveal(&o->secret_key_old), secret_reveal(&o->session_token), 0, err);
}

static int load_file(const char *set, const char *name, const char *profile, bool config,
	struct credentials *out, struct error *err)
{
	cleanup(free_ptr) char *made = NULL;
	cleanup(buf_wipe) struct buf text = BUF_INIT;
	const char *home = getenv("HOME");
	if (!*set && !home)
		return error_set(err, ERROR_GONE, "HOME is not set");
	if (!*set && asprintf(&made, "%s/.aws/%s", home, name) < 0)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	const char *path = made ? made : set;
	if (file_read(path, FILE_MAX, &text, err) < 0)
		return -1;
	if (credentials_of_profile(buf_text(&text), profile, config, out, NULL, err) < 0)
		return error_prefix(err, "%s", path);
	return 0;
}

static bool is_none(const struct error *err)
{
	return err->kind == ERROR_GONE || err->kind == ERROR_EXISTS;
}

static int load_profile(struct credential_store *s, const char *profile, struct credentials *out,
	struct error *err)
{
	cleanup_error second = ERROR_INIT;
	if (load_file(s->options->credentials_file, "credentials", profile, false, out, err) == 0)
		return 0;
	if (is_none(err) &&
		load_file(s->options->config_file, "config", profile, true, out, &second) == 0) {
		error_clear(err);
		return 0;
	}
	if (is_none(err) && second.kind != ERROR_GONE)
		return error_move(err, &second);
	return -1;
}

/* Where it was asked for by name, no other identity will do. */
static int load_by_name(struct credential_store *s, const char *profile, struct credentials *out,
	struct error *err)
{
	if (load_profile(s, profile, out, err) == 0)
		return 0;
	if (err->kind == ERROR_GONE || err->kind == ERROR_UNSUPPORTED)
		err->kind = ERROR_INVALID;
	return -1;
}

static int load_named_profile(struct credential_store *s, struct credentials *out,
	const struct bound *bound, struct error *err)
{
	(void)bound;
	if (load_by_name(s, s->options->profile, out, err) == 0)
		return 0;
	if (err->kind == ERROR_EXISTS)
		err->kind = ERROR_INVALID;
	return -1;
}

static int load_default_profile(struct credential_store *s, struct credentials *out,
	const struct bound *bound, struct error *err)
{
	(void)bound;
	const char *named = s->options->default_profile;
	return *named ? load_by_name(s, named, out, err) : load_profile(s, "default", out, err);
}

/* Answers with status 200 only; passing faults are tried again. */
static int fetch(struct credential_store *s, const struct http_request *request,
	struct http_response *response, const struct bound *bound, struct error *err)
{
	struct attempt attempt = {.who = "aws", .faults_max = FETCH_TRIES};
	for (;;) {
		cleanup_error why = ERROR_INIT;
		uint64_t retry_after_ns = 0;
		if (http_call(s->http, request, response, bound, &why) == 0) {
			if (response->status == 200)
				return 0;
			failure_read(response->status, response->body.data, response->body.len,
				NULL, 0, &why);
			retry_after_ns = http_response_retry_after_ns(response);
		}
		if (!attempt_again(&attempt, retry_after_ns, bound, &why))
			return error_move(err, &why);
		http_response_free(response);
		*response = (struct http_response){0};
	}
}

static int assume_role(struct credential_store *s, struct credentials *out,
	const struct bound *bound, struct error *err)
{
	const struct aws_options *o = s->options;
	cleanup(buf_wipe) struct buf token = BUF_INIT;
	cleanup_query query = {0};
	cleanup_response response = {0};
	struct endpoint endpoint;
	if (file_read(o->token_file, WEB_TOKEN_MAX + 2, &token, err) < 0)
		return error_prefix(err, "AWS_WEB_IDENTITY_TOKEN_FILE");
	while (token.len && isspace((unsigned char)token.data[token.len - 1]))
		token.data[--token.len] = '\0';
	const char *region = place_region(s->place, bound, err);
	if (!region || endpoint_make(o, "sts", region, &endpoint, err) < 0)
		return -1;
	char name[65] = "peerpods-", *host = name + strlen(name);
	if (*o->role_session)
		snprintf(name, sizeof(name), "%s", o->role_session);
	else if (gethostname(host, sizeof(name) - strlen(name) - 1))
		snprintf(host, 8, "worker");
	query_start(&query, "AssumeRoleWithWebIdentity", STS_VERSION);
	query_add(&query, o->role_arn, "RoleArn");
	query_add(&query, name, "RoleSessionName");
	query_add(&query, buf_text(&token), "WebIdentityToken");
	query_add(&query, SESSION_SECONDS, "DurationSeconds");
	const char *const headers[] = {FORM_HEADER, NULL};
	const struct http_request request = {.method = "POST",
		.url = endpoint.url,
		.headers = headers,
		.body = query.body.data,
		.body_len = query.body.len,
		.body_max = ANSWER_MAX};
	if (fetch(s, &request, &response, bound, err) < 0)
		return error_prefix(err, "AssumeRoleWithWebIdentity of %s", o->role_arn);
	if (credentials_of_sts(buf_text(&response.body), response.body.len, out, err) < 0)
		return -1;
	out->given = http_response_date(&response);
	return 0;
}

/* kubelet replaces the file's token before it ends; one that ended may have been read just before. */
static int load_web_identity(struct credential_store *s, struct credentials *out,
	const struct bound *bound, struct error *err)
{
	int result = assume_role(s, out, bound, err);
	if (result == 0 || !failure_has_code(err, "ExpiredTokenException"))
		return result;
	error_clear(err);
	return assume_role(s, out, bound, err);
}

/* Plain http goes to the machine itself and to the two well-known link-local services only. */
static bool container_url_safe(const char *url)
{
	static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]", "169.254.170.2",
		"169.254.170.23", "[fd00:ec2::23]"};
	if (!strncmp(url, "https://", 8))
		return true;
	const char *host = url + strlen("http://");
	size_t len = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
	for (size_t i = 0; i < array_size(hosts); i++) {
		if (strlen(hosts[i]) == len && !strncmp(hosts[i], host, len))
			return host[len] == ':' || host[len] == '/' || !host[len];
	}
	return false;
}

static int load_container(struct credential_store *s, struct credentials *out,
	const struct bound *bound, struct error *err)
{
	const struct aws_options *o = s->options;
	cleanup(buf_wipe) struct buf header = BUF_INIT, file = BUF_INIT;
	cleanup_response response = {0};
	char url[2048];
	snprintf(url, sizeof(url), "%s%s", *o->container_full ? "" : "http://169.254.170.2",
		*o->container_full ? o->container_full : o->container_relative);
	if (!container_url_safe(url))
		return error_set(err, ERROR_INVALID,
			"AWS_CONTAINER_CREDENTIALS_FULL_URI: plain http is for this machine and for "
			"169.254.170.2, 169.254.170.23 and fd00:ec2::23 only");
	buf_append_text(&header, "Authorization: ");
	if (*o->container_token_file) {
		if (file_read(o->container_token_file, FILE_MAX, &file, err) < 0)
			return error_prefix(err, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
		while (file.len && isspace((unsigned char)file.data[file.len - 1]))
			file.data[--file.len] = '\0';
		buf_append(&header, file.data, file.len);
	} else {
		buf_append_text(&header, secret_reveal(&o->container_token));
	}
	bool token = *o->container_token_file || !secret_is_empty(&o->container_token);
	const char *const headers[] = {token ? buf_text(&header) : NULL, NULL};
	const struct http_request request = {.method = "GET",
		.url = url,
		.headers = headers,
		.body_max = ANSWER_MAX,
		.direct = !strncmp(url, "http:", 5)};
	if (fetch(s, &request, &response, bound, err) < 0)
		return -1;
	if (credentials_of_json("container credentials", buf_text(&response.body),
		    response.body.len, out, err) < 0)
		return -1;
	out->given = http_response_date(&response);
	return 0;
}

static int load_instance_profile(struct credential_store *s, struct credentials *out,
	const struct bound *bound, struct error *err)
{
	cleanup(buf_wipe) struct buf role = BUF_INIT, answer = BUF_INIT;
	char path[256];
	int64_t date = 0;
	if (imds_get(s->place, "iam/security-credentials/", &role, NULL, bound, err) < 0) {
		if (err->kind == ERROR_GONE)
			return error_set(err, ERROR_GONE, "this instance has no instance profile");
		return -1;
	}
	const char *name = buf_text(&role);
	snprintf(path, sizeof(path), "iam/security-credentials/%.*s", (int)strcspn(name, "\r\n"),
		name);
	if (imds_get(s->place, path, &answer, &date, bound, err) < 0 ||
		credentials_of_json("instance profile", buf_text(&answer), answer.len, out, err) <
			0)
		return -1;
	out->given = date;
	return 0;
}

static bool has_options(const struct aws_options *o)
{
	return !secret_is_empty(&o->access_key_id);
}

static bool has_old_names(const struct aws_options *o)
{
	return !secret_is_empty(&o->access_key_old) && !secret_is_empty(&o->secret_key_old);
}

static bool has_profile(const struct aws_options *o)
{
	return *o->profile;
}

static bool has_web_identity(const struct aws_options *o)
{
	return *o->token_file && *o->role_arn;
}

static bool has_container(const struct aws_options *o)
{
	return *o->container_full || *o->container_relative;
}

static bool has_always(const struct aws_options *o)
{
	(void)o;
	return true;
}

/* In this order. One that says ERROR_GONE, ERROR_EXISTS or ERROR_UNSUPPORTED has nothing: the next is asked. */
static const struct source {
	const char *name;
	bool (*configured)(const struct aws_options *o);
	int (*load)(struct credential_store *s, struct credentials *out, const struct bound *bound,
		struct error *err);
} sources[] = {
	{"AWS_ACCESS_KEY_ID", has_options, load_options},
	{"aws-profile", has_profile, load_named_profile},
	{"AWS_ACCESS_KEY", has_old_names, load_old_names},
	{"web identity", has_web_identity, load_web_identity},
	{"shared files", has_always, load_default_profile},
	{"container endpoint", has_container, load_container},
	{"instance profile", has_always, load_instance_profile},
};

static int load(struct credential_store *s, struct credentials *out, const char **source,
	const struct bound *bound, struct error *err)
{
	cleanup(buf_free) struct buf tried = BUF_INIT;
	for (size_t i = 0; i < array_size(sources); i++) {
		if (!sources[i].configured(s->options))
			continue;
		cleanup_error why = ERROR_INIT;
		*source = sources[i].name;
		if (sources[i].load(s, out, bound, &why) == 0)
			return 0;
		bool none = is_none(&why) || why.kind == ERROR_UNSUPPORTED;
		if (!none) {
			error_move(err, &why);
			error_prefix(err, "credentials from %s", sources[i].name);
			return tried.len ? error_append(err, " (before that, %s)", buf_text(&tried))
					 : -1;
		}
		buf_printf(&tried, "%s%s: %s", tried.len ? "; " : "", sources[i].name,
			error_message(&why));
	}
	return error_set(err, ERROR_DENIED,
		"no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
		"AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE, or give this instance a role (%s)",
		buf_text(&tried));
}

/* ---- the set in use ---------------------------------------------------------------------------------------- */

struct credential_store *credential_store_new(const struct aws_options *options,
	struct http_client *http, struct place *place)
{
	struct credential_store *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->options = options;
	s->http = http;
	s->place = place;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->renewing, NULL);
	return s;
}

void credential_store_free(struct credential_store *s)
{
	if (!s)
		return;
	credentials_free(&s->set);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->renewing);
	free(s);
}

/* When a set that came just now ends, by our own steady clock. */
static uint64_t end_of(const struct credentials *c)
{
	int64_t life = c->expires - (c->given ? c->given : (int64_t)time(NULL));
	if (!c->expires)
		return DEADLINE_NEVER;
	return deadline_in((uint64_t)(life < 0            ? 0
				      : life < LIFE_MAX_S ? life
							  : LIFE_MAX_S) *
			   NS_PER_S);
}

/* Under the lock. Good: can be used. Due: should be renewed. */
static void look(const struct credential_store *s, bool *good, bool *due)
{
	uint64_t now = clock_ns(), left = s->ends_ns > now ? s->ends_ns - now : 0;
	*good = s->set.key_id && !s->refused && left;
	*due = !*good || (left < RENEW_BEFORE_NS && now >= s->renew_again_ns);
}

static int copy(struct credential_store *s, struct credentials *out, struct error *err)
{
	return credentials_make(out, s->set.key_id, secret_reveal(&s->set.secret_key),
		secret_reveal(&s->set.session_token), s->set.expires, err);
}

/* good: there is an old set, which the caller is left the time to use. */
static int renew(struct credential_store *s, bool good, const struct bound *bound,
	struct error *err)
{
	uint64_t half = bound_left_ns(bound) / 2;
	struct bound within = bound_within(bound, !good             ? FETCH_NS
						  : half < RENEW_NS ? half
								    : RENEW_NS);
	struct credentials fresh = {0};
	const char *source = "";
	int result = load(s, &fresh, &source, &within, err);
	uint64_t ends_ns = result == 0 ? end_of(&fresh) : 0;
	bool ended = result == 0 && ends_ns <= clock_ns();
	pthread_mutex_lock(&s->lock);
	if (result == 0 && !(ended && s->set.key_id)) {
		credentials_free(&s->set);
		s->set = fresh;
		s->ends_ns = ends_ns;
		fresh = (struct credentials){0};
		s->refused = false;
		s->renew_again_ns = clock_ns() + (ended ? RENEW_AGAIN_NS : 0);
		if (s->source != source)
			log_info("aws: credentials from %s", source);
		s->source = source;
	} else {
		/* During outages the metadata service may hand out a set that has ended: the old one stays. */
		s->refused = s->refused && result < 0;
		s->renew_again_ns = clock_ns() + RENEW_AGAIN_NS;
	}
	pthread_mutex_unlock(&s->lock);
	credentials_free(&fresh);
	return result;
}

int credentials_get(struct credential_store *s, struct credentials *out, const struct bound *bound,
	struct error *err)
{
	bool good, due;
	for (;;) {
		pthread_mutex_lock(&s->lock);
		look(s, &good, &due);
		int result = good && !due ? copy(s, out, err) : 1;
		pthread_mutex_unlock(&s->lock);
		if (result <= 0)
			return result;
		if (pthread_mutex_trylock(&s->renewing) == 0)
			break;
		pthread_mutex_lock(&s->lock);
		result = good && s->set.key_id ? copy(s, out, err) : 1;
		pthread_mutex_unlock(&s->lock);
		if (result <= 0)
			return result;
		if (bound_sleep(bound, LOCK_STEP_NS, "wait for credentials", err) < 0)
			return -1;
	}
	cleanup_error why = ERROR_INIT;
	/* Another thread may have renewed between the look and the lock. */
	pthread_mutex_lock(&s->lock);
	look(s, &good, &due);
	pthread_mutex_unlock(&s->lock);
	int result = due ? renew(s, good, bound, &why) : 0;
	pthread_mutex_unlock(&s->renewing);
	if (result < 0 && !good)
		return error_move(err, &why);
	if (result < 0)
		log_warn("aws: credentials not renewed, the old ones are used: %s",
			error_message(&why));
	pthread_mutex_lock(&s->lock);
	result = copy(s, out, err);
	pthread_mutex_unlock(&s->lock);
	return result;
}

void credentials_refuse(struct credential_store *s, const char *key_id)
{
	pthread_mutex_lock(&s->lock);
	if (s->set.key_id && !strcmp(s->set.key_id, key_id))
		s->refused = true;
	pthread_mutex_unlock(&s->lock);
}
