/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials.c - see credentials.h
 *
 * Whoever can write this file can send our tokens anywhere, but a mistake in it must not: its URLs are https, or of this
 * machine. The key itself is parsed at once, so that a damaged one is told at the start.
 */
#include "providers/gcp/credentials.h"

#include <ctype.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "providers/gcp/names.h"

#define TOKEN_URL "https://oauth2.googleapis.com/token"
#define HEADERS_MAX 16
#define LIFETIME_S 3600

void credentials_free(struct gcp_credentials *c)
{
	char *strings[] = {c->universe, c->project, c->quota_project, c->token_url, c->key_id,
		c->email, c->audience, c->subject_token_type, c->impersonation_url, c->source_file,
		c->source_url, c->source_field, c->client_id};
	for (size_t i = 0; i < array_size(strings); i++)
		free(strings[i]);
	list_free(c->source_headers);
	EVP_PKEY_free(c->key);
	secret_free(&c->client_secret);
	secret_free(&c->refresh_token);
	*c = (struct gcp_credentials){0};
}

static int read_secret(const json_t *o, const char *what, const char *key, struct secret *out,
	struct error *err)
{
	const json_t *value = json_object_get(o, key);
	if (!json_is_string(value) || !json_string_length(value))
		return error_set(err, ERROR_INVALID, "%s: \"%s\" is missing", what, key);
	return secret_set(out, json_string_value(value), json_string_length(value))
		       ? 0
		       : error_set(err, ERROR_CAPACITY, "out of memory");
}

/* A key with a passphrase is of no use to a daemon. */
static int no_passphrase(char *out, int size, int writing, void *with)
{
	(void)out;
	(void)size;
	(void)writing;
	(void)with;
	return -1;
}

static int read_key(const json_t *o, const char *what, struct gcp_credentials *c, struct error *err)
{
	cleanup_secret pem = SECRET_INIT;
	if (json_read_string(o, what, "client_email", JSON_REQUIRED, &c->email, err) < 0 ||
		json_read_string(o, what, "private_key_id", JSON_OPTIONAL, &c->key_id, err) < 0 ||
		json_read_string(o, what, "token_uri", JSON_OPTIONAL, &c->token_url, err) < 0 ||
		json_read_string(o, what, "project_id", JSON_OPTIONAL, &c->project, err) < 0 ||
		read_secret(o, what, "private_key", &pem, err) < 0)
		return -1;
	BIO *bio = BIO_new_mem_buf(secret_reveal(&pem), (int)pem.len);
	c->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
	BIO_free(bio);
	if (!c->key)
		return error_set(err, ERROR_INVALID,
			"%s: \"private_key\" is no private key in PEM form: take the file as Google gave it",
			what);
	if (EVP_PKEY_base_id(c->key) != EVP_PKEY_RSA)
		return error_set(err, ERROR_INVALID, "%s: \"private_key\" is no RSA key", what);
	return 0;
}

static int read_user(const json_t *o, const char *what, struct gcp_credentials *c,
	struct error *err)
{
	if (json_read_string(o, what, "client_id", JSON_REQUIRED, &c->client_id, err) < 0 ||
		json_read_string(o, what, "token_uri", JSON_OPTIONAL, &c->token_url, err) < 0 ||
		read_secret(o, what, "client_secret", &c->client_secret, err) < 0)
		return -1;
	return read_secret(o, what, "refresh_token", &c->refresh_token, err);
}

static bool is_header(const char *name, const char *value)
{
	if (!*name || !value)
		return false;
	for (const char *p = name; *p; p++) {
		if (!isalnum((unsigned char)*p) && *p != '-' && *p != '_')
			return false;
	}
	for (const char *p = value; *p; p++) {
		if (iscntrl((unsigned char)*p))
			return false;
	}
	return true;
}

static int read_headers(const json_t *source, const char *what, struct gcp_credentials *c,
	struct error *err)
{
	json_t *headers = json_object_get(source, "headers"), *value;
	const char *name;
	size_t count = 0;
	if (!headers || json_is_null(headers))
		return 0;
	if (!json_is_object(headers) || json_object_size(headers) > HEADERS_MAX)
		return error_set(err, ERROR_INVALID,
			"%s: \"credential_source\": \"headers\" must be an object of at most %d",
			what, HEADERS_MAX);
	c->source_headers = calloc(json_object_size(headers) + 1, sizeof(*c->source_headers));
	if (!c->source_headers)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	json_object_foreach(headers, name, value)
	{
		if (!is_header(name, json_string_value(value)))
			return error_set(err, ERROR_INVALID,
				"%s: \"credential_source\": \"headers\" holds what is no header",
				what);
		if (asprintf(&c->source_headers[count], "%s: %s", name, json_string_value(value)) <
			0) {
			c->source_headers[count] = NULL;
			return error_set(err, ERROR_CAPACITY, "out of memory");
		}
		count++;
	}
	return 0;
}

/* The subject's token may come from a service of the machine or of the link. */
static int source_url_check(const char *what, const char *url, struct error *err)
{
	static const char link_local[] = "http://169.254.";
	return strncmp(url, link_local, sizeof(link_local) - 1) ? url_check(what, url, err) : 0;
}

static int read_source(const json_t *o, const char *what, struct gcp_credentials *c,
	struct error *err)
{
	cleanup(free_ptr) char *type = NULL;
	const json_t *source = json_object_get(o, "credential_source");
	const json_t *format = json_object_get(source, "format");
	if (!json_is_object(source))
		return error_set(err, ERROR_INVALID, "%s: \"credential_source\" is missing", what);
	if (json_read_string(source, what, "file", JSON_OPTIONAL, &c->source_file, err) < 0 ||
		json_read_string(source, what, "url", JSON_OPTIONAL, &c->source_url, err) < 0 ||
		json_read_string(format, what, "type", JSON_OPTIONAL, &type, err) < 0 ||
		read_headers(source, what, c, err) < 0)
		return -1;
	if (!c->source_file == !c->source_url || json_object_get(source, "environment_id"))
		return error_set(err, ERROR_UNSUPPORTED,
			"%s: \"credential_source\" must have a \"file\" or a \"url\"; tokens of AWS, of programs and of "
			"certificates are not done here",
			what);
	if (type && strcmp(type, "text") != 0 && strcmp(type, "json") != 0)
		return error_set(err, ERROR_INVALID,
			"%s: \"credential_source\": the format is \"text\" or \"json\"", what);
	if (type && !strcmp(type, "json") &&
		json_read_string(format, what, "subject_token_field_name", JSON_REQUIRED,
			&c->source_field, err) < 0)
		return -1;
	return c->source_url ? source_url_check(what, c->source_url, err) : 0;
}

static int read_federation(const json_t *o, const char *what, struct gcp_credentials *c,
	struct error *err)
{
	const json_t *impersonation = json_object_get(o, "service_account_impersonation");
	c->lifetime_s = LIFETIME_S;
	if (json_read_string(o, what, "audience", JSON_REQUIRED, &c->audience, err) < 0 ||
		json_read_string(o, what, "subject_token_type", JSON_REQUIRED,
			&c->subject_token_type, err) < 0 ||
		json_read_string(o, what, "token_url", JSON_REQUIRED, &c->token_url, err) < 0 ||
		json_read_string(o, what, "service_account_impersonation_url", JSON_OPTIONAL,
			&c->impersonation_url, err) < 0 ||
		json_read_int(impersonation, what, "token_lifetime_seconds", JSON_OPTIONAL, 600,
			43200, &c->lifetime_s, err) < 0)
		return -1;
	if (c->impersonation_url && url_check(what, c->impersonation_url, err) < 0)
		return -1;
	return read_source(o, what, c, err);
}

static const struct {
	const char *type;
	enum credentials_kind kind;
	int (*read)(const json_t *o, const char *what, struct gcp_credentials *c,
		struct error *err);
} forms[] = {
	{"service_account", CREDENTIALS_KEY, read_key},
	{"external_account", CREDENTIALS_FEDERATED, read_federation},
	{"authorized_user", CREDENTIALS_USER, read_user},
};

/* jansson's own message may quote the text, which is secret. */
static json_t *parse(const char *what, const char *text, size_t len, struct error *err)
{
	size_t blank = 0;
	while (blank < len && isspace((unsigned char)text[blank]))
		blank++;
	json_t *o = len <= CREDENTIALS_MAX
			    ? json_parse(what, text, len, CREDENTIALS_MAX, false, NULL)
			    : NULL;
	if (json_is_object(o))
		return o;
	json_decref(o);
	if (len > CREDENTIALS_MAX)
		error_set(err, ERROR_INVALID, "%s: more than %zu bytes", what, CREDENTIALS_MAX);
	else if (blank < len && text[blank] == '/')
		error_set(err, ERROR_INVALID,
			"%s must be the JSON text itself; a path belongs into GOOGLE_APPLICATION_CREDENTIALS",
			what);
	else
		error_set(err, ERROR_INVALID, "%s: this is no JSON object", what);
	return NULL;
}

static bool has_control(const char *text)
{
	for (; text && *text; text++) {
		if (iscntrl((unsigned char)*text))
			return true;
	}
	return false;
}

static int read_form(const json_t *o, const char *what, struct gcp_credentials *c,
	struct error *err)
{
	cleanup(free_ptr) char *type = NULL;
	if (json_read_string(o, what, "type", JSON_REQUIRED, &type, err) < 0 ||
		json_read_string(o, what, "universe_domain", JSON_OPTIONAL, &c->universe, err) <
			0 ||
		json_read_string(o, what, "quota_project_id", JSON_OPTIONAL, &c->quota_project,
			err) < 0)
		return -1;
	if (!c->universe && !(c->universe = strdup(UNIVERSE)))
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (!host_is_plain(c->universe) || has_control(c->quota_project))
		return error_set(err, ERROR_INVALID,
			"%s: \"universe_domain\" or \"quota_project_id\" is none", what);
	for (size_t i = 0; i < array_size(forms); i++) {
		if (strcmp(forms[i].type, type) != 0)
			continue;
		c->kind = forms[i].kind;
		if (forms[i].read(o, what, c, err) < 0)
			return -1;
		if (!c->token_url && !(c->token_url = strdup(TOKEN_URL)))
			return error_set(err, ERROR_CAPACITY, "out of memory");
		return url_check(what, c->token_url, err);
	}
	return error_set(err, ERROR_INVALID,
		"%s: the type \"%.40s\" is none of service_account, external_account, authorized_user",
		what, type);
}

int credentials_read(const char *what, const char *text, size_t len, struct gcp_credentials *out,
	struct error *err)
{
	*out = (struct gcp_credentials){0};
	cleanup_json *o = parse(what, text, len, err);
	if (!o)
		return -1;
	if (read_form(o, what, out, err) == 0)
		return 0;
	credentials_free(out);
	return -1;
}

bool credentials_are_in_file(const struct gcp_options *o)
{
	return secret_is_empty(&o->credentials) && *o->credentials_file;
}

int credentials_find(const struct gcp_options *o, struct gcp_credentials *out, struct error *err)
{
	cleanup(buf_wipe) struct buf text = BUF_INIT;
	*out = (struct gcp_credentials){0};
	if (!secret_is_empty(&o->credentials))
		return credentials_read("GCP_CREDENTIALS", secret_reveal(&o->credentials),
			o->credentials.len, out, err);
	if (credentials_are_in_file(o)) {
		if (file_read(o->credentials_file, CREDENTIALS_MAX, &text, err) < 0)
			return error_prefix(err, "GOOGLE_APPLICATION_CREDENTIALS");
		return credentials_read("GOOGLE_APPLICATION_CREDENTIALS", buf_text(&text), text.len,
			out, err);
	}
	out->universe = strdup(UNIVERSE);
	return out->universe ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}
