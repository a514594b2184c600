/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h - identities that follow from the creation token, so that they are known before anything exists
 *
 *   domain UUID     UUIDv5 of the token; it is the instance id
 *   domain name     the wished name, made fit; longer by part of the token where it is taken
 *   MAC addresses   52:54:00 and three bytes of a hash of the token and the NIC's number
 *   volumes         <name>-<uuid>-root.qcow2 and <name>-<uuid>-cloudinit.iso
 *   reservations    podvm<NIC>-<uuid>-<hexadecimal Unix time>: the name of the DHCP host entry
 *
 * Volumes and DHCP host entries cannot carry metadata: the UUID in their names tells whose they are when
 * the domain is gone.
 */
#ifndef PEERPOD_LIBVIRT_NAMES_H
#define PEERPOD_LIBVIRT_NAMES_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

#define UUID_TEXT_LEN 36
#define MAC_TEXT_LEN 17
#define DOMAIN_NAME_MAX 63 /* it is also the VM's host name: one DNS label */

struct identity {
	char uuid[UUID_TEXT_LEN + 1];
	char name[DOMAIN_NAME_MAX + 1];
};

void uuid_of_token(const char *token, char uuid[UUID_TEXT_LEN + 1]);

/* 8-4-4-4-12 hexadecimal digits. */
bool uuid_valid(const char *text);

/* nic from 0; salt 0 unless that address is taken. */
void mac_of_token(const char *token, unsigned nic, unsigned salt, char mac[MAC_TEXT_LEN + 1]);

/*
 * Lower case, what is no letter, digit or dash becomes a dash, at most DOMAIN_NAME_MAX. attempt 0 is the wish;
 * 1 and 2 put 8 and 32 characters of the token at its end.
 */
#define NAME_ATTEMPTS 3
void domain_name_make(const char *wish, const char *token, unsigned attempt,
	char name[DOMAIN_NAME_MAX + 1]);

enum volume_role { VOLUME_ROOT, VOLUME_CIDATA, VOLUME_USERDATA, VOLUME_ROLES };

/* New string; NULL: no memory. */
char *volume_name_make(const struct identity *identity, enum volume_role role);
/* Is it one of ours? Then the UUID and the domain's name in it. */
bool volume_name_parse(const char *volume, struct identity *identity);

#define RESERVATION_NAME_MAX 63
/* nic: 0 to 9 */
void reservation_name_make(const char *uuid, unsigned nic, int64_t created,
	char name[RESERVATION_NAME_MAX + 1]);
bool reservation_name_parse(const char *name, char uuid[UUID_TEXT_LEN + 1], unsigned *nic,
	int64_t *created);

#endif
