/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - what connections to one pod VM are made of
 *
 * A node has hundreds of tunnels that are quiet for days, and an SSL_CTX with parsed certificates takes 30 KiB. So
 * one context serves all clients that trust the same CA under the same profile, which is every VM of a node; a client
 * itself keeps only its own certificate and key as text and the digest of the certificate that it is pinned to.
 * They are parsed for each connection, and conn.c lets go of them (SSL_certs_clear) once the handshake is done.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "tls/private.h"

/* A context in use, found by what it is made of. */
struct shared_context {
	struct shared_context *next;
	SSL_CTX *context;
	unsigned clients;
	uint8_t digest[TLS_DIGEST_SIZE];
	char *ca_pem, *min_version, *suites; /* what it is made of, for tls_client_look; owned */
};

static struct shared_context *contexts; /* under the lock, as is the count of clients */
static pthread_mutex_t contexts_lock = PTHREAD_MUTEX_INITIALIZER;

static bool digest_text(EVP_MD_CTX *md, const char *text)
{
	/* With the NUL, so that no two lists of texts run together; NULL is told from "". */
	return EVP_DigestUpdate(md, text ? "+" : "-", 1) == 1 &&
	       (!text || EVP_DigestUpdate(md, text, strlen(text) + 1) == 1);
}

/* Everything that new_context looks at. */
static int digest_settings(const struct tls_client_settings *settings, uint8_t *digest,
	struct error *err)
{
	const struct tls_profile *profile = settings->profile;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
		  digest_text(md, settings->ca_pem) &&
		  digest_text(md, profile ? profile->min_version : NULL) &&
		  digest_text(md, profile ? profile->openssl_ciphers : NULL) &&
		  EVP_DigestFinal_ex(md, digest, NULL) == 1;
	EVP_MD_CTX_free(md);
	return ok ? 0 : tls_error(err, ERROR_CAPACITY, "TLS client");
}

static SSL_CTX *new_context(const struct tls_client_settings *settings, struct error *err)
{
	cleanup(SSL_CTX_free_ptr) SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	if (!context) {
		tls_error(err, ERROR_CAPACITY, "TLS client");
		return NULL;
	}
	if (tls_context_prepare(context, settings->profile, err) < 0 ||
		(settings->ca_pem && *settings->ca_pem &&
			tls_context_trust(context, settings->ca_pem, "TLS server CA", false, err) <
				0))
		return NULL;
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, tls_verify);
	return take_ptr(context);
}

static void free_context(struct shared_context *shared)
{
	SSL_CTX_free(shared->context);
	free(shared->ca_pem);
	free(shared->min_version);
	free(shared->suites);
	free(shared);
}
DEFINE_CLEANUP(struct shared_context, free_context)

/* The settings of a context as text. -1: no memory. */
static int keep_settings(struct shared_context *shared, const struct tls_client_settings *settings)
{
	const struct tls_profile *profile = settings->profile;
	cleanup(buf_free) struct buf suites = BUF_INIT;
	for (char **name = profile ? profile->cipher_suites : NULL; name && *name; name++)
		buf_printf(&suites, "%s%s", suites.len ? "," : "", *name);
	shared->ca_pem = strdup(settings->ca_pem ? settings->ca_pem : "");
	shared->min_version = strdup(profile && profile->min_version ? profile->min_version : "");
	shared->suites = strdup(buf_text(&suites));
	return shared->ca_pem && shared->min_version && shared->suites && !suites.failed ? 0 : -1;
}

/* Under the lock. */
static struct shared_context *find_context(const uint8_t *digest)
{
	struct shared_context *shared = contexts;
	while (shared && memcmp(shared->digest, digest, TLS_DIGEST_SIZE) != 0)
		shared = shared->next;
	return shared;
}

/* Under the lock: the context for these settings, which is made where there is none. */
static struct shared_context *take_context(const struct tls_client_settings *settings,
	struct error *err)
{
	uint8_t digest[TLS_DIGEST_SIZE];
	if (digest_settings(settings, digest, err) < 0)
		return NULL;
	struct shared_context *shared = find_context(digest);
	if (!shared) {
		cleanup(free_context_ptr) struct shared_context *made = calloc(1, sizeof *made);
		if (!made || keep_settings(made, settings) < 0) {
			error_set(err, ERROR_CAPACITY, "TLS client: out of memory");
			return NULL;
		}
		made->context = new_context(settings, err);
		if (!made->context)
			return NULL;
		memcpy(made->digest, digest, sizeof digest);
		made->next = contexts;
		contexts = shared = take_ptr(made);
	}
	shared->clients++;
	return shared;
}

/* Under the lock. */
static void give_context(struct shared_context *shared)
{
	if (--shared->clients)
		return;
	struct shared_context **at = &contexts;
	while (*at != shared)
		at = &(*at)->next;
	*at = shared->next;
	free_context(shared);
}

struct tls_client *tls_client_ref(struct tls_client *client)
{
	atomic_fetch_add(&client->references, 1);
	return client;
}

void tls_client_free(struct tls_client *client)
{
	if (!client || atomic_fetch_sub(&client->references, 1) != 1)
		return;
	if (client->shared) {
		pthread_mutex_lock(&contexts_lock);
		give_context(client->shared);
		pthread_mutex_unlock(&contexts_lock);
	}
	free(client->cert_pem);
	secret_free(&client->key_pem);
	free(client);
}

/* Our certificate, its chain and its key, for one connection. */
static int set_identity(SSL *ssl, const struct tls_client *client, struct error *err)
{
	static const char cert_what[] = "TLS client certificate", key_what[] = "TLS client key";
	if (!client->cert_pem)
		return 0;
	STACK_OF(X509) *certs = tls_pem_certs(client->cert_pem, cert_what, err);
	if (!certs)
		return -1;
	bool ok = SSL_use_certificate(ssl, sk_X509_value(certs, 0));
	for (int i = 1; ok && i < sk_X509_num(certs); i++)
		ok = SSL_add1_chain_cert(ssl, sk_X509_value(certs, i));
	sk_X509_pop_free(certs, X509_free);
	if (!ok)
		return tls_error(err, ERROR_INVALID, cert_what);
	cleanup(EVP_PKEY_free_ptr) EVP_PKEY *key = tls_pem_key(&client->key_pem, key_what, err);
	if (!key)
		return -1;
	if (SSL_use_PrivateKey(ssl, key))
		return 0;
	ERR_clear_error();
	return error_set(err, ERROR_INVALID, "%s: does not belong to the certificate", key_what);
}

static int take_pin(struct tls_client *client, const char *pem, struct error *err)
{
	static const char what[] = "TLS pinned certificate";
	cleanup(X509_free_ptr) X509 *pin = tls_pem_cert(pem, what, err);
	if (!pin)
		return -1;
	client->has_pin = tls_cert_digest(pin, client->pin);
	return client->has_pin ? 0 : tls_error(err, ERROR_INVALID, what);
}

static int fill(struct tls_client *client, const struct tls_client_settings *settings,
	struct error *err)
{
	client->skip_verify = settings->skip_verify;
	if (settings->cert_pem && *settings->cert_pem) {
		const struct secret *key = settings->key_pem;
		client->cert_pem = strdup(settings->cert_pem);
		if (!client->cert_pem ||
			(key && !secret_set(&client->key_pem, secret_reveal(key), key->len)))
			return error_set(err, ERROR_CAPACITY, "TLS client: out of memory");
	}
	if (settings->pinned_cert_pem && *settings->pinned_cert_pem) {
		if (take_pin(client, settings->pinned_cert_pem, err) < 0)
			return -1;
	} else if (settings->pin) {
		memcpy(client->pin, settings->pin, sizeof client->pin);
		client->has_pin = true;
	}
	pthread_mutex_lock(&contexts_lock);
	client->shared = take_context(settings, err);
	pthread_mutex_unlock(&contexts_lock);
	return client->shared ? 0 : -1;
}

/* What is wrong with certificate or key is said now and not when the first connection is made. */
static int try_identity(const struct tls_client *client, struct error *err)
{
	cleanup(SSL_free_ptr) SSL *ssl = SSL_new(client->shared->context);
	return ssl ? set_identity(ssl, client, err) : tls_error(err, ERROR_CAPACITY, "TLS client");
}

struct tls_client *tls_client_new(const struct tls_client_settings *settings, struct error *err)
{
	if (!(settings->ca_pem && *settings->ca_pem) && !settings->skip_verify) {
		error_set(err, ERROR_INVALID, "TLS client: no CA to verify the pod VM with");
		return NULL;
	}
	struct tls_client *client = calloc(1, sizeof *client);
	if (!client) {
		error_set(err, ERROR_CAPACITY, "TLS client: out of memory");
		return NULL;
	}
	atomic_init(&client->references, 1);
	if (fill(client, settings, err) < 0 || try_identity(client, err) < 0) {
		tls_client_free(client);
		return NULL;
	}
	return client;
}

void tls_client_look(const struct tls_client *client, struct tls_client_parts *parts)
{
	/* Nothing here changes while a client holds its context. */
	*parts = (struct tls_client_parts){
		.ca_pem = client->shared->ca_pem,
		.cert_pem = client->cert_pem ? client->cert_pem : "",
		.key_pem = &client->key_pem,
		.pin = client->has_pin ? client->pin : NULL,
		.min_version = client->shared->min_version,
		.suites = client->shared->suites,
	};
}

SSL *tls_client_connection(struct tls_client *client, const char *server_name, struct error *err)
{
	cleanup(SSL_free_ptr) SSL *ssl = SSL_new(client->shared->context);
	if (!ssl || tls_verify_for(ssl, client) < 0) {
		tls_error(err, ERROR_CAPACITY, "TLS connection");
		return NULL;
	}
	if (set_identity(ssl, client, err) < 0)
		return NULL;
	/* As Go: only the SAN counts, never the common name. */
	SSL_set_hostflags(ssl,
		X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (!*server_name || !SSL_set1_host(ssl, server_name) ||
		!SSL_set_tlsext_host_name(ssl, server_name)) {
		tls_error(err, ERROR_INVALID, "TLS connection: name of the server");
		return NULL;
	}
	return take_ptr(ssl);
}
