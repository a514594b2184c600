/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls-peer - lib/tls as a program, so that tests can put other TLS stacks at its other end
 *
 *   tls-peer issue FOLDER NAME     makes ca, server and client certificates (.pem) and keys (.key)
 *   tls-peer connect FOLDER NAME PORT [setting=value...]
 *   tls-peer accept FOLDER [setting=value...]     prints "port N" first
 *
 * Settings: ca, cert, key, pin (files in FOLDER instead of the usual ones; "none": nothing), min, suites.
 * connect sends "hello\n" and waits for a line; accept waits for a line and sends it back. The last line
 * printed is "ok VERSION SUITE" or "KIND: what went wrong".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/file.h"
#include "tls/tls.h"

#define PEM_MAX 65536

struct settings {
	const char *ca, *cert, *key, *pin, *min, *suites;
};

struct material {
	struct buf ca, cert, pin;
	struct secret key;
	struct tls_profile profile;
};

static void material_free(struct material *m)
{
	buf_free(&m->ca);
	buf_free(&m->cert);
	buf_free(&m->pin);
	secret_free(&m->key);
	tls_profile_free(&m->profile);
}

static int save(const char *folder, const char *name, const char *text, size_t len,
	struct error *err)
{
	cleanup(free_ptr) char *path = NULL;
	if (asprintf(&path, "%s/%s", folder, name) < 0)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return file_write(path, 0600, text, len, err);
}

static int save_identity(const char *folder, const char *cert, const char *key,
	const struct tls_identity *identity, struct error *err)
{
	if (save(folder, cert, identity->cert_pem, strlen(identity->cert_pem), err) < 0)
		return -1;
	return save(folder, key, secret_reveal(&identity->key_pem), identity->key_pem.len, err);
}

static int issue(const char *folder, const char *name, struct error *err)
{
	cleanup(tls_ca_free_ptr) struct tls_ca *ca = tls_ca_new(err);
	cleanup(tls_identity_free) struct tls_identity server = {0}, client = {0};
	cleanup_secret key = SECRET_INIT;
	if (!ca || tls_ca_key_pem(ca, &key, err) < 0 ||
		tls_issue_server(ca, name, &server, err) < 0 ||
		tls_issue_client(&client, err) < 0 ||
		save(folder, "ca.pem", tls_ca_cert_pem(ca), strlen(tls_ca_cert_pem(ca)), err) < 0 ||
		save(folder, "ca.key", secret_reveal(&key), key.len, err) < 0 ||
		save_identity(folder, "server.pem", "server.key", &server, err) < 0)
		return -1;
	return save_identity(folder, "client.pem", "client.key", &client, err);
}

static int load(const char *folder, const char *name, struct buf *out, struct error *err)
{
	cleanup(free_ptr) char *path = NULL;
	if (!name || !strcmp(name, "none"))
		return 0;
	if (asprintf(&path, "%s/%s", folder, name) < 0)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return file_read(path, PEM_MAX, out, err);
}

static int load_all(const char *folder, const struct settings *s, struct material *m,
	struct error *err)
{
	cleanup(buf_wipe) struct buf key = BUF_INIT;
	if (load(folder, s->ca, &m->ca, err) < 0 || load(folder, s->cert, &m->cert, err) < 0 ||
		load(folder, s->key, &key, err) < 0 || load(folder, s->pin, &m->pin, err) < 0 ||
		tls_profile_parse(s->min, s->suites, &m->profile, err) < 0)
		return -1;
	return secret_set(&m->key, buf_text(&key), key.len)
		       ? 0
		       : error_set(err, ERROR_CAPACITY, "out of memory");
}

static int read_settings(char **words, struct settings *s, struct error *err)
{
	const struct {
		const char *name;
		const char **value;
	} known[] = {{"ca", &s->ca}, {"cert", &s->cert}, {"key", &s->key}, {"pin", &s->pin},
		{"min", &s->min}, {"suites", &s->suites}};
	for (; *words; words++) {
		size_t len = strcspn(*words, "="), i = 0;
		while (i < array_size(known) &&
			(strlen(known[i].name) != len || strncmp(known[i].name, *words, len) != 0))
			i++;
		if (i == array_size(known) || !(*words)[len])
			return error_set(err, ERROR_INVALID, "unknown setting %s", *words);
		*known[i].value = *words + len + 1;
	}
	return 0;
}

/* One line each way; what is read goes to line. */
static int talk(SSL *ssl, bool first, struct error *err)
{
	char line[100] = "hello\n";
	for (int step = 0; step < 2; step++) {
		bool sends = (step == 0) == first;
		errno = 0;
		ERR_clear_error();
		int n = sends ? SSL_write(ssl, line, (int)strlen(line))
			      : SSL_read(ssl, line, sizeof line - 1);
		if (n <= 0)
			return tls_failure(ssl, n, errno, "talk", err);
		if (!sends)
			line[n] = 0;
	}
	printf("ok %s %s\n", SSL_get_version(ssl), SSL_get_cipher_name(ssl));
	SSL_shutdown(ssl);
	return 0;
}

static void free_ssl(SSL **ssl)
{
	SSL_free(*ssl);
}

static void free_context(SSL_CTX **context)
{
	SSL_CTX_free(*context);
}

static int run(SSL *ssl, int fd, bool is_client, struct error *err)
{
	SSL_set_fd(ssl, fd);
	errno = 0;
	ERR_clear_error();
	int result = is_client ? SSL_connect(ssl) : SSL_accept(ssl);
	if (result != 1)
		return tls_failure(ssl, result, errno, "handshake", err);
	return talk(ssl, is_client, err);
}

static int do_connect(const char *folder, const char *name, const char *port, char **words,
	struct error *err)
{
	struct settings s = {.ca = "ca.pem", .cert = "client.pem", .key = "client.key"};
	cleanup(material_free) struct material m = {0};
	if (read_settings(words, &s, err) < 0 || load_all(folder, &s, &m, err) < 0)
		return -1;
	const struct tls_client_settings settings = {.ca_pem = buf_text(&m.ca),
		.cert_pem = buf_text(&m.cert),
		.key_pem = &m.key,
		.pinned_cert_pem = buf_text(&m.pin),
		.profile = &m.profile};
	cleanup(tls_client_free_ptr) struct tls_client *client = tls_client_new(&settings, err);
	cleanup(free_ssl) SSL *ssl = client ? tls_client_connection(client, name, err) : NULL;
	if (!ssl)
		return -1;
	cleanup(close_fd) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(port)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
		return error_set_errno(err, errno, "connect");
	return run(ssl, fd, true, err);
}

static int do_accept(const char *folder, char **words, struct error *err)
{
	struct settings s = {.ca = "client.pem", .cert = "server.pem", .key = "server.key"};
	cleanup(material_free) struct material m = {0};
	if (read_settings(words, &s, err) < 0 || load_all(folder, &s, &m, err) < 0)
		return -1;
	const struct tls_server_settings settings = {.cert_pem = buf_text(&m.cert),
		.key_pem = &m.key,
		.client_ca_pem = buf_text(&m.ca),
		.profile = &m.profile};
	cleanup(free_context) SSL_CTX *context = tls_server_context(&settings, err);
	cleanup(free_ssl) SSL *ssl = context ? SSL_new(context) : NULL;
	if (!ssl)
		return -1;
	cleanup(close_fd) int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof address;
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
		listen(listener, 1) < 0 ||
		getsockname(listener, (struct sockaddr *)&address, &len) < 0)
		return error_set_errno(err, errno, "listen");
	printf("port %d\n", ntohs(address.sin_port));
	fflush(stdout);
	cleanup(close_fd) int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, errno, "accept");
	return run(ssl, fd, false, err);
}

int main(int argc, char **argv)
{
	cleanup_error err = ERROR_INIT;
	int result = -1;
	signal(SIGPIPE, SIG_IGN);
	if (argc == 4 && !strcmp(argv[1], "issue"))
		result = issue(argv[2], argv[3], &err);
	else if (argc >= 5 && !strcmp(argv[1], "connect"))
		result = do_connect(argv[2], argv[3], argv[4], argv + 5, &err);
	else if (argc >= 3 && !strcmp(argv[1], "accept"))
		result = do_accept(argv[2], argv + 3, &err);
	else
		error_set(&err, ERROR_INVALID,
			"tls-peer issue|connect|accept: see the head of its source");
	if (result == 0)
		return 0;
	printf("%s: %s\n", error_kind_name(err.kind), error_message(&err));
	return 1;
}
