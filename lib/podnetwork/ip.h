/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ip.h - addresses, prefixes and MACs: text to bytes and back
 *
 * Text forms are those of Go's net/netip, which the other half may be written in: a prefix always
 * has its length, leading zeros are refused, and an IPv4 prefix may come in its mapped form
 * ("::ffff:0.0.0.0/0"), which is taken for the IPv4 prefix that it means.
 */
#ifndef PEERPOD_PODNETWORK_IP_H
#define PEERPOD_PODNETWORK_IP_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define IP_TEXT_MAX 48 /* "ffff:...:255.255.255.255/128" and the NUL */
#define MAC_SIZE 6
#define MAC_TEXT_MAX 18

/* An address with a prefix length; host bits may be set. family 0: none. */
struct ip_prefix {
	uint8_t bytes[16]; /* network order; 4 used for IPv4 */
	uint8_t len;       /* in bits */
	uint8_t family;    /* AF_INET, AF_INET6 or 0 */
};

#define IP_NONE ((struct ip_prefix){0})

size_t ip_size(int family);  /* 4 or 16 */
uint8_t ip_bits(int family); /* 32 or 128 */

/* "10.0.0.7/24"; false where it is not a prefix. */
bool ip_prefix_parse(const char *text, struct ip_prefix *prefix);
/*
 * "10.0.0.7", "fe80::1" or "fe80::1%eth0" (the zone is dropped); the length is that of the
 * address.
 */
bool ip_address_parse(const char *text, struct ip_prefix *address);

/* From an attribute of a netlink message; size must be ip_size(family). */
struct ip_prefix ip_prefix_make(int family, const void *bytes, uint8_t len);
/* 0.0.0.0/0 or ::/0 */
struct ip_prefix ip_prefix_default(int family);

/* Into text[IP_TEXT_MAX]; returns text. "" for none. */
const char *ip_prefix_format(const struct ip_prefix *prefix, char *text);
const char *ip_address_format(const struct ip_prefix *address, char *text);

bool ip_prefix_equal(const struct ip_prefix *a, const struct ip_prefix *b);
bool ip_address_equal(const struct ip_prefix *a, const struct ip_prefix *b);
/* Does the prefix cover the address? */
bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_prefix *address);
struct ip_prefix ip_prefix_masked(struct ip_prefix prefix);
bool ip_is_default(const struct ip_prefix *prefix);
bool ip_is_single(const struct ip_prefix *prefix);
bool ip_is_link_local(const struct ip_prefix *address); /* fe80::/10 */

bool mac_parse(const char *text, uint8_t mac[MAC_SIZE]);
const char *mac_format(const uint8_t mac[MAC_SIZE], char *text);

/* A name that the kernel takes for a network device. */
bool interface_name_valid(const char *name);

#endif
