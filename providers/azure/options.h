/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - what can be set about the Azure driver
 *
 * Names, variables and defaults of the first block are upstream's; the second is what Microsoft's own libraries read
 * from the environment; the others are ours.
 */
#ifndef PEERPOD_AZURE_OPTIONS_H
#define PEERPOD_AZURE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "base/list.h"
#include "base/option.h"
#include "providers/provider.h"

struct azure_options {
	struct secret client_id, client_secret, tenant_id;
	char *subscription, *region, *resource_group, *size, *sizes, *zones, *subnets,
		*security_group, *image, *ssh_key_path, *ssh_user, *tags;
	bool disable_cvm, secure_boot, public_ip;
	int64_t root_volume_gib;

	char *token_file, *authority, *imds;

	char *spot, *credential, *arm_endpoint, *arm_audience, *ca_bundle, *os_disk_type,
		*os_disk_ephemeral, *disk_encryption, *disk_encryption_set, *identities,
		*second_subnet, *catalogue_folder, *prices;
	bool accelerated_networking, encryption_at_host, boot_diagnostics;
};

#define AZURE_OPTION_COUNT 38
extern const struct option azure_option_table[AZURE_OPTION_COUNT];

/* Choices of -disk-encryption. */
#define ENCRYPT_GUEST_STATE "VMGuestStateOnly"
#define ENCRYPT_DISK "DiskWithVMGuestState"
#define ENCRYPT_NOTHING "NonPersistedTPM"

/* The markets for a pod that wishes this one; at least one. */
void azure_options_markets(const struct azure_options *o, enum instance_market market, bool *spot,
	bool *on_demand);

/* What the table cannot say. The first fault found. Subscription, region and resource group may be empty. */
int azure_options_check(const struct azure_options *o, struct error *err);

/*
 * Goes through "k=v,k2=v2": 1 with key and value (new strings), 0 at the end, -1 for an item without '=' or
 * a key or value that Azure does not take.
 */
int tags_next(const char **text, char **key, char **value, struct error *err);

/* Limits of tags: NICs, disks and addresses take 512 and 256 characters, 50 a resource. */
#define TAG_KEY_MAX 512
#define TAG_VALUE_MAX 256
#define TAGS_OF_OPERATOR_MAX 40

#endif
