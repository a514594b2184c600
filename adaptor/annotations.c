/* SPDX-License-Identifier: Apache-2.0 */
/*
 * annotations.c - see annotations.h
 *
 * One table: key, rule, place. The rules are for what two shims really send (the Go shim: unsigned
 * decimals, "0" for nothing asked for; runtime-rs: "1.5" vCPUs), and limits that no machine reaches.
 */
#include "adaptor/annotations.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "initdata/initdata.h"

#define HYPERVISOR_KEY(name) "io.katacontainers.config.hypervisor." name
#define POD_NAME_KEY "io.kubernetes.cri.sandbox-name"
#define POD_NAMESPACE_KEY "io.kubernetes.cri.sandbox-namespace"

/* Kubernetes: a pod's name is a DNS subdomain, a namespace a DNS label. */
#define POD_NAME_MAX 253
#define POD_NAMESPACE_MAX 63
/* 36 characters where it is a UUID, 32 for the kubelet's own static pods. */
#define POD_UID_MAX 64
#define VCPUS_MAX 4096
#define MEMORY_MIB_MAX (INT64_C(64) * 1024 * 1024) /* 64 TiB */
#define GPUS_MAX 64

#define ALPHANUMERIC "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

/* A rule checks value and puts it to *place; its message is prefixed with the annotation's key. */
typedef int rule(const char *value, void *place, struct error *err);

static int put_text(const char *value, void *place, struct error *err)
{
	char *copy = strdup(value);
	if (!copy)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	free(*(char **)place);
	*(char **)place = copy;
	return 0;
}

static int read_text(const char *value, size_t max, const char *allowed, void *place,
	struct error *err)
{
	if (strlen(value) > max)
		return error_set(err, ERROR_INVALID,
			"%zu characters are more than the limit of %zu", strlen(value), max);
	size_t good = 0;
	while (value[good] && (allowed ? strchr(allowed, value[good]) != NULL
				       : value[good] > 0x20 && value[good] < 0x7f))
		good++;
	if (value[good])
		return error_set(err, ERROR_INVALID, "character %zu (byte 0x%02x) is not allowed",
			good + 1, (unsigned char)value[good]);
	return put_text(value, place, err);
}

static int read_name(const char *value, void *place, struct error *err)
{
	if (!*value)
		return error_set(err, ERROR_INVALID, "is missing or empty");
	/* CRI-O's composed name has more parts than the pod's own and is taken apart later. */
	return read_text(value, (size_t)2 * POD_NAME_MAX, ALPHANUMERIC "._-", place, err);
}

static int read_namespace(const char *value, void *place, struct error *err)
{
	return read_text(value, POD_NAMESPACE_MAX, ALPHANUMERIC "._-", place, err);
}

static int read_machine_type(const char *value, void *place, struct error *err)
{
	return read_text(value, 128, NULL, place, err);
}

static const struct {
	const char *text;
	int tee, market; /* -1: not this one's */
} wishes[] = {
	{"tee=none", TEE_NONE, -1},
	{"tee=snp", TEE_SNP, -1},
	{"tee=tdx", TEE_TDX, -1},
	{"tee=sev", TEE_SEV, -1},
	{"market=spot", -1, MARKET_SPOT},
	{"market=on-demand", -1, MARKET_ON_DEMAND},
};

static int read_wish(const char *word, struct pod_request *request, struct error *err)
{
	for (size_t i = 0; i < array_size(wishes); i++) {
		if (strcmp(word, wishes[i].text) != 0)
			continue;
		if (wishes[i].tee >= 0)
			request->tee = (enum instance_tee)wishes[i].tee;
		else
			request->market = (enum instance_market)wishes[i].market;
		return 0;
	}
	return error_set(err, ERROR_INVALID,
		"\"%s\" is none of tee=none, tee=sev, tee=snp, tee=tdx, market=spot, market=on-demand",
		word);
}

/* "m6a.large,tee=snp,market=spot": the type stays, the rest goes where it belongs. */
static int take_apart_machine_type(struct pod_request *request, struct error *err)
{
	size_t type = strcspn(request->machine_type, ",");
	char *rest = request->machine_type[type] ? request->machine_type + type + 1 : NULL;
	if (memchr(request->machine_type, '=', type)) {
		rest = request->machine_type;
		type = 0;
	}
	while (rest) {
		if (read_wish(strsep(&rest, ","), request, err) < 0)
			return error_prefix(err, "annotation " HYPERVISOR_KEY("machine_type"));
	}
	request->machine_type[type] = '\0';
	return 0;
}

static int read_image(const char *value, void *place, struct error *err)
{
	return read_text(value, 1024, NULL, place, err);
}

static int read_gpu_model(const char *value, void *place, struct error *err)
{
	for (const char *p = value; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return error_set(err, ERROR_INVALID, "holds a control character");
	}
	if (strlen(value) > 128)
		return error_set(err, ERROR_INVALID,
			"%zu characters are more than the limit of 128", strlen(value));
	return put_text(value, place, err);
}

/* Digits with a value up to max, of which len characters count. */
static int read_digits(const char *value, size_t len, int64_t max, int64_t *number,
	struct error *err)
{
	int64_t n = 0;
	for (size_t i = 0; i < len; i++) {
		n = n * 10 + (value[i] - '0');
		if (n > max)
			return error_set(err, ERROR_INVALID,
				"\"%.40s\" is more than the limit of %lld", value, (long long)max);
	}
	*number = n;
	return 0;
}

static int read_unsigned(const char *value, int64_t max, void *place, struct error *err)
{
	size_t digits = strspn(value, "0123456789");
	if (value[digits])
		return error_set(err, ERROR_INVALID, "\"%.40s\" is no whole number", value);
	return read_digits(value, digits, max, place, err);
}

/* A decimal fraction, rounded up: half a vCPU needs a whole one. */
static int read_vcpus(const char *value, void *place, struct error *err)
{
	size_t whole = strspn(value, "0123456789");
	const char *fraction = value[whole] == '.' ? value + whole + 1 : value + whole;
	size_t digits = strspn(fraction, "0123456789");
	bool pointed = value[whole] == '.';
	if (*value && (!whole || fraction[digits] || (pointed && !digits)))
		return error_set(err, ERROR_INVALID,
			"\"%.40s\" is no number of vCPUs: write it like 2 or 1.5", value);
	int64_t vcpus = 0;
	if (read_digits(value, whole, VCPUS_MAX, &vcpus, err) < 0)
		return -1;
	if (pointed && strspn(fraction, "0") != digits && ++vcpus > VCPUS_MAX)
		return error_set(err, ERROR_INVALID, "\"%.40s\" is more than the limit of %d",
			value, VCPUS_MAX);
	*(int64_t *)place = vcpus;
	return 0;
}

static int read_memory(const char *value, void *place, struct error *err)
{
	if (read_unsigned(value, MEMORY_MIB_MAX, place, err) == 0)
		return 0;
	return error_append(err, " (MiB)");
}

static int read_gpus(const char *value, void *place, struct error *err)
{
	return read_unsigned(value, GPUS_MAX, place, err);
}

static int read_initdata(const char *value, void *place, struct error *err)
{
	if (!*value)
		return put_text(value, place, err);
	cleanup(initdata_free) struct initdata initdata = {0};
	if (initdata_parse(value, strlen(value), &initdata, err) < 0)
		return -1;
	/* Attestation agent, data hub, agent and forwarder of an upstream image wait for this file. */
	if (!initdata_find(&initdata, "aa.toml"))
		return error_set(err, ERROR_INVALID,
			"[data] has no \"aa.toml\", without which nothing starts in the pod VM: add it, an empty "
			"text will do");
	return put_text(value, place, err);
}

static const struct {
	const char *key;
	rule *read;
	size_t place;
} rules[] = {
	/* NAME_RULES */
	{POD_NAME_KEY, read_name, offsetof(struct pod_request, pod)},
	{POD_NAMESPACE_KEY, read_namespace, offsetof(struct pod_request, pod_namespace)},
	{HYPERVISOR_KEY("machine_type"), read_machine_type,
		offsetof(struct pod_request, machine_type)},
	{HYPERVISOR_KEY("image"), read_image, offsetof(struct pod_request, image)},
	{HYPERVISOR_KEY("default_vcpus"), read_vcpus, offsetof(struct pod_request, vcpus)},
	{HYPERVISOR_KEY("default_memory"), read_memory, offsetof(struct pod_request, memory_mib)},
	{HYPERVISOR_KEY("default_gpus"), read_gpus, offsetof(struct pod_request, gpus)},
	{HYPERVISOR_KEY("default_gpu_model"), read_gpu_model,
		offsetof(struct pod_request, gpu_model)},
	{HYPERVISOR_KEY("cc_init_data"), read_initdata, offsetof(struct pod_request, initdata)},
};

/* The first so many say who it is. */
#define NAME_RULES 2

static const char *value_of(const struct annotation *annotations, size_t count, const char *key)
{
	for (size_t i = 0; i < count; i++) {
		if (annotations[i].key && !strcmp(annotations[i].key, key))
			return annotations[i].value ? annotations[i].value : "";
	}
	return "";
}

/*
 * CRI-O with the Go shim: k8s_<pod>_<namespace>_<uid>_<attempt>; no part can hold '_'. The place where
 * the pod's UID is to be had from the shim.
 */
static int take_apart_name(struct pod_request *request, struct error *err)
{
	static const char prefix[] = "k8s_";
	if (strncmp(request->pod, prefix, strlen(prefix)) != 0)
		return 0;
	cleanup(free_ptr) char *copy = strdup(request->pod);
	if (!copy)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	char *parts[6] = {0};
	size_t count = 0;
	char *rest = copy;
	while (count < array_size(parts) && (parts[count] = strsep(&rest, "_")))
		count++;
	if (count != 5 || !*parts[1] || !*parts[2] || !*parts[3])
		return error_set(err, ERROR_INVALID,
			"annotation " POD_NAME_KEY
			": \"%s\" is not k8s_<pod>_<namespace>_<uid>_<attempt>",
			request->pod);
	if (*request->pod_namespace && strcmp(request->pod_namespace, parts[2]) != 0)
		return error_set(err, ERROR_INVALID,
			"annotations " POD_NAME_KEY " and " POD_NAMESPACE_KEY
			" differ on the namespace: \"%s\" and \"%s\"",
			parts[2], request->pod_namespace);
	if (read_namespace(parts[2], &request->pod_namespace, err) < 0 ||
		read_text(parts[3], POD_UID_MAX, ALPHANUMERIC "-", &request->pod_uid, err) < 0)
		return error_prefix(err, "annotation " POD_NAME_KEY);
	return put_text(parts[1], &request->pod, err);
}

static int read_rules(const struct annotation *annotations, size_t count, size_t first, size_t end,
	struct pod_request *request, struct error *err)
{
	for (size_t i = first; i < end; i++) {
		const char *value = value_of(annotations, count, rules[i].key);
		if (rules[i].read(value, (char *)request + rules[i].place, err) < 0)
			return error_prefix(err, "annotation %s", rules[i].key);
	}
	return 0;
}

static int read_names(const struct annotation *annotations, size_t count,
	struct pod_request *request, struct error *err)
{
	if (read_rules(annotations, count, 0, NAME_RULES, request, err) < 0 ||
		put_text("", &request->pod_uid, err) < 0 || take_apart_name(request, err) < 0)
		return -1;
	if (!*request->pod_namespace)
		return error_set(err, ERROR_INVALID,
			"annotation " POD_NAMESPACE_KEY ": is missing or empty");
	if (strlen(request->pod) > POD_NAME_MAX)
		return error_set(err, ERROR_INVALID,
			"annotation " POD_NAME_KEY ": %zu characters are more than the limit of %d",
			strlen(request->pod), POD_NAME_MAX);
	return 0;
}

int annotations_read_names(const struct annotation *annotations, size_t count,
	struct pod_request *request, struct error *err)
{
	*request = (struct pod_request){0};
	if (read_names(annotations, count, request, err) == 0)
		return 0;
	pod_request_free(request);
	return -1;
}

int annotations_read(const struct annotation *annotations, size_t count,
	struct pod_request *request, struct error *err)
{
	*request = (struct pod_request){0};
	if (read_names(annotations, count, request, err) == 0 &&
		read_rules(annotations, count, NAME_RULES, array_size(rules), request, err) == 0 &&
		take_apart_machine_type(request, err) == 0)
		return 0;
	pod_request_free(request);
	return -1;
}

void pod_request_free(struct pod_request *request)
{
	free(request->pod);
	free(request->pod_namespace);
	free(request->pod_uid);
	free(request->machine_type);
	free(request->image);
	free(request->gpu_model);
	free(request->initdata);
	*request = (struct pod_request){0};
}
