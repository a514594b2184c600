/* SPDX-License-Identifier: Apache-2.0 */
/*
 * issue.c - the node's CA and the certificates of the tunnel
 *
 * Three kinds of certificate, one table. Subjects, key usages and lifetimes are those of the Go
 * implementation, so that each half verifies what the other half of it issues: a leaf that may sign
 * (keyCertSign) without being a CA looks odd, is what the other half has always seen, and does no harm, since
 * verifiers ask basicConstraints who is a CA.
 *
 * Keys are ECDSA P-256; the text of a key goes from OpenSSL's memory, which is overwritten when
 * freed, to a struct secret.
 */
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <string.h>
#include <time.h>
#include "tls/private.h"

#define SKEW_S 300          /* clocks of worker and pod VM differ */
#define LIFETIME_S 63072000 /* upstream's two years: 2 * 365 days */
#define SERIAL_BITS 128
#define NAME_MAX_LEN 63 /* one DNS label, and below the limit of 64 for a common name */

struct tls_ca {
	X509 *cert;
	EVP_PKEY *key;
	char *pem;
};

/* What tells one kind of certificate from another. */
struct kind {
	const char *what; /* in messages */
	const char *organization;
	const char *constraints, *extended_usage;
};

static const struct kind kind_ca = {"the node's CA", "agent-protocol-forwarder", "critical,CA:TRUE",
	"serverAuth"};
static const struct kind kind_server = {"a server certificate", "agent-protocol-forwarder",
	"critical,CA:FALSE", "serverAuth"};
static const struct kind kind_client = {"a client certificate", "cloud-api-adaptor",
	"critical,CA:FALSE", "clientAuth"};

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	bool ok = extension && X509_add_ext(cert, extension, -1);
	X509_EXTENSION_free(extension);
	return ok;
}

static bool set_serial(X509 *cert)
{
	BIGNUM *number = BN_new();
	bool ok = number && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) &&
		  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
	BN_free(number);
	return ok;
}

static bool add_name(X509_NAME *name, const char *field, const char *value)
{
	return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, (const unsigned char *)value,
		-1, -1, 0);
}

/* From five minutes ago for two years, and never beyond the issuer's life. */
static bool set_validity(X509 *cert, const X509 *issuer)
{
	if (!X509_gmtime_adj(X509_getm_notBefore(cert), -SKEW_S) ||
		!X509_gmtime_adj(X509_getm_notAfter(cert), LIFETIME_S))
		return false;
	if (issuer == cert)
		return true;
	const ASN1_TIME *from = X509_get0_notBefore(issuer), *until = X509_get0_notAfter(issuer);
	return (ASN1_TIME_compare(from, X509_get0_notBefore(cert)) <= 0 ||
		       X509_set1_notBefore(cert, from)) &&
	       (ASN1_TIME_compare(until, X509_get0_notAfter(cert)) >= 0 ||
		       X509_set1_notAfter(cert, until));
}

/* A certificate for key; signed by ca, or by itself where ca is NULL. name: CN and SAN, or NULL. */
static X509 *issue(const struct kind *kind, EVP_PKEY *key, const char *name,
	const struct tls_ca *ca, struct error *err)
{
	cleanup(X509_free_ptr) X509 *cert = X509_new();
	if (!cert) {
		tls_error(err, ERROR_INTERNAL, kind->what);
		return NULL;
	}
	X509 *issuer = ca ? ca->cert : cert;
	X509_NAME *subject = X509_get_subject_name(cert);
	cleanup(free_ptr) char *san = NULL;
	bool ok = X509_set_version(cert, X509_VERSION_3) && set_serial(cert) &&
		  set_validity(cert, issuer) && add_name(subject, "O", kind->organization) &&
		  (!name || add_name(subject, "CN", name)) &&
		  X509_set_issuer_name(cert, X509_get_subject_name(issuer)) &&
		  X509_set_pubkey(cert, key) &&
		  add_extension(cert, issuer, NID_key_usage,
			  "critical,digitalSignature,keyCertSign") &&
		  add_extension(cert, issuer, NID_ext_key_usage, kind->extended_usage) &&
		  add_extension(cert, issuer, NID_basic_constraints, kind->constraints) &&
		  (kind != &kind_ca ||
			  add_extension(cert, issuer, NID_subject_key_identifier, "hash")) &&
		  (!ca || add_extension(cert, issuer, NID_authority_key_identifier, "keyid")) &&
		  (!name || (asprintf(&san, "DNS:%s", name) > 0 &&
				    add_extension(cert, issuer, NID_subject_alt_name, san))) &&
		  X509_sign(cert, ca ? ca->key : key, EVP_sha256());
	if (!ok) {
		tls_error(err, ERROR_INTERNAL, kind->what);
		return NULL;
	}
	return take_ptr(cert);
}

static char *cert_to_pem(X509 *cert)
{
	cleanup(BIO_free_ptr) BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	if (!bio || !PEM_write_bio_X509(bio, cert))
		return NULL;
	long len = BIO_get_mem_data(bio, &text);
	return strndup(text, (size_t)len);
}

static int key_to_pem(EVP_PKEY *key, struct secret *out, const char *what, struct error *err)
{
	cleanup(BIO_free_ptr) BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	if (!bio || !PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL))
		return tls_error(err, ERROR_INTERNAL, what);
	long len = BIO_get_mem_data(bio, &text);
	if (!secret_set(out, text, (size_t)len))
		return error_set(err, ERROR_CAPACITY, "%s: out of memory", what);
	return 0;
}

static EVP_PKEY *new_key(const char *what, struct error *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	if (!key)
		tls_error(err, ERROR_INTERNAL, what);
	return key;
}

struct tls_ca *tls_ca_new(struct error *err)
{
	cleanup(tls_ca_free_ptr) struct tls_ca *ca = calloc(1, sizeof *ca);
	if (!ca) {
		error_set(err, ERROR_CAPACITY, "the node's CA: out of memory");
		return NULL;
	}
	if (!(ca->key = new_key(kind_ca.what, err)) ||
		!(ca->cert = issue(&kind_ca, ca->key, NULL, NULL, err)))
		return NULL;
	if (!(ca->pem = cert_to_pem(ca->cert))) {
		tls_error(err, ERROR_INTERNAL, kind_ca.what);
		return NULL;
	}
	return take_ptr(ca);
}

struct tls_ca *tls_ca_load(const char *cert_pem, const struct secret *key_pem, struct error *err)
{
	cleanup(tls_ca_free_ptr) struct tls_ca *ca = calloc(1, sizeof *ca);
	if (!ca) {
		error_set(err, ERROR_CAPACITY, "the node's CA: out of memory");
		return NULL;
	}
	if (!(ca->cert = tls_pem_cert(cert_pem, "the node's CA: certificate", err)) ||
		!(ca->key = tls_pem_key(key_pem, "the node's CA: key", err)))
		return NULL;
	if (!X509_check_private_key(ca->cert, ca->key)) {
		ERR_clear_error();
		error_set(err, ERROR_INVALID,
			"the node's CA: certificate and key do not belong together");
		return NULL;
	}
	if (X509_check_ca(ca->cert) != 1) {
		error_set(err, ERROR_INVALID, "the node's CA: the certificate is not that of a CA");
		return NULL;
	}
	if (!(ca->pem = cert_to_pem(ca->cert))) {
		tls_error(err, ERROR_INTERNAL, kind_ca.what);
		return NULL;
	}
	return take_ptr(ca);
}

void tls_ca_free(struct tls_ca *ca)
{
	if (!ca)
		return;
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
	free(ca->pem);
	free(ca);
}

const char *tls_ca_cert_pem(const struct tls_ca *ca)
{
	return ca->pem;
}

int tls_ca_key_pem(const struct tls_ca *ca, struct secret *key_pem, struct error *err)
{
	return key_to_pem(ca->key, key_pem, "the node's CA: key", err);
}

int64_t tls_ca_lifetime_s(const struct tls_ca *ca)
{
	int days = 0, seconds = 0;
	if (!ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(ca->cert)))
		return -1;
	return (int64_t)days * 24 * 3600 + seconds;
}

void tls_identity_free(struct tls_identity *identity)
{
	free(identity->cert_pem);
	secret_free(&identity->key_pem);
	*identity = (struct tls_identity){0};
}

static int make_identity(const struct kind *kind, const char *name, const struct tls_ca *ca,
	struct tls_identity *identity, struct error *err)
{
	cleanup(EVP_PKEY_free_ptr) EVP_PKEY *key = new_key(kind->what, err);
	cleanup(X509_free_ptr) X509 *cert = key ? issue(kind, key, name, ca, err) : NULL;
	cleanup(free_ptr) char *cert_pem = cert ? cert_to_pem(cert) : NULL;
	cleanup_secret key_text = SECRET_INIT;
	if (!cert || key_to_pem(key, &key_text, kind->what, err) < 0)
		return -1;
	if (!cert_pem)
		return tls_error(err, ERROR_INTERNAL, kind->what);
	tls_identity_free(identity);
	if (!secret_set(&identity->key_pem, secret_reveal(&key_text), key_text.len))
		return error_set(err, ERROR_CAPACITY, "%s: out of memory", kind->what);
	identity->cert_pem = take_ptr(cert_pem);
	return 0;
}

int tls_issue_server(const struct tls_ca *ca, const char *name, struct tls_identity *identity,
	struct error *err)
{
	/* The name becomes part of an extension's textual form, where commas and colons have a meaning. */
	size_t len = strlen(name);
	if (!len || len > NAME_MAX_LEN ||
		strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") != len)
		return error_set(err, ERROR_INVALID,
			"a server certificate: the name \"%s\" must be 1 to %d of a-z, 0-9 and -",
			name, NAME_MAX_LEN);
	if (tls_ca_lifetime_s(ca) <= 0)
		return error_set(err, ERROR_INVALID,
			"a server certificate: the node's CA has expired; make a new one");
	return make_identity(&kind_server, name, ca, identity, err);
}

int tls_issue_client(struct tls_identity *identity, struct error *err)
{
	return make_identity(&kind_client, NULL, NULL, identity, err);
}
