/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvirt_xml.c - everything of libvirt's that the driver reads: metadata, domains, volumes, networks, capabilities, the
 * head of a base image, names, what a guest prints. The first byte chooses.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "providers/libvirt/address.h"
#include "providers/libvirt/console.h"
#include "providers/libvirt/host.h"
#include "providers/libvirt/network.h"
#include "providers/libvirt/record.h"
#include "providers/libvirt/uri.h"
#include "providers/libvirt/volume.h"

static void fuzz_record(const char *text)
{
	struct record record;
	if (record_read("fuzz", text, &record, NULL) == 0) {
		if (!record.token || !record.cluster || record.created < 0)
			abort();
		record_free(&record);
	}
}

static void fuzz_domain(const char *text)
{
	struct domain_nics nics;
	if (domain_nics_read("fuzz", text, &nics, NULL) == 0)
		domain_nics_free(&nics);
	free(console_log_of(text));
}

static void fuzz_volume(const char *text)
{
	char *path, *format;
	uint64_t capacity, physical;
	int64_t changed;
	if (volume_xml_read("fuzz", text, &path, &format, &capacity, &physical, &changed, NULL) ==
		0) {
		free(path);
		free(format);
	}
}

static void fuzz_network(const char *text)
{
	struct network_facts facts;
	char mac[MAC_TEXT_LEN + 1];
	uint32_t ip;
	if (network_xml_read("fuzz", text, &facts, NULL) < 0)
		return;
	if (facts.range_start && facts.range_end - facts.range_start < 4096 &&
		address_choose(&facts, NULL, 0, "fuzz", 0, 0, mac, &ip) &&
		(ip < facts.range_start || ip > facts.range_end || strlen(mac) != MAC_TEXT_LEN))
		abort();
	network_facts_free(&facts);
}

static void fuzz_host(const char *text)
{
	struct libvirt_options options = {.domain_type = (char *)"auto",
		.arch = (char *)"",
		.machine = (char *)""};
	struct host host;
	host_capabilities_read(text, &options, false, &host, NULL);
	host_free(&host);
	host_domain_capabilities_read(text, &host, NULL);
	host_free(&host);
}

static void fuzz_names(const char *text)
{
	struct identity identity;
	char uuid[UUID_TEXT_LEN + 1], name[DOMAIN_NAME_MAX + 1];
	unsigned nic;
	int64_t created, vcpus, mib;
	struct uri_facts facts;
	if (volume_name_parse(text, &identity) && !uuid_valid(identity.uuid))
		abort();
	if (reservation_name_parse(text, uuid, &nic, &created) &&
		(!uuid_valid(uuid) || created < 0))
		abort();
	for (unsigned attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
		domain_name_make(text, text, attempt, name);
		if (!*name || strlen(name) > DOMAIN_NAME_MAX)
			abort();
	}
	free(uri_prepare(text, &facts, NULL));
	free(facts.socket);
	cpuset_check(text, 8, NULL);
	instance_type_size(text, "a", &vcpus, &mib, NULL);
	instance_type_size("", text, &vcpus, &mib, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size || size > 1 << 16)
		return 0;
	char *text = strndup((const char *)data + 1, size - 1);
	if (!text)
		return 0;
	switch (data[0] % 8) {
	case 0:
		fuzz_record(text);
		break;
	case 1:
		fuzz_domain(text);
		break;
	case 2:
		fuzz_volume(text);
		break;
	case 3:
		fuzz_network(text);
		break;
	case 4:
		fuzz_host(text);
		break;
	case 5:
		fuzz_names(text);
		break;
	case 6:
		qcow2_head_check(data + 1, size - 1, size, NULL);
		break;
	case 7:
		free(console_tidy((const char *)data + 1, size - 1, size & 1));
		break;
	}
	free(text);
	return 0;
}
