/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profile.c - minimum version and TLS 1.2 suites, by the names that existing configurations use
 *
 * The table holds every suite name that Go's crypto/tls knows (its secure and its insecure list),
 * because existing ConfigMaps may name any of them. Three kinds of names parse and then choose nothing: TLS 1.3
 * suites (always on), and RC4 and 3DES (not in OpenSSL 3 as Debian builds it). When nothing is left to
 * choose from, TLS 1.2 cannot be agreed on and TLS 1.3 remains, as with Go.
 */
#include <string.h>
#include "base/buf.h"
#include "tls/private.h"

/* More than the table has names: a list that long repeats itself. */
#define SUITES_MAX 64

static const struct {
	const char *iana;
	const char *openssl; /* NULL: chooses nothing */
} suites_known[] = {
	{"TLS_AES_128_GCM_SHA256", NULL},
	{"TLS_AES_256_GCM_SHA384", NULL},
	{"TLS_CHACHA20_POLY1305_SHA256", NULL},
	{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"},
	{"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"},
	{"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"},
	{"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305"},
	{"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDHE-ECDSA-AES128-SHA"},
	{"TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDHE-ECDSA-AES256-SHA"},
	{"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDHE-ECDSA-AES128-SHA256"},
	{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"},
	{"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"},
	{"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"},
	{"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"},
	{"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", "ECDHE-RSA-AES128-SHA"},
	{"TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "ECDHE-RSA-AES256-SHA"},
	{"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", "ECDHE-RSA-AES128-SHA256"},
	{"TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256"},
	{"TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384"},
	{"TLS_RSA_WITH_AES_128_CBC_SHA", "AES128-SHA"},
	{"TLS_RSA_WITH_AES_256_CBC_SHA", "AES256-SHA"},
	{"TLS_RSA_WITH_AES_128_CBC_SHA256", "AES128-SHA256"},
	{"TLS_RSA_WITH_3DES_EDE_CBC_SHA", NULL},
	{"TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", NULL},
	{"TLS_RSA_WITH_RC4_128_SHA", NULL},
	{"TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", NULL},
	{"TLS_ECDHE_RSA_WITH_RC4_128_SHA", NULL},
};

static int check_version(const char *name, struct error *err)
{
	if (!*name || !strcmp(name, "VersionTLS12") || !strcmp(name, "VersionTLS13"))
		return 0;
	if (!strcmp(name, "VersionTLS10") || !strcmp(name, "VersionTLS11"))
		return error_set(err, ERROR_INVALID,
			"tls-min-version: %s is too old to be safe; use VersionTLS12 or VersionTLS13",
			name);
	return error_set(err, ERROR_INVALID,
		"tls-min-version: \"%s\" is unknown; use VersionTLS12 or VersionTLS13", name);
}

/* One name of the list, added to both forms. */
static int add_suite(struct tls_profile *profile, size_t *count, const char *name,
	struct buf *ciphers, struct error *err)
{
	size_t i = 0;
	while (i < array_size(suites_known) && strcmp(suites_known[i].iana, name) != 0)
		i++;
	if (i == array_size(suites_known))
		return error_set(err, ERROR_INVALID,
			"tls-cipher-suites: \"%s\" is unknown; use IANA names such as %s", name,
			"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384");
	if (*count == SUITES_MAX)
		return error_set(err, ERROR_INVALID, "tls-cipher-suites: more than %d names",
			SUITES_MAX);
	if (!(profile->cipher_suites[*count] = strdup(name)))
		return error_set(err, ERROR_CAPACITY, "tls-cipher-suites: out of memory");
	++*count;
	if (suites_known[i].openssl)
		buf_printf(ciphers, "%s%s", ciphers->len ? ":" : "", suites_known[i].openssl);
	return 0;
}

static char *trim(char *text)
{
	text += strspn(text, " \t\r\n");
	size_t len = strlen(text);
	while (len && strchr(" \t\r\n", text[len - 1]))
		text[--len] = 0;
	return text;
}

int tls_profile_parse(const char *min_version, const char *suites, struct tls_profile *profile,
	struct error *err)
{
	*profile = (struct tls_profile){0};
	min_version = min_version ? min_version : "";
	suites = suites ? suites : "";
	if (check_version(min_version, err) < 0)
		return -1;
	cleanup(tls_profile_free) struct tls_profile made = {.min_version = strdup(min_version)};
	cleanup(free_ptr) char *list = strdup(suites);
	cleanup(buf_free) struct buf ciphers = BUF_INIT;
	made.cipher_suites = calloc(SUITES_MAX + 1, sizeof *made.cipher_suites);
	if (!made.min_version || !list || !made.cipher_suites)
		return error_set(err, ERROR_CAPACITY, "tls-cipher-suites: out of memory");

	size_t count = 0;
	char *rest = list, *item;
	while ((item = strsep(&rest, ","))) {
		item = trim(item);
		if (*item && add_suite(&made, &count, item, &ciphers, err) < 0)
			return -1;
	}
	if (count && !strcmp(min_version, "VersionTLS13"))
		return error_set(err, ERROR_INVALID,
			"tls-cipher-suites: they restrict TLS 1.2 only and mean nothing with "
			"tls-min-version VersionTLS13; leave one of the two out");
	if (!count) {
		free(made.cipher_suites);
		made.cipher_suites = NULL;
	} else if (!(made.openssl_ciphers = strdup(buf_text(&ciphers))) || ciphers.failed) {
		return error_set(err, ERROR_CAPACITY, "tls-cipher-suites: out of memory");
	}
	*profile = made;
	made = (struct tls_profile){0};
	return 0;
}

void tls_profile_free(struct tls_profile *profile)
{
	free(profile->min_version);
	for (char **name = profile->cipher_suites; name && *name; name++)
		free(*name);
	free(profile->cipher_suites);
	free(profile->openssl_ciphers);
	*profile = (struct tls_profile){0};
}
