/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sign.c - see sign.h
 *
 * canonical request -> its SHA-256 in the string to sign -> HMAC of that with a key that is derived from the
 * secret by date, region and service. Deriving takes four HMACs of a few bytes, so the key is not kept.
 */
#include "providers/aws/sign.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/base64.h"
#include "base/cleanup.h"

#define DIGEST_LEN 32
#define TERMINATOR "aws4_request"

static bool sha256_hex(const void *bytes, size_t len, struct buf *out)
{
	unsigned char digest[DIGEST_LEN];
	if (!EVP_Digest(bytes, len, digest, NULL, EVP_sha256(), NULL))
		return false;
	hex_encode(digest, sizeof(digest), out);
	return true;
}

static bool hmac(const void *key, size_t key_len, const char *text, unsigned char out[DIGEST_LEN])
{
	return HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text, strlen(text), out,
		NULL);
}

void sign_time(int64_t now, char text[SIGN_TIME_SIZE])
{
	time_t t = now;
	struct tm tm = {0};
	gmtime_r(&t, &tm);
	if (!strftime(text, SIGN_TIME_SIZE, "%Y%m%dT%H%M%SZ", &tm))
		*text = '\0';
}

static bool signing_key(const struct sign_input *in, const char *date,
	unsigned char key[DIGEST_LEN])
{
	cleanup(buf_wipe) struct buf first = BUF_INIT;
	buf_append_text(&first, "AWS4");
	buf_append(&first, secret_reveal(in->secret_key), in->secret_key->len);
	return !first.failed && hmac(first.data, first.len, date, key) &&
	       hmac(key, DIGEST_LEN, in->region, key) && hmac(key, DIGEST_LEN, in->service, key) &&
	       hmac(key, DIGEST_LEN, TERMINATOR, key);
}

int sign_request(const struct sign_input *in, struct buf *authorization, struct error *err)
{
	char when[SIGN_TIME_SIZE], date[9];
	sign_time(in->now, when);
	snprintf(date, sizeof(date), "%.8s", when);
	bool token = !secret_is_empty(in->session_token);
	char names[96];
	snprintf(names, sizeof(names), "content-type;host;x-amz-date%s%s",
		token ? ";x-amz-security-token" : "", in->target ? ";x-amz-target" : "");

	cleanup(buf_wipe) struct buf request = BUF_INIT;
	buf_printf(&request, "POST\n/\n\ncontent-type:%s\nhost:%s\nx-amz-date:%s\n",
		in->content_type ? in->content_type : FORM_TYPE, in->host, when);
	if (token)
		buf_printf(&request, "x-amz-security-token:%s\n", secret_reveal(in->session_token));
	if (in->target)
		buf_printf(&request, "x-amz-target:%s\n", in->target);
	buf_printf(&request, "\n%s\n", names);
	bool good = sha256_hex(in->body, in->body_len, &request);

	cleanup(buf_free) struct buf scope = BUF_INIT, to_sign = BUF_INIT, signature = BUF_INIT;
	buf_printf(&scope, "%s/%s/%s/" TERMINATOR, date, in->region, in->service);
	buf_printf(&to_sign, "AWS4-HMAC-SHA256\n%s\n%s\n", when, buf_text(&scope));
	good = good && sha256_hex(request.data, request.len, &to_sign);

	unsigned char key[DIGEST_LEN], result[DIGEST_LEN];
	good = good && signing_key(in, date, key) &&
	       hmac(key, sizeof(key), buf_text(&to_sign), result);
	OPENSSL_cleanse(key, sizeof(key));
	if (good)
		hex_encode(result, sizeof(result), &signature);
	buf_printf(authorization,
		"AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s", in->key_id,
		buf_text(&scope), names, buf_text(&signature));
	if (!good || request.failed || scope.failed || to_sign.failed || signature.failed ||
		authorization->failed)
		return error_set(err, ERROR_CAPACITY, "cannot sign the request: out of memory");
	return 0;
}
