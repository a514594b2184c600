/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_rig.h - certificates that fit and that do not, and handshakes between two connections of this process
 */
#ifndef PEERPOD_TESTS_TLS_RIG_H
#define PEERPOD_TESTS_TLS_RIG_H

#include "tls/private.h"

X509 *cert_of(const char *pem);

/* A copy of a certificate with other times and without the extension drop (0: none), signed anew by ca. */
char *reissued(const char *cert_pem, const struct tls_ca *ca, long from_s, long until_s, int drop);

struct world {
	struct tls_ca *ca, *foreign_ca;
	struct tls_identity server, other_server, foreign_server, client, foreign_client;
	char *expired_cert, *future_cert; /* of server's key */
	char *no_name_cert;
};
void world_make(struct world *w);
void world_free(struct world *w);

/* The highest version that the client of shake() speaks; 0: all. */
extern int client_version_max;

/* Handshake and one byte each way. The texts of both sides' failures, "" where there was none. */
void shake(struct tls_client *client_settings, SSL_CTX *server_context, const char *name,
	struct error *client_error, struct error *server_error);

#endif
