/* SPDX-License-Identifier: Apache-2.0 */
/* launch.c - see launch.h */
#include "providers/libvirt/launch.h"

#include <string.h>

#include "base/base64.h"
#include "base/buf.h"

/* What a field of the launch measurement holds: SEV-SNP HOST_DATA 32 bytes, TDX MRCONFIGID 48 bytes. */
static size_t launch_data_size(enum launch launch)
{
	return launch == LAUNCH_SEV_SNP ? 32 : launch == LAUNCH_TDX ? 48 : 0;
}

static enum launch kind_by_name(const char *name)
{
	for (int i = LAUNCH_SEV_SNP; i < LAUNCH_COUNT; i++) {
		if (!strcmp(name, launch_name((enum launch)i)))
			return (enum launch)i;
	}
	return LAUNCH_NONE;
}

static int kind_wanted(const struct domain_plan *plan, enum instance_tee tee, enum launch *launch,
	struct error *err)
{
	const struct libvirt_options *o = plan->options;
	*launch = LAUNCH_NONE;
	switch (tee) {
	case TEE_NONE:
		return 0;
	case TEE_SNP:
		*launch = LAUNCH_SEV_SNP;
		return 0;
	case TEE_TDX:
		*launch = LAUNCH_TDX;
		return 0;
	case TEE_SEV:
		return error_set(err, ERROR_INVALID,
			"plain SEV is asked for (tee=sev); the libvirt driver makes SEV-SNP and TDX VMs");
	case TEE_DEFAULT:
		break;
	}
	if (o->disable_cvm)
		return 0;
	*launch = kind_by_name(o->launch_security);
	if (*launch == LAUNCH_NONE && plan->host->arch == ARCH_S390X)
		*launch = LAUNCH_S390_PV;
	for (int i = LAUNCH_SEV_SNP; *launch == LAUNCH_NONE && i < LAUNCH_COUNT; i++) {
		if (plan->host->launch & 1u << i)
			*launch = (enum launch)i;
	}
	if (*launch == LAUNCH_NONE)
		return error_set(err, ERROR_INVALID,
			"a confidential VM is asked for (DISABLECVM=false), but this libvirt host offers neither SEV-SNP nor TDX; "
			"use a host that does, or set DISABLECVM=true");
	return 0;
}

int launch_choose(struct domain_plan *plan, enum instance_tee tee, const unsigned char *digest,
	size_t digest_len, struct error *err)
{
	plan->launch_data[0] = '\0';
	if (kind_wanted(plan, tee, &plan->launch, err) < 0)
		return -1;
	if (plan->launch == LAUNCH_NONE)
		return 0;
	if (!(plan->host->launch & 1u << plan->launch))
		return error_set(err, ERROR_INVALID,
			"a confidential VM of kind %s is asked for, but libvirt on this host cannot start one: it needs the "
			"hardware, the kernel's support, and libvirt %s or later",
			launch_name(plan->launch),
			plan->launch == LAUNCH_TDX       ? "11.6"
			: plan->launch == LAUNCH_SEV_SNP ? "10.5"
							 : "7.6");
	if (plan->type != DOMAIN_KVM)
		return error_set(err, ERROR_INVALID,
			"a confidential VM needs KVM, but the domain type is %s (%s)",
			domain_type_name(plan->type),
			plan->host->type_reason ? plan->host->type_reason : "chosen");
	size_t size = launch_data_size(plan->launch);
	if (!digest_len || !size)
		return 0;
	if (digest_len > size)
		return error_set(err, ERROR_INVALID,
			"the initdata digest has %zu bytes, %s measures %zu: use algorithm %s",
			digest_len, launch_name(plan->launch), size,
			size == 32 ? "sha256" : "sha384");
	unsigned char field[48] = {0}; /* a shorter digest is padded with zeroes */
	memcpy(field, digest, digest_len);
	cleanup(buf_free) struct buf text = BUF_INIT;
	base64_encode(field, size, &text);
	if (text.failed || text.len >= sizeof(plan->launch_data))
		return error_set(err, ERROR_CAPACITY, "out of memory");
	memcpy(plan->launch_data, text.data, text.len + 1);
	return 0;
}

void launch_write(xmlNode *domain, const struct domain_plan *plan)
{
	const struct libvirt_options *o = plan->options;
	xmlNode *node;
	switch (plan->launch) {
	case LAUNCH_NONE:
	case LAUNCH_COUNT:
		return;
	case LAUNCH_S390_PV:
		xml_child(domain, "launchSecurity", "type", "s390-pv", NULL);
		return;
	case LAUNCH_SEV_SNP:
		node = xml_child(domain, "launchSecurity", "type", "sev-snp", NULL);
		/* With a direct kernel the firmware checks it against hashes in the measurement. */
		if (*o->kernel)
			xml_attribute(node, "kernelHashes", "yes");
		xml_attribute(node, "authorKey", "no");
		xml_attribute(node, "vcek", "yes");
		if (plan->host->sev_cbitpos)
			xml_child_format(node, "cbitpos", "%llu",
				(unsigned long long)plan->host->sev_cbitpos);
		if (plan->host->sev_reduced_bits)
			xml_child_format(node, "reducedPhysBits", "%llu",
				(unsigned long long)plan->host->sev_reduced_bits);
		xml_child_text(node, "policy", o->snp_policy);
		if (*plan->launch_data)
			xml_child_text(node, "hostData", plan->launch_data);
		return;
	case LAUNCH_TDX:
		node = xml_child(domain, "launchSecurity", "type", "tdx", NULL);
		/* TDX ATTRIBUTES bit 28: no exceptions that the host can raise; debug (bit 0) off. */
		xml_child_text(node, "policy", "0x10000000");
		if (*plan->launch_data)
			xml_child_text(node, "mrConfigId", plan->launch_data);
		if (*o->tdx_qgs)
			xml_child(node, "quoteGenerationService", "path", o->tdx_qgs, NULL);
		return;
	}
}
