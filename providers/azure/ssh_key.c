/* SPDX-License-Identifier: Apache-2.0 */
/* ssh_key.c - see ssh_key.h */
#include "providers/azure/ssh_key.h"

#include <ctype.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/file.h"

#define KEY_FILE_MAX ((size_t)16 << 10)
/*
 * The least that Azure takes, made in a third of the time of 3072. Nobody has its private half, so nobody needs more. The
 * API's description asks for ssh-rsa: an Ed25519 key, which newer guides allow, is the operator's to name.
 */
#define KEY_BITS 2048

int path_expand(const char *path, struct buf *out, struct error *err)
{
	for (const char *p = path; *p;) {
		size_t plain = strcspn(p, "$");
		buf_append(out, p, plain);
		p += plain;
		if (*p != '$')
			continue;
		bool braces = p[1] == '{';
		const char *start = p + 1 + braces;
		size_t len = 0;
		while (isalnum((unsigned char)start[len]) || start[len] == '_')
			len++;
		if (braces && (start[len] != '}' || !len))
			return error_set(err, ERROR_INVALID, "\"%s\": ${ without a name and }",
				path);
		char name[128];
		snprintf(name, sizeof(name), "%.*s", (int)len, start);
		const char *value = len ? getenv(name) : "$";
		buf_append_text(out, value ? value : "");
		p = start + len + braces;
	}
	return out->failed ? error_set(err, ERROR_CAPACITY, "out of memory") : 0;
}

int ssh_key_check(const char *line, struct error *err)
{
	static const char *const types[] = {"ssh-rsa", "ssh-ed25519"};
	cleanup(buf_free) struct buf blob = BUF_INIT;
	for (size_t i = 0; i < array_size(types); i++) {
		size_t len = strlen(types[i]);
		if (strncmp(line, types[i], len) != 0 || line[len] != ' ')
			continue;
		const char *text = line + len + 1;
		if (base64_decode(text, strcspn(text, " "), KEY_FILE_MAX, &blob, err) < 0)
			return -1;
		/* The blob repeats the type, with its length in four bytes before it. */
		if (blob.len < 4 + len + 4 || blob.data[3] != len ||
			memcmp(blob.data, "\0\0\0", 3) != 0 ||
			memcmp(blob.data + 4, types[i], len) != 0)
			return error_set(err, ERROR_INVALID,
				"the key's text is not that of an %s key", types[i]);
		return 0;
	}
	return error_set(err, ERROR_INVALID,
		"it is no public key that Azure takes: one line with ssh-rsa or ssh-ed25519 and the key");
}

int ssh_key_read(const char *path, struct buf *out, struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT, expanded = BUF_INIT;
	if (path_expand(path, &expanded, err) < 0 ||
		file_read(buf_text(&expanded), KEY_FILE_MAX, &text, err) < 0)
		return error_prefix(err, "-ssh-key-path");
	for (const char *line = buf_text(&text); *line;) {
		size_t len = strcspn(line, "\r\n");
		char *copy = strndup(line, len);
		int result = !copy ? error_set(err, ERROR_CAPACITY, "out of memory")
			     : !len || *copy == '#' ? 1
						    : ssh_key_check(copy, err);
		if (result == 0)
			buf_append_text(out, copy);
		free(copy);
		if (result <= 0)
			return result < 0
				       ? error_prefix(err, "-ssh-key-path: %s", buf_text(&expanded))
				       : 0;
		line += len + strspn(line + len, "\r\n");
	}
	return error_set(err, ERROR_INVALID, "-ssh-key-path: %s is empty", buf_text(&expanded));
}

static void length(struct buf *out, size_t len)
{
	unsigned char bytes[4] = {(unsigned char)(len >> 24), (unsigned char)(len >> 16),
		(unsigned char)(len >> 8), (unsigned char)len};
	buf_append(out, bytes, sizeof(bytes));
}

/* A number without leading zeros, with one where the first bit would make it negative. */
static int number(struct buf *out, const EVP_PKEY *key, const char *name)
{
	BIGNUM *n = NULL;
	unsigned char bytes[KEY_BITS / 8 + 1];
	if (EVP_PKEY_get_bn_param(key, name, &n) != 1)
		return -1;
	int len = BN_num_bytes(n);
	if (len > 0 && len < (int)sizeof(bytes))
		BN_bn2bin(n, bytes);
	BN_free(n);
	if (len <= 0 || len >= (int)sizeof(bytes))
		return -1;
	bool zero = bytes[0] & 0x80;
	length(out, (size_t)len + zero);
	buf_append(out, "", zero);
	buf_append(out, bytes, (size_t)len);
	return 0;
}

/* Called for every candidate of a prime: an end of the process need not wait for the key. */
static int go_on(EVP_PKEY_CTX *context)
{
	const atomic_bool *stop = EVP_PKEY_CTX_get_app_data(context);
	return !stop || !atomic_load(stop);
}

static EVP_PKEY *generate(const atomic_bool *stop)
{
	EVP_PKEY *key = NULL;
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	if (!context)
		return NULL;
	EVP_PKEY_CTX_set_app_data(context, (void *)stop);
	EVP_PKEY_CTX_set_cb(context, go_on);
	if (EVP_PKEY_keygen_init(context) != 1 ||
		EVP_PKEY_CTX_set_rsa_keygen_bits(context, KEY_BITS) != 1 ||
		EVP_PKEY_generate(context, &key) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(context);
	return key;
}

int ssh_key_make(struct buf *out, const atomic_bool *stop, struct error *err)
{
	static const char type[] = "ssh-rsa";
	cleanup(buf_free) struct buf blob = BUF_INIT;
	EVP_PKEY *key = generate(stop);
	length(&blob, sizeof(type) - 1);
	buf_append(&blob, type, sizeof(type) - 1);
	int result = key && number(&blob, key, OSSL_PKEY_PARAM_RSA_E) == 0
			     ? number(&blob, key, OSSL_PKEY_PARAM_RSA_N)
			     : -1;
	EVP_PKEY_free(key); /* overwrites the private half */
	if (result < 0 || blob.failed)
		return error_set(err, ERROR_INTERNAL, "cannot make an SSH key");
	buf_append_text(out, "ssh-rsa ");
	base64_encode(blob.data, blob.len, out);
	return out->failed ? error_set(err, ERROR_CAPACITY, "out of memory") : 0;
}

/* ---- the process's key ---------------------------------------------------------------------------------------- */

struct ssh_key {
	const char *path; /* "": made here */
	pthread_mutex_t lock;
	pthread_t maker;
	bool making; /* the maker has to be joined */
	atomic_bool stop;
	struct buf made; /* the maker's until it is joined */
	struct error why;
	char *text;
};

static void *make_key(void *opaque)
{
	struct ssh_key *k = opaque;
	ssh_key_make(&k->made, &k->stop, &k->why);
	return NULL;
}

struct ssh_key *ssh_key_new(const char *path)
{
	struct ssh_key *k = calloc(1, sizeof(*k));
	if (!k)
		return NULL;
	k->path = path;
	pthread_mutex_init(&k->lock, NULL);
	/* Without a thread it is made when it is needed. */
	k->making = !*path && pthread_create(&k->maker, NULL, make_key, k) == 0;
	return k;
}

void ssh_key_free(struct ssh_key *k)
{
	if (!k)
		return;
	atomic_store(&k->stop, true);
	if (k->making)
		pthread_join(k->maker, NULL);
	buf_free(&k->made);
	error_clear(&k->why);
	free(k->text);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

const char *ssh_key_text(struct ssh_key *k, struct error *err)
{
	pthread_mutex_lock(&k->lock);
	if (k->making)
		pthread_join(k->maker, NULL);
	k->making = false;
	int result = 0;
	if (!k->text && *k->path)
		result = ssh_key_read(k->path, &k->made, err);
	else if (!k->text && !k->made.len)
		result = ssh_key_make(&k->made, &k->stop, err);
	if (!k->text && result == 0 && !(k->text = buf_take(&k->made)))
		error_set(err, ERROR_CAPACITY, "out of memory");
	const char *text = k->text;
	pthread_mutex_unlock(&k->lock);
	return text;
}
