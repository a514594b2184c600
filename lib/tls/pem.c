/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pem.c - reading certificates and keys from PEM text
 *
 * A text may hold what Go's and OpenSSL's tools leave around the blocks; blocks of other kinds are
 * skipped. An encrypted key is an error: nobody is there to type a password.
 */
#include <limits.h>
#include <openssl/err.h>
#include <string.h>
#include "tls/private.h"

/* More certificates than this in one text is not a chain nor a list of anchors that we would be given. */
#define CERTS_MAX 64

int tls_error(struct error *err, enum error_kind kind, const char *what)
{
	unsigned long code = ERR_peek_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;
	error_set(err, kind, "%s: %s", what, reason ? reason : "OpenSSL gives no reason");
	ERR_clear_error();
	return -1;
}

static BIO *reader(const char *text, size_t len, const char *what, struct error *err)
{
	BIO *bio = len > INT_MAX ? NULL : BIO_new_mem_buf(text, (int)len);
	if (!bio)
		error_set(err, ERROR_CAPACITY, "%s: out of memory", what);
	return bio;
}

STACK_OF(X509) * tls_pem_certs(const char *pem, const char *what, struct error *err)
{
	cleanup(BIO_free_ptr) BIO *bio = reader(pem ? pem : "", pem ? strlen(pem) : 0, what, err);
	if (!bio)
		return NULL;
	STACK_OF(X509) *certs = sk_X509_new_null();
	ERR_clear_error();
	for (X509 *cert; certs && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL));) {
		if (sk_X509_num(certs) == CERTS_MAX || !sk_X509_push(certs, cert)) {
			X509_free(cert);
			sk_X509_pop_free(certs, X509_free);
			error_set(err, ERROR_INVALID, "%s: more than %d certificates", what,
				CERTS_MAX);
			return NULL;
		}
	}
	unsigned long last = ERR_peek_last_error();
	bool at_end =
		ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
	if (certs && at_end && sk_X509_num(certs)) {
		ERR_clear_error();
		return certs;
	}
	sk_X509_pop_free(certs, X509_free);
	if (at_end) {
		ERR_clear_error();
		error_set(err, ERROR_INVALID, "%s: holds no PEM certificate", what);
	} else {
		tls_error(err, ERROR_INVALID, what);
	}
	return NULL;
}

X509 *tls_pem_cert(const char *pem, const char *what, struct error *err)
{
	STACK_OF(X509) *certs = tls_pem_certs(pem, what, err);
	X509 *first = certs ? sk_X509_shift(certs) : NULL;
	sk_X509_pop_free(certs, X509_free);
	return first;
}

static int no_password(char *buffer, int size, int writing, void *arg)
{
	(void)buffer, (void)size, (void)writing, (void)arg;
	return -1;
}

EVP_PKEY *tls_pem_key(const struct secret *pem, const char *what, struct error *err)
{
	if (!pem || secret_is_empty(pem)) {
		error_set(err, ERROR_INVALID, "%s: holds no PEM private key", what);
		return NULL;
	}
	cleanup(BIO_free_ptr) BIO *bio = reader(secret_reveal(pem), pem->len, what, err);
	if (!bio)
		return NULL;
	ERR_clear_error();
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	if (!key) {
		ERR_clear_error();
		error_set(err, ERROR_INVALID,
			"%s: holds no PEM private key that can be read (an encrypted one cannot)",
			what);
	}
	return key;
}
