/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.c - telling where this machine's user data are
 *
 * The order is that of the Go implementation: file, Azure, AWS, GCP, Alibaba; the first that fits wins. Beside the
 * hypervisor's name, which only x86 tells, the DMI marks of Azure and GCP count, so that their
 * arm64 machines are found too and GCP's need no probe.
 */
#include "source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include "base/file.h"
#include "base/log.h"

#define LINK_LOCAL "http://169.254.169.254" /* AWS, Azure and GCP alike; needs no name resolution */

static const struct cloud azure = {
	.name = "Azure",
	.endpoint = LINK_LOCAL,
	.path = "/metadata/instance/compute/userData?api-version=2021-01-01&format=text",
	.header = "Metadata: true",
	.base64 = true,
};

static const struct cloud aws = {
	.name = "AWS",
	.endpoint = LINK_LOCAL,
	.path = "/latest/user-data",
	.token_path = "/latest/api/token",
};

static const struct cloud gcp = {
	.name = "GCP",
	.endpoint = LINK_LOCAL,
	.path = "/computeMetadata/v1/instance/attributes/user-data",
	.header = "Metadata-Flavor: Google",
	.probe_path = "/computeMetadata/v1/instance",
	.base64 = true,
};

static const struct cloud alibaba = {
	.name = "Alibaba Cloud",
	.endpoint = "http://100.100.100.200",
	.path = "/latest/user-data",
};

static bool is_azure(const struct machine *machine)
{
	/* The tag is the same on every Azure machine. */
	return !strcmp(machine->hypervisor, "Microsoft Hv") ||
	       !strcmp(machine->asset_tag, "7783-7084-3265-9085-8269-3286-77");
}

static bool is_aws(const struct machine *machine)
{
	return !strcmp(machine->vendor, "Amazon EC2");
}

static bool is_gcp(const struct machine *machine)
{
	return !strcmp(machine->product, "Google Compute Engine");
}

static bool may_be_gcp(const struct machine *machine)
{
	return !strcmp(machine->hypervisor, "KVMKVMKVM");
}

static bool is_alibaba(const struct machine *machine)
{
	return !strcmp(machine->vendor, "Alibaba Cloud");
}

static bool has_file(const struct machine *machine)
{
	return machine->has_file;
}

static const struct {
	struct source source;
	bool (*fits)(const struct machine *machine);
	bool probe; /* and its probe answers */
} sources[] = {
	{{"file " USER_DATA_FILE, NULL}, has_file, false},
	{{"Azure", &azure}, is_azure, false},
	{{"AWS", &aws}, is_aws, false},
	{{"GCP", &gcp}, is_gcp, false},
	{{"GCP", &gcp}, may_be_gcp, true},
	{{"Alibaba Cloud", &alibaba}, is_alibaba, false},
};

const struct source *source_find(const struct machine *machine, source_probe *probe, void *context)
{
	for (size_t i = 0; i < array_size(sources); i++)
		if (sources[i].fits(machine) &&
			(!sources[i].probe || probe(sources[i].source.cloud, context)))
			return &sources[i].source;
	return NULL;
}

static void read_hypervisor(char out[static 13])
{
	out[0] = 0;
#if defined(__x86_64__)
	unsigned a, b, c, d;
	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1u << 31)) /* bit 31: under a hypervisor */
		return;
	__cpuid(0x40000000, a, b, c, d);
	memcpy(out, &b, 4);
	memcpy(out + 4, &c, 4);
	memcpy(out + 8, &d, 4);
	out[12] = 0;
#endif
}

/* One DMI mark without its line end; "" where the machine has none. */
static void read_mark(const char *root, const char *name, char *out, size_t size)
{
	cleanup(free_ptr) char *path = NULL;
	cleanup(buf_free) struct buf text = BUF_INIT;
	out[0] = 0;
	if (asprintf(&path, "%s/sys/class/dmi/id/%s", root, name) < 0 ||
		file_read(path, size - 1, &text, NULL) < 0)
		return;
	size_t len = text.len;
	while (len && strchr(" \t\r\n", text.data[len - 1]))
		len--;
	memcpy(out, buf_text(&text), len);
	out[len] = 0;
}

void machine_read(const char *root, struct machine *machine)
{
	*machine = (struct machine){0};
	bool real = !strcmp(root, "/");
	const char *prefix = real ? "" : root;
	cleanup(free_ptr) char *file = NULL;
	struct stat st;
	machine->has_file = asprintf(&file, "%s" USER_DATA_FILE, prefix) < 0 ||
			    stat(file, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
	if (real)
		read_hypervisor(machine->hypervisor);
	read_mark(prefix, "sys_vendor", machine->vendor, sizeof machine->vendor);
	read_mark(prefix, "product_name", machine->product, sizeof machine->product);
	read_mark(prefix, "chassis_asset_tag", machine->asset_tag, sizeof machine->asset_tag);
}
