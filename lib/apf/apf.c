/* SPDX-License-Identifier: Apache-2.0 */
/*
 * apf.c - apf.json, written by the adaptor, read by the forwarder
 *
 * Written with the members, order and indentation that upstream's adaptor uses; read as Go's decoder
 * reads: unknown members are ignored, null and absence leave the default, and the case of letters in a
 * member's name does not matter.
 *
 * The document holds the server's private key. jansson keeps its strings in plain memory, so the
 * key's value is overwritten before the tree is freed.
 */
#include "apf/apf.h"

#include <string.h>
#include <strings.h>
#include "base/json.h"

/* Go accepts 27 names today; a list with more than this repeats itself. */
#define SUITES_MAX 64

/* The members that are one string each. */
static const struct text_member {
	const char *key;
	size_t offset; /* of a char * in struct apf */
	bool always;   /* written also when empty */
} text_members[] = {
	{"pod-namespace", offsetof(struct apf, pod_namespace), true},
	{"pod-name", offsetof(struct apf, pod_name), true},
	{"tls-server-cert", offsetof(struct apf, tls_server_cert), false},
	{"tls-client-ca", offsetof(struct apf, tls_client_ca), false},
	{"tls-min-version", offsetof(struct apf, tls_min_version), false},
};
#define TEXTS_BEFORE_KEY 2 /* the private key is written after the first two */
#define KEY_MEMBER "tls-server-key"

static char **text_at(const struct apf *apf, const struct text_member *member)
{
	return (char **)((char *)apf + member->offset);
}

static void forget_json(json_t **document)
{
	json_t *key = json_object_get(*document, KEY_MEMBER);
	if (json_is_string(key))
		explicit_bzero((char *)json_string_value(key), json_string_length(key));
	json_decref(*document);
}

static bool write_texts(json_t *document, const struct apf *apf, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		const char *text = *text_at(apf, &text_members[i]);
		if (!text_members[i].always && (!text || !*text))
			continue;
		if (json_object_set_new(document, text_members[i].key,
			    json_string(text ? text : "")) < 0)
			return false;
	}
	return true;
}

static bool write_suites(json_t *document, const struct apf *apf)
{
	if (!apf->tls_cipher_suites || !*apf->tls_cipher_suites)
		return true;
	json_t *list = json_array();
	for (char **name = apf->tls_cipher_suites; list && *name; name++) {
		if (json_array_append_new(list, json_string(*name)) < 0) {
			json_decref(list);
			return false;
		}
	}
	return list && json_object_set_new(document, "tls-cipher-suites", list) == 0;
}

static int append(const char *bytes, size_t len, void *out)
{
	buf_append(out, bytes, len);
	return ((struct buf *)out)->failed ? -1 : 0;
}

int apf_write(const struct apf *apf, struct buf *out, struct error *err)
{
	cleanup(forget_json) json_t *document = json_object();
	cleanup_json *network = NULL;
	if (apf->has_network && !(network = podnetwork_to_json(&apf->network, err)))
		return error_prefix(err, "apf.json");
	bool ok = document &&
		  json_object_set(document, "pod-network", network ? network : json_null()) == 0 &&
		  write_texts(document, apf, 0, TEXTS_BEFORE_KEY) &&
		  (secret_is_empty(&apf->tls_server_key) ||
			  json_object_set_new(document, KEY_MEMBER,
				  json_stringn(secret_reveal(&apf->tls_server_key),
					  apf->tls_server_key.len)) == 0) &&
		  write_texts(document, apf, TEXTS_BEFORE_KEY, array_size(text_members)) &&
		  write_suites(document, apf);
	if (!ok)
		return error_set(err, ERROR_INVALID,
			"apf.json: cannot be written: no memory, or a text in it is not UTF-8");
	size_t before = out->len;
	if (json_dump_callback(document, append, out, JSON_INDENT(4)) < 0 || out->failed)
		return error_set(err, ERROR_CAPACITY, "apf.json: out of memory");
	if (out->len - before > APF_SIZE_MAX)
		return error_set(err, ERROR_INVALID,
			"apf.json: %zu bytes are more than the limit of %d", out->len - before,
			APF_SIZE_MAX);
	return 0;
}

/* How the document spells the member, or key itself where it has none. */
static const char *spelling(json_t *document, const char *key)
{
	if (json_object_get(document, key))
		return key;
	const char *name;
	json_t *value;
	json_object_foreach(document, name, value) if (!strcasecmp(name, key)) return name;
	return key;
}

static int read_key(json_t *document, struct apf *apf, struct error *err)
{
	json_t *key = json_object_get(document, spelling(document, KEY_MEMBER));
	if (!key || json_is_null(key))
		return 0;
	if (!json_is_string(key))
		return error_set(err, ERROR_INVALID,
			"apf.json: \"" KEY_MEMBER "\" must be a string");
	if (!secret_set(&apf->tls_server_key, json_string_value(key), json_string_length(key)))
		return error_set(err, ERROR_CAPACITY, "apf.json: out of memory");
	explicit_bzero((char *)json_string_value(key), json_string_length(key));
	return 0;
}

static int read_suites(json_t *document, struct apf *apf, struct error *err)
{
	json_t *list = json_object_get(document, spelling(document, "tls-cipher-suites"));
	if (!list || json_is_null(list))
		return 0;
	if (!json_is_array(list))
		return error_set(err, ERROR_INVALID,
			"apf.json: \"tls-cipher-suites\" must be a list");
	size_t count = json_array_size(list);
	if (count > SUITES_MAX)
		return error_set(err, ERROR_INVALID,
			"apf.json: \"tls-cipher-suites\" has more than %d names", SUITES_MAX);
	if (!count)
		return 0;
	if (!(apf->tls_cipher_suites = calloc(count + 1, sizeof *apf->tls_cipher_suites)))
		return error_set(err, ERROR_CAPACITY, "apf.json: out of memory");
	for (size_t i = 0; i < count; i++) {
		const char *name = json_string_value(json_array_get(list, i));
		if (!name)
			return error_set(err, ERROR_INVALID,
				"apf.json: \"tls-cipher-suites\" must hold strings only");
		if (!(apf->tls_cipher_suites[i] = strdup(name)))
			return error_set(err, ERROR_CAPACITY, "apf.json: out of memory");
	}
	return 0;
}

static int read_document(json_t *document, struct apf *apf, struct error *err)
{
	if (!json_is_object(document))
		return error_set(err, ERROR_INVALID, "apf.json: must be an object");
	/* First, so that no refusal of something else leaves the key in freed memory. */
	if (read_key(document, apf, err) < 0)
		return -1;
	for (size_t i = 0; i < array_size(text_members); i++) {
		char **text = text_at(apf, &text_members[i]);
		const char *name = spelling(document, text_members[i].key);
		if (json_read_string(document, "apf.json", name, JSON_OPTIONAL, text, err) < 0)
			return -1;
		if (!*text && !(*text = strdup("")))
			return error_set(err, ERROR_CAPACITY, "apf.json: out of memory");
	}
	if (read_suites(document, apf, err) < 0)
		return -1;
	json_t *network = json_object_get(document, spelling(document, "pod-network"));
	if (!network || json_is_null(network))
		return 0;
	apf->has_network = true;
	if (podnetwork_from_json(network, &apf->network, err) < 0)
		return error_prefix(err, "apf.json");
	return 0;
}

int apf_read(const void *text, size_t len, struct apf *apf, struct error *err)
{
	*apf = (struct apf){0};
	cleanup(forget_json) json_t *document =
		json_parse("apf.json", text, len, APF_SIZE_MAX, true, err);
	if (!document)
		return -1;
	if (read_document(document, apf, err) == 0)
		return 0;
	apf_free(apf);
	return -1;
}

void apf_free(struct apf *apf)
{
	podnetwork_free(&apf->network);
	for (size_t i = 0; i < array_size(text_members); i++)
		free(*text_at(apf, &text_members[i]));
	secret_free(&apf->tls_server_key);
	for (char **name = apf->tls_cipher_suites; name && *name; name++)
		free(*name);
	free(apf->tls_cipher_suites);
	*apf = (struct apf){0};
}
