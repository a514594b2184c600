/* SPDX-License-Identifier: Apache-2.0 */
/* profile.c - the shared credentials and config files: sections of "name = value" lines; see credentials.h */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "providers/aws/credentials.h"

struct text {
	const char *start;
	size_t len;
};

static struct text trim(const char *start, const char *end)
{
	while (start < end && isspace((unsigned char)*start))
		start++;
	while (end > start && isspace((unsigned char)end[-1]))
		end--;
	return (struct text){start, (size_t)(end - start)};
}

static bool is(struct text t, const char *word)
{
	return t.len == strlen(word) && !strncmp(t.start, word, t.len);
}

/* Is [section] the one of the profile? */
static bool section_is(struct text section, const char *profile, bool config)
{
	if (config && section.len > 8 && !strncmp(section.start, "profile", 7) &&
		isspace((unsigned char)section.start[7]))
		return is(trim(section.start + 8, section.start + section.len), profile);
	return (!config || !strcmp(profile, "default")) && is(section, profile);
}

struct found {
	struct text key_id, secret_key, session_token, region, other;
};

static void take(struct found *found, struct text name, struct text value)
{
	const struct {
		const char *name;
		struct text *to;
	} names[] = {
		{"aws_access_key_id", &found->key_id},
		{"aws_secret_access_key", &found->secret_key},
		{"aws_session_token", &found->session_token},
		{"region", &found->region},
	};
	static const char *const others[] = {"role_arn", "credential_process", "sso_session",
		"sso_start_url", "credential_source", "source_profile", "login_session"};
	for (size_t i = 0; i < array_size(names); i++) {
		if (is(name, names[i].name))
			*names[i].to = value;
	}
	for (size_t i = 0; i < array_size(others); i++) {
		if (is(name, others[i]))
			found->other = name;
	}
}

static bool section_find(const char *text, const char *profile, bool config, struct found *found)
{
	bool inside = false, seen = false;
	for (const char *line = text; *line;) {
		const char *end = line + strcspn(line, "\n");
		bool nested = isspace((unsigned char)*line);
		struct text t = trim(line, end);
		line = end + (*end == '\n');
		if (!t.len || *t.start == '#' || *t.start == ';' || nested)
			continue;
		if (*t.start == '[') {
			const char *close = memchr(t.start, ']', t.len);
			inside = close && section_is(trim(t.start + 1, close), profile, config);
			seen |= inside;
			continue;
		}
		const char *equals = memchr(t.start, '=', t.len);
		if (inside && equals)
			take(found, trim(t.start, equals), trim(equals + 1, t.start + t.len));
	}
	return seen;
}

int credentials_of_profile(const char *text, const char *profile, bool config,
	struct credentials *out, char **region, struct error *err)
{
	struct found found = {0};
	if (!section_find(text, profile, config, &found))
		return error_set(err, ERROR_GONE, "there is no profile \"%s\"", profile);
	if (region && found.region.len && !*region &&
		!(*region = strndup(found.region.start, found.region.len)))
		return error_set(err, ERROR_CAPACITY, "out of memory");
	if (!found.key_id.len || !found.secret_key.len) {
		if (found.other.len)
			return error_set(err, ERROR_UNSUPPORTED,
				"the profile \"%s\" gets its keys by %.*s, which this driver does not do: give it "
				"aws_access_key_id and aws_secret_access_key",
				profile, (int)found.other.len, found.other.start);
		return error_set(err, ERROR_EXISTS, "the profile \"%s\" has no key pair", profile);
	}
	*out = (struct credentials){.key_id = strndup(found.key_id.start, found.key_id.len)};
	if (!out->key_id ||
		!secret_set(&out->secret_key, found.secret_key.start, found.secret_key.len) ||
		!secret_set(&out->session_token,
			found.session_token.len ? found.session_token.start : "",
			found.session_token.len)) {
		credentials_free(out);
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	return 0;
}
