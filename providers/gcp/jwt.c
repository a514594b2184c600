/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jwt.c - the assertion by which a service account's key gets a token (RFC 7523): RS256 over header and claims
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/json.h"
#include "providers/gcp/token.h"

#define LIVES_S 3600 /* the most that is taken */
#define EARLY_S 10   /* for clocks that differ a little */

/* base64url without padding (RFC 7515). */
static void append_url(struct buf *out, const void *bytes, size_t len)
{
	size_t start = out->len;
	base64_encode(bytes, len, out);
	for (size_t i = start; i < out->len; i++) {
		if (out->data[i] == '+')
			out->data[i] = '-';
		else if (out->data[i] == '/')
			out->data[i] = '_';
	}
	while (out->len > start && out->data[out->len - 1] == '=')
		out->data[--out->len] = '\0';
}

static int append_json(struct buf *out, json_t *object, struct error *err)
{
	cleanup_json *owned = object;
	char *text = owned ? json_dumps(owned, JSON_COMPACT) : NULL;
	if (!text)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	append_url(out, text, strlen(text));
	free(text);
	return 0;
}

/* Of what was appended since start. */
static int append_signature(EVP_PKEY *key, struct buf *out, size_t start, struct error *err)
{
	unsigned char signature[1024];
	size_t len = sizeof(signature);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool good =
		context && EVP_PKEY_size(key) <= (int)sizeof(signature) &&
		EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
		EVP_DigestSign(context, signature, &len, out->data + start, out->len - start) == 1;
	EVP_MD_CTX_free(context);
	if (!good)
		return error_set(err, ERROR_INVALID, "the private key cannot sign");
	buf_append_text(out, ".");
	append_url(out, signature, len);
	return 0;
}

int jwt_sign(const struct gcp_credentials *c, int64_t now, struct buf *out, struct error *err)
{
	json_int_t from = (json_int_t)now - EARLY_S;
	json_t *header = c->key_id ? json_pack("{s:s, s:s, s:s}", "alg", "RS256", "typ", "JWT",
					     "kid", c->key_id)
				   : json_pack("{s:s, s:s}", "alg", "RS256", "typ", "JWT");
	json_t *claims = json_pack("{s:s, s:s, s:s, s:I, s:I}", "iss", c->email, "scope",
		TOKEN_SCOPE, "aud", c->token_url, "iat", from, "exp", from + LIVES_S);
	size_t start = out->len;
	int result = append_json(out, header, err);
	buf_append_text(out, ".");
	if (append_json(out, claims, err) < 0 || result < 0)
		return -1;
	if (out->failed || append_signature(c->key, out, start, err) < 0 || out->failed)
		return out->failed ? error_set(err, ERROR_CAPACITY, "out of memory") : -1;
	return 0;
}
