/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failure.c - why a TLS connection failed, and whether trying again can help
 *
 * What comes of certificates, versions and settings stays as it is until somebody changes it: ERROR_DENIED, so that
 * nobody waits five minutes for it. A connection that was cut, refused or reset is ERROR_RETRY.
 *
 * With TLS 1.3 a server judges the client's certificate after the client's handshake is done: the
 * alert then arrives with the first read. Callers pass failed reads here as well.
 */
#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include "tls/private.h"

/* Alerts that the peer sends; the number is that of RFC 8446, section 6. */
static const struct {
	int alert;
	enum error_kind kind;
	const char *text;
} alerts[] = {
	{SSL_AD_HANDSHAKE_FAILURE, ERROR_DENIED,
		"the peer found no common version, cipher suite or kind of key (alert: handshake failure); "
		"compare tls-min-version and tls-cipher-suites of both ends"},
	{SSL_AD_BAD_CERTIFICATE, ERROR_DENIED,
		"the peer refuses our certificate (alert: bad certificate); it trusts another CA or "
		"client certificate than the one we have"},
	{SSL_AD_UNSUPPORTED_CERTIFICATE, ERROR_DENIED,
		"the peer refuses our certificate (alert: unsupported certificate); its extended key "
		"usage is not the one for this end"},
	{SSL_AD_CERTIFICATE_REVOKED, ERROR_DENIED,
		"the peer refuses our certificate (alert: certificate revoked)"},
	{SSL_AD_CERTIFICATE_EXPIRED, ERROR_DENIED,
		"the peer refuses our certificate (alert: certificate expired); check the clocks of both "
		"ends"},
	{SSL_AD_CERTIFICATE_UNKNOWN, ERROR_DENIED,
		"the peer refuses our certificate (alert: certificate unknown)"},
	{SSL_AD_UNKNOWN_CA, ERROR_DENIED,
		"the peer does not trust the issuer of our certificate (alert: unknown CA)"},
	{SSL_AD_ACCESS_DENIED, ERROR_DENIED, "the peer lets us not in (alert: access denied)"},
	{SSL_AD_DECRYPT_ERROR, ERROR_DENIED,
		"the peer could not verify our signature (alert: decrypt error); certificate and key may "
		"not belong together"},
	{SSL_AD_PROTOCOL_VERSION, ERROR_DENIED,
		"the peer speaks no TLS version that we accept (alert: protocol version); compare "
		"tls-min-version of both ends"},
	{SSL_AD_INSUFFICIENT_SECURITY, ERROR_DENIED,
		"the peer finds our cipher suites too weak (alert: insufficient security); compare "
		"tls-cipher-suites of both ends"},
	{SSL_AD_UNRECOGNIZED_NAME, ERROR_DENIED,
		"the peer is not the server we named (alert: unrecognized name)"},
	{SSL_AD_CERTIFICATE_REQUIRED, ERROR_DENIED,
		"the peer wants a client certificate and we showed none that it accepts (alert: "
		"certificate required)"},
};

/* Failures that our own end finds, other than those of certificates. */
static const struct {
	int reason;
	const char *text;
} reasons[] = {
	{SSL_R_WRONG_VERSION_NUMBER,
		"the peer does not speak TLS; was one end started with -disable-tls?"},
	{SSL_R_HTTP_REQUEST, "the peer speaks HTTP, not TLS"},
	{SSL_R_UNSUPPORTED_PROTOCOL,
		"the peer speaks no TLS version that we accept; compare tls-min-version of both ends"},
	{SSL_R_NO_PROTOCOLS_AVAILABLE,
		"this machine's OpenSSL settings leave no TLS version to use"},
	{SSL_R_NO_SHARED_CIPHER,
		"no cipher suite in common with the peer; compare tls-cipher-suites of both ends"},
	{SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM,
		"no signature algorithm in common with the peer for this kind of key"},
	{SSL_R_NO_SUITABLE_KEY_SHARE, "no key exchange group in common with the peer"},
	{SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "the client showed no certificate"},
};

static int certificate_failure(SSL *ssl, const char *doing, struct error *err)
{
	const char *note = tls_note(ssl);
	return error_set(err, ERROR_DENIED, "%s: %s", doing,
		note ? note : X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
}

static int closed(const char *doing, struct error *err)
{
	return error_set(err, ERROR_RETRY, "%s: the peer closed the connection", doing);
}

static int system_failure(int saved_errno, const char *doing, struct error *err)
{
	if (!saved_errno)
		return closed(doing, err);
	error_set_errno(err, saved_errno, "%s", doing);
	if (err && err->kind != ERROR_TIMEOUT)
		err->kind = ERROR_RETRY;
	return -1;
}

int tls_failure_code(SSL *ssl, unsigned long code, int saved_errno, const char *doing,
	struct error *err)
{
	if (!code)
		return system_failure(saved_errno, doing, err);
	if (ERR_SYSTEM_ERROR(code))
		return system_failure(ERR_GET_REASON(code), doing, err);
	if (ERR_GET_LIB(code) == ERR_LIB_SSL) {
		int reason = ERR_GET_REASON(code);
		if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
			return certificate_failure(ssl, doing, err);
		if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
			return closed(doing, err);
		for (size_t i = 0; i < array_size(reasons); i++)
			if (reasons[i].reason == reason)
				return error_set(err, ERROR_DENIED, "%s: %s", doing,
					reasons[i].text);
		for (size_t i = 0; i < array_size(alerts); i++)
			if (alerts[i].alert + SSL_AD_REASON_OFFSET == reason)
				return error_set(err, alerts[i].kind, "%s: %s", doing,
					alerts[i].text);
	}
	const char *text = ERR_reason_error_string(code);
	return error_set(err, ERROR_RETRY, "%s: TLS: %s", doing, text ? text : "unknown failure");
}

int tls_failure(SSL *ssl, int result, int saved_errno, const char *doing, struct error *err)
{
	int why = SSL_get_error(ssl, result);
	/* The first in the queue is the cause; what follows are the floors above it. */
	unsigned long code = ERR_peek_error();
	ERR_clear_error();
	switch (why) {
	case SSL_ERROR_ZERO_RETURN:
		return closed(doing, err);
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return error_set(err, ERROR_RETRY, "%s: not finished", doing);
	case SSL_ERROR_SYSCALL:
		return tls_failure_code(ssl, code, saved_errno, doing, err);
	default:
		return tls_failure_code(ssl, code, 0, doing, err);
	}
}
