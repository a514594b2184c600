/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify.c - what happens while a peer's certificate is being verified
 *
 * OpenSSL decides; this file adds the pin (the peer must show exactly the certificate that was issued for
 * this pod VM) and writes down in words what was wrong, because OpenSSL keeps only a number and
 * lets go of the certificate.
 */
#include <openssl/err.h>
#include <string.h>
#include "base/buf.h"
#include "tls/private.h"

/* What belongs to a connection: its note, and the client whose it is (none on the server's side). */
static int note_index = -1, client_index = -1;
static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;

static void free_note(void *parent, void *data, CRYPTO_EX_DATA *all, int index, long l, void *p)
{
	(void)parent, (void)all, (void)index, (void)l, (void)p;
	free(data);
}

static void free_client(void *parent, void *data, CRYPTO_EX_DATA *all, int index, long l, void *p)
{
	(void)parent, (void)all, (void)index, (void)l, (void)p;
	tls_client_free(data);
}

static void reserve_indexes(void)
{
	note_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_note);
	client_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, free_client);
}

int tls_verify_prepare(void)
{
	return CRYPTO_THREAD_run_once(&once, reserve_indexes) && note_index >= 0 &&
			       client_index >= 0
		       ? 0
		       : -1;
}

int tls_verify_for(SSL *ssl, struct tls_client *client)
{
	if (!SSL_set_ex_data(ssl, client_index, client))
		return -1;
	tls_client_ref(client);
	return 0;
}

bool tls_cert_digest(const X509 *cert, uint8_t digest[TLS_DIGEST_SIZE])
{
	unsigned len = TLS_DIGEST_SIZE;
	return X509_digest(cert, EVP_sha256(), digest, &len) == 1 && len == TLS_DIGEST_SIZE;
}

const char *tls_note(const SSL *ssl)
{
	return note_index < 0 ? NULL : SSL_get_ex_data(ssl, note_index);
}

void tls_note_set(SSL *ssl, char *note)
{
	if (note_index < 0) {
		free(note);
		return;
	}
	free(SSL_get_ex_data(ssl, note_index));
	if (!SSL_set_ex_data(ssl, note_index, note))
		free(note);
}

/* Appends what is printed to the memory BIO as one line of printable ASCII. */
static void append_bio(struct buf *out, BIO *bio)
{
	char *text = NULL;
	long len = bio ? BIO_get_mem_data(bio, &text) : 0;
	for (long i = 0; i < len && i < 200; i++)
		buf_printf(out, "%c", text[i] >= ' ' && text[i] < 127 ? text[i] : '?');
}

static void append_time(struct buf *out, const ASN1_TIME *time)
{
	cleanup(BIO_free_ptr) BIO *bio = BIO_new(BIO_s_mem());
	if (bio && time && ASN1_TIME_print_ex(bio, time, ASN1_DTFLGS_ISO8601))
		append_bio(out, bio);
}

static void append_name(struct buf *out, const X509_NAME *name)
{
	cleanup(BIO_free_ptr) BIO *bio = BIO_new(BIO_s_mem());
	if (bio && name && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0)
		append_bio(out, bio);
}

/* "podvm-a", "podvm-b" or "no DNS name". */
static void append_dns_names(struct buf *out, const X509 *cert)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	int shown = 0;
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && shown < 5; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		if (name->type != GEN_DNS)
			continue;
		buf_append_text(out, shown++ ? ", \"" : "\"");
		const unsigned char *text = ASN1_STRING_get0_data(name->d.dNSName);
		for (int j = 0; j < ASN1_STRING_length(name->d.dNSName) && j < 100; j++)
			buf_printf(out, "%c", text[j] >= ' ' && text[j] < 127 ? text[j] : '?');
		buf_append_text(out, "\"");
	}
	if (!shown)
		buf_append_text(out, "no DNS name");
	GENERAL_NAMES_free(names);
}

/* What is wrong and what to do, in words; the peer is "the pod VM" or "the client". */
static void describe(struct buf *out, const SSL *ssl, int code, const X509 *cert)
{
	const char *peer = SSL_is_server(ssl) ? "the client" : "the pod VM";
	switch (code) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		buf_printf(out, "the certificate of %s expired on ", peer);
		append_time(out, X509_get0_notAfter(cert));
		buf_append_text(out, "; check the clocks of both ends, or make the pod anew");
		return;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		buf_printf(out, "the certificate of %s is not valid before ", peer);
		append_time(out, X509_get0_notBefore(cert));
		buf_append_text(out, "; check the clocks of both ends");
		return;
	case X509_V_ERR_HOSTNAME_MISMATCH:
		buf_printf(out, "the certificate of %s is for ", peer);
		append_dns_names(out, cert);
		buf_printf(out, ", not for \"%s\"; another machine answers at this address",
			SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
				? SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
				: "");
		return;
	case X509_V_ERR_APPLICATION_VERIFICATION:
		buf_printf(out,
			"%s shows another certificate than the one issued for it; another machine "
			"answers at this address",
			peer);
		return;
	case X509_V_ERR_INVALID_PURPOSE:
		buf_printf(out, "the certificate of %s is not meant for %s (extended key usage)",
			peer, SSL_is_server(ssl) ? "TLS clients" : "TLS servers");
		return;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_UNTRUSTED:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		buf_printf(out,
			"the certificate of %s is foreign: not signed by the CA that this end trusts (its issuer is ",
			peer);
		append_name(out, X509_get_issuer_name(cert));
		buf_append_text(out, ")");
		return;
	default:
		buf_printf(out, "the certificate of %s does not pass: %s", peer,
			X509_verify_cert_error_string(code));
	}
}

static bool is_pinned(const struct tls_client *client, const X509 *cert)
{
	uint8_t digest[TLS_DIGEST_SIZE];
	return cert && tls_cert_digest(cert, digest) &&
	       !memcmp(digest, client->pin, TLS_DIGEST_SIZE);
}

int tls_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	const struct tls_client *client = SSL_get_ex_data(ssl, client_index);
	X509 *cert = X509_STORE_CTX_get_current_cert(store);
	if (!ok && client && client->skip_verify) {
		X509_STORE_CTX_set_error(store, X509_V_OK);
		ok = 1;
	}
	if (ok && client && client->has_pin && X509_STORE_CTX_get_error_depth(store) == 0 &&
		!is_pinned(client, cert)) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
		ok = 0;
	}
	if (!ok) {
		struct buf note = BUF_INIT;
		if (cert)
			describe(&note, ssl, X509_STORE_CTX_get_error(store), cert);
		tls_note_set(ssl, buf_take(&note));
	}
	return ok;
}
