/* SPDX-License-Identifier: Apache-2.0 */
/* failure.c - see failure.h */
#include "providers/libvirt/failure.h"

#include <libvirt/virterror.h>
#include <string.h>

#include "base/cleanup.h"

#define ANY (-1)

/* First match wins. A text of NULL matches every text. */
static const struct rule {
	int code, domain;
	const char *text;
	enum error_kind kind;
} rules[] = {
	/* A full disk shows through several doors, the connection's among them. */
	{ANY, ANY, "No space left on device", ERROR_CAPACITY},
	{ANY, ANY, "Disk quota exceeded", ERROR_CAPACITY},
	/* the connection */
	{VIR_ERR_INTERNAL_ERROR, VIR_FROM_RPC, NULL, ERROR_RETRY},
	{VIR_ERR_SYSTEM_ERROR, VIR_FROM_RPC, NULL, ERROR_RETRY},
	{VIR_ERR_RPC, ANY, NULL, ERROR_RETRY},
	{VIR_ERR_GNUTLS_ERROR, ANY, NULL, ERROR_RETRY},
	{VIR_ERR_INVALID_CONN, ANY, NULL, ERROR_RETRY},
	{VIR_ERR_OPERATION_TIMEOUT, ANY, NULL, ERROR_RETRY},
	{VIR_ERR_RESOURCE_BUSY, ANY, NULL, ERROR_RETRY},
	{VIR_ERR_OPERATION_ABORTED, ANY, NULL, ERROR_RETRY},
	/* credentials */
	{VIR_ERR_AUTH_FAILED, ANY, NULL, ERROR_DENIED},
	{VIR_ERR_AUTH_CANCELLED, ANY, NULL, ERROR_DENIED},
	{VIR_ERR_AUTH_UNAVAILABLE, ANY, NULL, ERROR_DENIED},
	{VIR_ERR_ACCESS_DENIED, ANY, NULL, ERROR_DENIED},
	{VIR_ERR_OPERATION_DENIED, ANY, NULL, ERROR_DENIED},
	{VIR_ERR_SSH, ANY, NULL, ERROR_DENIED},
	{VIR_ERR_LIBSSH, ANY, NULL, ERROR_DENIED},
	/* what was asked for */
	{VIR_ERR_NO_CONNECT, ANY, NULL, ERROR_INVALID},
	{VIR_ERR_INVALID_ARG, ANY, NULL, ERROR_INVALID},
	{VIR_ERR_XML_ERROR, ANY, NULL, ERROR_INVALID},
	{VIR_ERR_XML_DETAIL, ANY, NULL, ERROR_INVALID},
	{VIR_ERR_XML_INVALID_SCHEMA, ANY, NULL, ERROR_INVALID},
	{VIR_ERR_CONFIG_UNSUPPORTED, ANY, NULL, ERROR_INVALID},
	{VIR_ERR_CPU_INCOMPATIBLE, ANY, NULL, ERROR_INVALID},
	{VIR_ERR_UNKNOWN_HOST, ANY, NULL, ERROR_INVALID},
	/* gone, or there already */
	{VIR_ERR_NO_DOMAIN, ANY, NULL, ERROR_GONE},
	{VIR_ERR_NO_STORAGE_VOL, ANY, NULL, ERROR_GONE},
	{VIR_ERR_NO_STORAGE_POOL, ANY, NULL, ERROR_GONE},
	{VIR_ERR_NO_NETWORK, ANY, NULL, ERROR_GONE},
	{VIR_ERR_NO_DOMAIN_METADATA, ANY, NULL, ERROR_GONE},
	{VIR_ERR_STORAGE_VOL_EXIST, ANY, NULL, ERROR_EXISTS},
	{VIR_ERR_DOM_EXIST, ANY, NULL, ERROR_EXISTS},
	{VIR_ERR_OPERATION_FAILED, VIR_FROM_DOMAIN, "already exists with uuid", ERROR_EXISTS},
	{VIR_ERR_OPERATION_FAILED, VIR_FROM_DOM, "already exists with uuid", ERROR_EXISTS},
	{VIR_ERR_OPERATION_INVALID, VIR_FROM_NETWORK, "existing dhcp host", ERROR_EXISTS},
	{VIR_ERR_OPERATION_INVALID, VIR_FROM_NETWORK, "couldn't locate", ERROR_GONE},
	/* no room */
	{VIR_ERR_NO_MEMORY, ANY, NULL, ERROR_CAPACITY},
	{ANY, ANY, "Not enough free space", ERROR_CAPACITY},
	{ANY, ANY, "insufficient free space", ERROR_CAPACITY},     /* LVM */
	{ANY, ANY, "no large enough free extent", ERROR_CAPACITY}, /* pools of partitions */
	{ANY, ANY, "out of space", ERROR_CAPACITY},                /* ZFS */
	{ANY, ANY, "Cannot allocate memory", ERROR_CAPACITY},
	{ANY, ANY, "cannot set up guest memory", ERROR_CAPACITY},
	/* files that the host lacks */
	{VIR_ERR_SYSTEM_ERROR, VIR_FROM_STORAGE, "No such file or directory", ERROR_INVALID},
	{VIR_ERR_SYSTEM_ERROR, VIR_FROM_QEMU, "No such file or directory", ERROR_INVALID},
	{VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU, NULL, ERROR_INVALID},
	/* what this libvirt cannot do */
	{VIR_ERR_NO_SUPPORT, ANY, NULL, ERROR_UNSUPPORTED},
	{VIR_ERR_ARGUMENT_UNSUPPORTED, ANY, NULL, ERROR_UNSUPPORTED},
	{VIR_ERR_OPERATION_UNSUPPORTED, ANY, NULL, ERROR_UNSUPPORTED},
	{VIR_ERR_AGENT_UNRESPONSIVE, ANY, NULL, ERROR_UNSUPPORTED},
};

bool failure_is_loss(int code, int domain)
{
	return code == VIR_ERR_RPC || code == VIR_ERR_INVALID_CONN ||
	       code == VIR_ERR_GNUTLS_ERROR ||
	       ((code == VIR_ERR_INTERNAL_ERROR || code == VIR_ERR_SYSTEM_ERROR) &&
		       domain == VIR_FROM_RPC);
}

static bool matches(const struct rule *rule, int code, int domain, const char *text)
{
	return (rule->code == ANY || rule->code == code) &&
	       (rule->domain == ANY || rule->domain == domain) &&
	       (!rule->text || strcasestr(text, rule->text));
}

enum error_kind failure_kind(int code, int domain, const char *text)
{
	for (size_t i = 0; i < array_size(rules); i++) {
		if (matches(&rules[i], code, domain, text))
			return rules[i].kind;
	}
	return ERROR_INTERNAL;
}

bool failure_is_kvm(int code, int domain, const char *text)
{
	return code == VIR_ERR_INTERNAL_ERROR && domain == VIR_FROM_QEMU && strcasestr(text, "kvm");
}

int failure_code(void)
{
	const virError *last = virGetLastError();
	return last ? last->code : 0;
}

int failure_domain(void)
{
	const virError *last = virGetLastError();
	return last ? last->domain : 0;
}

const char *failure_text(void)
{
	const virError *last = virGetLastError();
	return last && last->message ? last->message : "no reason given";
}

static void drop(void *opaque, virErrorPtr error)
{
	(void)opaque;
	(void)error;
}

void failure_silence(void)
{
	virSetErrorFunc(NULL, drop);
}
