/* SPDX-License-Identifier: Apache-2.0 */
/* control_open.c - an OpenRequest, checked and turned into settings */
#include "vsock-proxy/control_private.h"

#include <openssl/evp.h>
#include <string.h>

#include "tls/tls.h"
#include "vsock-proxy/rules.h"

/* sun_path less its NUL; Kata's clients refuse longer ones too. */
#define SOCKET_PATH_MAX 107
/* Kata's limit for sandbox ids is that of container ids. */
#define SANDBOX_MAX 128

int open_check_sandbox(const char *sandbox, struct error *err)
{
	size_t len = strlen(sandbox);
	if (len == 0 || len > SANDBOX_MAX || strchr(sandbox, '/') || sandbox[0] == '.')
		return error_set(err, ERROR_INVALID, "open: sandbox: \"%.140s\" is no sandbox id",
			sandbox);
	return 0;
}

int open_check_socket_path(const char *path, struct error *err)
{
	if (path[0] != '/' || strlen(path) > SOCKET_PATH_MAX)
		return error_set(err, ERROR_INVALID,
			"open: socket_path: \"%.140s\" must be absolute and at most %d bytes long",
			path, SOCKET_PATH_MAX);
	return 0;
}

int open_find_rules(char *const *names, size_t count, uint64_t *disabled, struct error *err)
{
	*disabled = 0;
	if (count == 0)
		return 0; /* the defaults: all */
	*disabled = UINT64_MAX;
	for (size_t i = 0; i < count; i++) {
		size_t r = 0;
		while (r < proxy_rule_count && strcmp(proxy_rules[r].name, names[i]) != 0)
			r++;
		if (r == proxy_rule_count)
			return error_set(err, ERROR_INVALID,
				"open: rules: there is no rule \"%.80s\"", names[i]);
		*disabled &= ~(UINT64_C(1) << r);
	}
	return 0;
}

static struct tls_client *make_client(const Agentproxy__TlsSettings *tls, struct error *err)
{
	cleanup(buf_free) struct buf suites = BUF_INIT;
	for (size_t i = 0; i < tls->n_cipher_suites; i++)
		buf_printf(&suites, "%s%s", i ? "," : "", tls->cipher_suites[i]);
	cleanup(tls_profile_free) struct tls_profile profile = {0};
	if (tls_profile_parse(tls->min_version, buf_text(&suites), &profile, err) < 0)
		return NULL;
	cleanup_secret key = SECRET_INIT;
	if (!secret_set(&key, tls->client_key_pem, strlen(tls->client_key_pem))) {
		error_set(err, ERROR_INTERNAL, "out of memory");
		return NULL;
	}
	const struct tls_client_settings settings = {
		.ca_pem = tls->ca_pem,
		.cert_pem = tls->client_cert_pem,
		.key_pem = &key,
		.pinned_cert_pem = tls->pinned_cert_pem,
		.profile = &profile,
	};
	return tls_client_new(&settings, err);
}

static void digest_text(EVP_MD_CTX *md, const char *text)
{
	EVP_DigestUpdate(md, text, strlen(text) + 1);
}

/* What makes two Opens the same: everything that a connection to the VM depends on. */
static int digest_tls(const Agentproxy__OpenRequest *request, uint8_t out[32], struct error *err)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
	const Agentproxy__TlsSettings *tls = request->tls;
	if (ok && tls) {
		digest_text(md, tls->server_name);
		digest_text(md, tls->ca_pem);
		digest_text(md, tls->client_cert_pem);
		digest_text(md, tls->client_key_pem);
		digest_text(md, tls->pinned_cert_pem);
		digest_text(md, tls->min_version);
		for (size_t i = 0; i < tls->n_cipher_suites; i++)
			digest_text(md, tls->cipher_suites[i]);
	}
	ok = ok && EVP_DigestFinal_ex(md, out, NULL) == 1;
	EVP_MD_CTX_free(md);
	return ok ? 0 : error_set(err, ERROR_INTERNAL, "open: SHA-256 failed");
}

int open_settings(const Agentproxy__OpenRequest *request, struct tunnel_settings *settings,
	struct error *err)
{
	struct sockaddr_storage address;
	socklen_t len;
	*settings = (struct tunnel_settings){
		.sandbox = request->sandbox,
		.pod = request->pod,
		.pod_namespace = request->pod_namespace,
		.socket_path = request->socket_path,
		.address = request->address,
	};
	if (open_check_sandbox(request->sandbox, err) < 0 ||
		open_check_socket_path(request->socket_path, err) < 0 ||
		open_find_rules(request->rules, request->n_rules, &settings->rules_disabled, err) <
			0 ||
		digest_tls(request, settings->digest, err) < 0)
		return -1;
	if (tunnel_address_parse(request->address, &address, &len, err) < 0)
		return error_prefix(err, "open: address");
	if (!request->tls)
		return 0;
	settings->server_name = request->tls->server_name;
	if (!*request->tls->server_name)
		return error_set(err, ERROR_INVALID, "open: tls: server_name is missing");
	settings->tls = make_client(request->tls, err);
	return settings->tls ? 0 : error_prefix(err, "open: tls");
}
