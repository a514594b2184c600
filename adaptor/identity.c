/* SPDX-License-Identifier: Apache-2.0 */
/* identity.c - see identity.h */
#include "adaptor/identity.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

/* Upstream's CA lives two years; ours is replaced while a pod VM's certificate still has a year. */
#define CA_LIFETIME_MIN_S (INT64_C(365) * 24 * 3600)
/* Clouds take less in a tag. */
#define CLUSTER_NAME_MAX 256
#define PEM_FILE_MAX ((size_t)64 * 1024)
#define KEY_MARK "-----BEGIN PRIVATE KEY-----"
/* What certificates for forwarders must be made out to when the operator makes them. */
#define CUSTOM_SERVER_NAME "podvm-server"

int node_identity_init(struct node_identity *identity, const char *state_dir, struct error *err)
{
	*identity = (struct node_identity){0};
	cleanup(free_ptr) char *folder = NULL;
	if (asprintf(&folder, "%s/tls", state_dir) < 0 ||
		asprintf(&identity->file, "%s/ca.pem", folder) < 0) {
		identity->file = NULL;
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	pthread_mutex_init(&identity->lock, NULL);
	if (dir_make(folder, 0700, err) == 0)
		return 0;
	node_identity_free(identity);
	return -1;
}

void node_identity_free(struct node_identity *identity)
{
	if (!identity->file)
		return;
	if (identity->ca)
		tls_ca_free(identity->ca);
	free(identity->file);
	pthread_mutex_destroy(&identity->lock);
	*identity = (struct node_identity){0};
}

/* NULL with ERROR_GONE where there is none yet. */
static struct tls_ca *load_ca(const char *file, struct error *err)
{
	cleanup(buf_wipe) struct buf text = BUF_INIT;
	cleanup_secret key = SECRET_INIT;
	if (file_read(file, PEM_FILE_MAX, &text, err) < 0)
		return NULL;
	char *mark = strstr((char *)text.data, KEY_MARK);
	if (!mark) {
		error_set(err, ERROR_INVALID, "%s holds no private key", file);
		return NULL;
	}
	if (!secret_set(&key, mark, strlen(mark))) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	explicit_bzero(mark, strlen(mark));
	return tls_ca_load(buf_text(&text), &key, err);
}

static int save_ca(const char *file, const struct tls_ca *ca, struct error *err)
{
	cleanup(buf_wipe) struct buf text = BUF_INIT;
	cleanup_secret key = SECRET_INIT;
	if (tls_ca_key_pem(ca, &key, err) < 0)
		return -1;
	buf_append_text(&text, tls_ca_cert_pem(ca));
	buf_append_text(&text, secret_reveal(&key));
	if (text.failed)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return file_write(file, 0600, text.data, text.len, err);
}

/* Under the lock: a CA with enough of its life left. Tunnels that exist keep the one they were made with. */
static int ensure_ca(struct node_identity *identity, struct error *err)
{
	cleanup_error why = ERROR_INIT;
	if (!identity->ca)
		identity->ca = load_ca(identity->file, &why);
	if (identity->ca && tls_ca_lifetime_s(identity->ca) >= CA_LIFETIME_MIN_S)
		return 0;
	if (identity->ca)
		log_info("the certificate authority in %s is old: making a new one",
			identity->file);
	else if (why.kind != ERROR_GONE)
		log_warn("certificate authority: %s: making a new one", error_message(&why));
	struct tls_ca *ca = tls_ca_new(err);
	if (!ca)
		return -1;
	if (save_ca(identity->file, ca, err) < 0) {
		tls_ca_free(ca);
		return -1;
	}
	if (identity->ca)
		tls_ca_free(identity->ca);
	identity->ca = ca;
	return 0;
}

static int copy_text(char **to, const char *text, struct error *err)
{
	free(*to);
	*to = strdup(text);
	return *to ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}

static int read_pem(const char *file, char **out, struct error *err)
{
	cleanup(buf_wipe) struct buf text = BUF_INIT;
	if (file_read(file, PEM_FILE_MAX, &text, err) < 0)
		return -1;
	return copy_text(out, buf_text(&text), err);
}

/* Our certificate and key: the operator's, or a pair for this VM alone. */
static int issue_client(const struct settings *settings, struct tunnel *tunnel, struct error *err)
{
	if (*settings->cert_file) {
		cleanup(buf_wipe) struct buf key = BUF_INIT;
		if (read_pem(settings->cert_file, &tunnel->client_cert_pem, err) < 0 ||
			file_read(settings->cert_key, PEM_FILE_MAX, &key, err) < 0)
			return -1;
		if (!secret_set(&tunnel->client_key_pem, buf_text(&key), key.len))
			return error_set(err, ERROR_CAPACITY, "out of memory");
		return 0;
	}
	struct tls_identity client = {0};
	if (tls_issue_client(&client, err) < 0)
		return -1;
	free(tunnel->client_cert_pem);
	secret_free(&tunnel->client_key_pem);
	tunnel->client_cert_pem = client.cert_pem;
	tunnel->client_key_pem = client.key_pem;
	return 0;
}

/* The VM has its certificates in its image: nothing of them is sent. */
static int use_operators_server(const struct settings *settings, struct tunnel *tunnel,
	struct error *err)
{
	if (read_pem(settings->ca_cert_file, &tunnel->ca_pem, err) < 0 ||
		copy_text(&tunnel->server_name, CUSTOM_SERVER_NAME, err) < 0)
		return -1;
	return copy_text(&tunnel->pinned_cert_pem, "", err);
}

static int issue_server(struct node_identity *identity, const char *name, struct tunnel *tunnel,
	struct apf *apf, struct error *err)
{
	struct tls_identity server = {0};
	pthread_mutex_lock(&identity->lock);
	int result = ensure_ca(identity, err);
	if (result == 0)
		result = tls_issue_server(identity->ca, name, &server, err);
	if (result == 0)
		result = copy_text(&tunnel->ca_pem, tls_ca_cert_pem(identity->ca), err);
	pthread_mutex_unlock(&identity->lock);
	if (result == 0)
		result = copy_text(&tunnel->pinned_cert_pem, server.cert_pem, err);
	if (result == 0)
		result = copy_text(&tunnel->server_name, name, err);
	if (result == 0)
		result = copy_text(&apf->tls_client_ca, tunnel->client_cert_pem, err);
	if (result < 0) {
		tls_identity_free(&server);
		return -1;
	}
	free(apf->tls_server_cert);
	secret_free(&apf->tls_server_key);
	apf->tls_server_cert = server.cert_pem;
	apf->tls_server_key = server.key_pem;
	return 0;
}

static int put_profile(const struct tls_profile *profile, struct tunnel *tunnel, struct apf *apf,
	struct error *err)
{
	const char *version = profile->min_version ? profile->min_version : "";
	/* Upstream's forwarders that are older than June 2026 ignore it, and speak 1.3 all the same. */
	if (!*version && !profile->cipher_suites)
		version = "VersionTLS13";
	if (copy_text(&tunnel->min_version, version, err) < 0 ||
		copy_text(&apf->tls_min_version, version, err) < 0)
		return -1;
	if (!strings_copy(profile->cipher_suites, &tunnel->cipher_suites) ||
		!strings_copy(profile->cipher_suites, &apf->tls_cipher_suites))
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return 0;
}

int node_identity_issue(struct node_identity *identity, const struct settings *settings,
	const char *name, struct tunnel *tunnel, struct apf *apf, struct error *err)
{
	tunnel->port = settings->forwarder_port;
	tunnel->tls = !settings->disable_tls;
	if (!tunnel->tls)
		return 0;
	int result = issue_client(settings, tunnel, err);
	if (result == 0)
		result = *settings->ca_cert_file ? use_operators_server(settings, tunnel, err)
						 : issue_server(identity, name, tunnel, apf, err);
	if (result == 0)
		result = put_profile(&settings->profile, tunnel, apf, err);
	return result < 0 ? error_prefix(err, "certificates of the tunnel") : 0;
}

static char *new_cluster_name(const char *file, struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	unsigned char number[8];
	/* Not OpenSSL's: an adaptor that serves no pod yet has no need of it in memory. */
	if (getrandom(number, sizeof(number), 0) != (ssize_t)sizeof(number)) {
		error_set(err, ERROR_INTERNAL, "no random bytes for it");
		return NULL;
	}
	buf_append_text(&text, "unnamed-");
	hex_encode(number, sizeof(number), &text);
	if (text.failed)
		error_set(err, ERROR_CAPACITY, "out of memory");
	else if (file_write(file, 0600, text.data, text.len, err) == 0)
		return buf_take(&text);
	return NULL;
}

/* With another name none of this node's instances would be found again: only where there is none one is made. */
static char *kept_cluster_name(const char *file, struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	cleanup_error why = ERROR_INIT;
	if (file_read(file, CLUSTER_NAME_MAX, &text, &why) < 0) {
		if (why.kind == ERROR_GONE)
			return new_cluster_name(file, err);
		error_move(err, &why);
		return NULL;
	}
	size_t len = strcspn(buf_text(&text), "\n");
	if (!len) {
		error_set(err, ERROR_INVALID, "%s is empty", file);
		return NULL;
	}
	char *name = strndup(buf_text(&text), len);
	if (!name)
		error_set(err, ERROR_CAPACITY, "out of memory");
	return name;
}

char *node_cluster_name(const struct settings *settings, struct error *err)
{
	cleanup(free_ptr) char *file = NULL;
	if (*settings->cluster_name) {
		char *name = strdup(settings->cluster_name);
		if (!name)
			error_set(err, ERROR_CAPACITY, "out of memory");
		return name;
	}
	if (asprintf(&file, "%s/cluster", settings->state_dir) < 0) {
		file = NULL;
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	char *name = kept_cluster_name(file, err);
	if (!name)
		error_prefix(err,
			"name of this node's cluster (mend it, or set -cluster-name to the name that its "
			"instances bear)");
	return name;
}
