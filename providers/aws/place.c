/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.c - see place.h
 *
 * The lock is taken by polling, so that a caller who is cancelled does not wait for another's request. A machine
 * that is no EC2 instance costs one connection attempt of a second; then the service counts as absent.
 */
#include "providers/aws/place.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "providers/aws/credentials.h"

#define IMDS_CALL_NS (2 * NS_PER_S)
#define IMDS_CONNECT_NS NS_PER_S
#define IMDS_ANSWER_MAX ((size_t)64 << 10)
#define IMDS_TOKEN_S "21600" /* the longest that EC2 gives */
#define CONFIG_FILE_MAX ((size_t)1 << 20)
#define LOCK_STEP_NS (10 * NS_PER_MS)
#define REGION_LETTERS "abcdefghijklmnopqrstuvwxyz0123456789-"

struct place {
	const struct aws_options *options;
	struct http_client *http;
	pthread_mutex_t lock;
	bool absent; /* no metadata service here */
	struct secret token;
	char *region, *key_name;
	char **subnets, **groups;
	bool network_known;
};

struct place *place_new(const struct aws_options *options, struct http_client *http)
{
	struct place *place = calloc(1, sizeof(*place));
	if (!place)
		return NULL;
	place->options = options;
	place->http = http;
	pthread_mutex_init(&place->lock, NULL);
	return place;
}

void place_free(struct place *place)
{
	if (!place)
		return;
	secret_free(&place->token);
	free(place->region);
	free(place->key_name);
	list_free(place->subnets);
	list_free(place->groups);
	pthread_mutex_destroy(&place->lock);
	free(place);
}

static int lock_within(pthread_mutex_t *lock, const struct bound *bound, struct error *err)
{
	while (pthread_mutex_trylock(lock)) {
		if (bound_sleep(bound, LOCK_STEP_NS, "wait for the metadata service", err) < 0)
			return -1;
	}
	return 0;
}

/* A URL of the service. It takes no two slashes in a row. */
static void url_make(const struct place *place, const char *path, char *url, size_t size)
{
	const char *base = place->options->imds_endpoint;
	size_t len = strlen(base);
	while (len && base[len - 1] == '/')
		len--;
	snprintf(url, size, "%.*s/latest/%s", (int)len, base, path);
}

static int token_fetch(struct place *place, const struct bound *bound, struct error *err)
{
	char url[512];
	url_make(place, "api/token", url, sizeof(url));
	const char *const headers[] = {"X-aws-ec2-metadata-token-ttl-seconds: " IMDS_TOKEN_S, NULL};
	const struct http_request request = {.method = "PUT",
		.url = url,
		.headers = headers,
		.body = "",
		.body_max = IMDS_ANSWER_MAX,
		.connect_ns = IMDS_CONNECT_NS,
		.direct = true};
	struct bound within = bound_within(bound, IMDS_CALL_NS);
	cleanup_response response = {0};
	if (http_call(place->http, &request, &response, &within, err) < 0) {
		if (bound_check(bound, "instance metadata service", err) < 0)
			return -1;
		place->absent = true;
		if (err)
			err->kind = ERROR_RETRY;
		return -1;
	}
	if (response.status != 200)
		return error_set(err, ERROR_RETRY, "the token request was answered with HTTP %d",
			response.status);
	if (!secret_set(&place->token, buf_text(&response.body), response.body.len))
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return 0;
}

static int get_once(struct place *place, const char *path, struct http_response *response,
	const struct bound *bound, struct error *err)
{
	char url[1024], below[512];
	snprintf(below, sizeof(below), "meta-data/%s", path);
	url_make(place, below, url, sizeof(url));
	cleanup(buf_wipe) struct buf header = BUF_INIT;
	buf_printf(&header, "X-aws-ec2-metadata-token: %s", secret_reveal(&place->token));
	const char *const headers[] = {buf_text(&header), NULL};
	const struct http_request request = {.method = "GET",
		.url = url,
		.headers = headers,
		.body_max = IMDS_ANSWER_MAX,
		.connect_ns = IMDS_CONNECT_NS,
		.direct = true};
	struct bound within = bound_within(bound, IMDS_CALL_NS);
	return http_call(place->http, &request, response, &within, err);
}

/* With the lock held. A 401 means that the token has ended: one more try with a new one. */
static int get_locked(struct place *place, const char *path, struct buf *out, int64_t *date,
	const struct bound *bound, struct error *err)
{
	for (int attempt = 0; attempt < 2; attempt++) {
		cleanup_response response = {0};
		if (secret_is_empty(&place->token) && token_fetch(place, bound, err) < 0)
			return -1;
		if (get_once(place, path, &response, bound, err) < 0)
			return -1;
		if (response.status == 200) {
			buf_append(out, response.body.data, response.body.len);
			if (date)
				*date = http_response_date(&response);
			return 0;
		}
		if (response.status != 401)
			return error_set(err, response.status == 404 ? ERROR_GONE : ERROR_RETRY,
				"%s was answered with HTTP %d", path, response.status);
		secret_free(&place->token);
	}
	return error_set(err, ERROR_DENIED, "%s was refused with a new token", path);
}

static int usable(const struct place *place, struct error *err)
{
	if (place->options->imds_disabled)
		return error_set(err, ERROR_UNSUPPORTED,
			"the instance metadata service is switched off (AWS_EC2_METADATA_DISABLED)");
	if (place->absent)
		return error_set(err, ERROR_UNSUPPORTED,
			"there is no instance metadata service on this machine");
	return 0;
}

int imds_get(struct place *place, const char *path, struct buf *out, int64_t *date,
	const struct bound *bound, struct error *err)
{
	if (lock_within(&place->lock, bound, err) < 0)
		return -1;
	place->absent =
		false; /* credentials are asked for again and again: the service may have come up */
	int result = usable(place, err);
	if (result == 0)
		result = get_locked(place, path, out, date, bound, err);
	pthread_mutex_unlock(&place->lock);
	return result < 0 ? error_prefix(err, "instance metadata service") : 0;
}

/* The text at path, white space trimmed; NULL where there is none. With the lock held. */
static char *look_up(struct place *place, const char *path, const struct bound *bound,
	struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	error_clear(err);
	if (usable(place, err) < 0 || get_locked(place, path, &text, NULL, bound, err) < 0)
		return NULL;
	while (text.len && isspace((unsigned char)text.data[text.len - 1]))
		text.data[--text.len] = '\0';
	if (!text.len) {
		error_set(err, ERROR_GONE, "%s is empty", path);
		return NULL;
	}
	return buf_take(&text);
}

static char *profile_region_of(const char *path, const char *home, const char *profile)
{
	cleanup(free_ptr) char *made = NULL;
	cleanup(buf_wipe) struct buf text = BUF_INIT;
	char *region = NULL;
	cleanup_credentials ignored = {0};
	if (!*path && asprintf(&made, "%s/.aws/config", home) < 0)
		return NULL;
	if (file_read(made ? made : path, CONFIG_FILE_MAX, &text, NULL) == 0)
		credentials_of_profile(buf_text(&text), profile, true, &ignored, &region, NULL);
	return region;
}

char *place_profile_region(const struct aws_options *o)
{
	const char *home = getenv("HOME");
	const char *profile = *o->profile           ? o->profile
			      : *o->default_profile ? o->default_profile
						    : "default";
	if (!*o->config_file && !home)
		return NULL;
	return profile_region_of(o->config_file, home, profile);
}

static int region_find(struct place *place, const struct bound *bound, struct error *err)
{
	const struct aws_options *o = place->options;
	cleanup_error why = ERROR_INIT;
	const char *set = *o->region ? o->region : o->default_region;
	place->absent = false;
	place->region = *set ? strdup(set) : place_profile_region(o);
	if (!place->region)
		place->region = look_up(place, "placement/region", bound, &why);
	/* It becomes part of a host name. */
	if (place->region && strspn(place->region, REGION_LETTERS) != strlen(place->region)) {
		error_set(err, ERROR_INVALID, "\"%.60s\" is no region", place->region);
		free(take_ptr(place->region));
		return -1;
	}
	if (place->region)
		return 0;
	if (why.kind == ERROR_TIMEOUT || why.kind == ERROR_CANCELED)
		return error_move(err, &why);
	return error_set(err, ERROR_INVALID,
		"AWS_REGION is not set, and nothing else tells the region (%s)",
		error_message(&why));
}

const char *place_region(struct place *place, const struct bound *bound, struct error *err)
{
	if (lock_within(&place->lock, bound, err) < 0)
		return NULL;
	int result = place->region ? 0 : region_find(place, bound, err);
	pthread_mutex_unlock(&place->lock);
	return result == 0 ? place->region : NULL;
}

/* One value of this machine's first network interface. */
static char *look_up_nic(struct place *place, const char *mac, const char *what,
	const struct bound *bound, struct error *err)
{
	char path[256];
	snprintf(path, sizeof(path), "network/interfaces/macs/%.40s/%s", mac, what);
	return look_up(place, path, bound, err);
}

char **imds_words(const char *text)
{
	cleanup(free_ptr) char *copy = strdup(text);
	for (char *p = copy; p && *p; p++)
		*p = isspace((unsigned char)*p) ? ',' : *p;
	return copy ? list_split(copy) : NULL;
}

char *imds_key_pair(const char *text)
{
	size_t line = strcspn(text, "\r\n");
	const char *equals = memchr(text, '=', line);
	return equals ? strndup(equals + 1, line - (size_t)(equals + 1 - text)) : strdup("");
}

static int network_find(struct place *place, const struct bound *bound, struct error *err)
{
	const struct aws_options *o = place->options;
	cleanup_error why = ERROR_INIT, ignored = ERROR_INIT;
	cleanup(free_ptr) char *mac = NULL, *subnet = NULL, *groups = NULL, *keys = NULL;
	bool wanted = !o->use_launch_template;
	place->absent = false;
	if (wanted && (!*o->subnet || !*o->security_groups))
		mac = look_up(place, "mac", bound, &why);
	if (mac && !*o->subnet)
		subnet = look_up_nic(place, mac, "subnet-id", bound, &why);
	if (mac && !*o->security_groups)
		groups = look_up_nic(place, mac, "security-group-ids", bound, &why);
	if (!*o->key_name && wanted)
		keys = look_up(place, "public-keys", bound, &ignored);
	if (bound_check(bound, "ask the instance metadata service", err) < 0)
		return -1;
	if (wanted && !*o->subnet && !subnet)
		return error_set(err, ERROR_INVALID,
			"AWS_SUBNET_ID is not set, and this machine does not tell its "
			"own subnet (%s)",
			error_message(&why));
	if (wanted && !*o->security_groups && !groups)
		return error_set(err, ERROR_INVALID,
			"AWS_SG_IDS is not set, and this machine does not tell its "
			"own security groups (%s)",
			error_message(&why));
	place->subnets = list_split(subnet ? subnet : o->subnet);
	place->groups = groups ? imds_words(groups) : list_split(o->security_groups);
	place->key_name = keys ? imds_key_pair(keys) : strdup(o->key_name);
	if (!place->subnets || !place->groups || !place->key_name) {
		list_free(take_ptr(place->subnets));
		list_free(take_ptr(place->groups));
		free(take_ptr(place->key_name));
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	place->network_known = true;
	if (subnet || groups || keys)
		log_info("aws: from this instance: subnet %s, security groups %s, key pair %s",
			subnet ? subnet : "-", groups ? groups : "-",
			*place->key_name ? place->key_name : "-");
	return 0;
}

int place_network(struct place *place, struct place_network *out, const struct bound *bound,
	struct error *err)
{
	if (lock_within(&place->lock, bound, err) < 0)
		return -1;
	int result = place->network_known ? 0 : network_find(place, bound, err);
	*out = (struct place_network){place->subnets, place->groups, place->key_name};
	pthread_mutex_unlock(&place->lock);
	return result;
}
