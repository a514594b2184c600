/* SPDX-License-Identifier: Apache-2.0 */
/*
 * name.c - the name of a pod's instance, which its server certificate carries
 *
 * Fixed parts: "podvm-", "-" and 8 of the sandbox id; the pod's name has what is left.
 */
#include <stdlib.h>
#include <string.h>
#include "tls/tls.h"

#define PREFIX "podvm-"
#define SANDBOX_LEN 8
#define DNS_LABEL_MAX 63

static size_t append_clean(char *out, const char *text, size_t most)
{
	size_t i = 0;
	for (; i < most && text[i]; i++) {
		char c = text[i];
		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		if ((c < 'a' || c > 'z') && (c < '0' || c > '9'))
			c = '-';
		out[i] = c;
	}
	return i;
}

char *tls_instance_name(const char *pod, const char *sandbox, size_t max)
{
	const size_t fixed = sizeof PREFIX - 1 + 1 + SANDBOX_LEN;
	if (max == 0 || max > DNS_LABEL_MAX)
		max = DNS_LABEL_MAX;
	size_t pod_max = max > fixed ? max - fixed : 0;
	char *name = calloc(1, fixed + pod_max + 1);
	if (!name)
		return NULL;
	memcpy(name, PREFIX, sizeof PREFIX - 1);
	size_t len = sizeof PREFIX - 1;
	len += append_clean(name + len, pod, pod_max);
	name[len++] = '-';
	append_clean(name + len, sandbox, SANDBOX_LEN);
	return name;
}
