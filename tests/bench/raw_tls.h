/* SPDX-License-Identifier: Apache-2.0 */
/* raw_tls.h - how fast OpenSSL moves bytes between two processes over loopback: what bulk is held against */
#ifndef PEERPOD_BENCH_RAW_TLS_H
#define PEERPOD_BENCH_RAW_TLS_H

#include "base/error.h"
#include "tls/tls.h"

/* MB/s (10^6 bytes), one way, for about this long. < 0: failed. */
double raw_tls_mb_s(SSL_CTX *server, struct tls_client *client, const char *server_name,
	double seconds, struct error *err);

#endif
