/* SPDX-License-Identifier: Apache-2.0 */
/*
 * iso9660.c - see iso9660.h
 *
 * Layout in sectors of 2048 bytes (ECMA-119): 16 zeroed, the primary volume descriptor, the terminator, the
 * path table in both byte orders, the root folder, then the files one after another. Numbers that ECMA-119 calls
 * both-endian are written twice. Times are zero: the image depends on nothing but its content.
 *
 * Every folder record carries System Use entries (SUSP, Rock Ridge): PX for the mode, NM for the name; the
 * folder's own record begins with SP and ends with a short ER.
 */
#include "providers/libvirt/iso9660.h"

#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"

enum sector {
	SECTOR_DESCRIPTOR = 16,
	SECTOR_TERMINATOR,
	SECTOR_PATH_LITTLE,
	SECTOR_PATH_BIG,
	SECTOR_ROOT,
	SECTOR_FILES,
};

/* User data is far below; the volume holds a private key and should stay a small thing. */
#define FILE_MAX ((size_t)64 << 20)

static void put_little16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)value;
	p[1] = (uint8_t)(value >> 8);
}

static void put_little32(uint8_t *p, uint32_t value)
{
	put_little16(p, value & 0xffff);
	put_little16(p + 2, value >> 16);
}

static void put_big32(uint8_t *p, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void put_both16(uint8_t *p, uint32_t value)
{
	put_little16(p, value);
	p[2] = (uint8_t)(value >> 8);
	p[3] = (uint8_t)value;
}

static void put_both32(uint8_t *p, uint32_t value)
{
	put_little32(p, value);
	put_big32(p + 4, value);
}

static void put_text(uint8_t *p, size_t len, const char *text)
{
	memset(p, ' ', len);
	memcpy(p, text, strnlen(text, len));
}

/* One System Use entry: two letters, its length, version 1, the data. Returns the bytes written. */
static size_t put_entry(uint8_t *p, const char *signature, const void *data, size_t len)
{
	memcpy(p, signature, 2);
	p[2] = (uint8_t)(len + 4);
	p[3] = 1;
	memcpy(p + 4, data, len);
	return len + 4;
}

static size_t put_px(uint8_t *p, uint32_t mode, uint32_t links)
{
	uint8_t data[32] = {0};
	put_both32(data, mode);
	put_both32(data + 8, links);
	return put_entry(p, "PX", data, sizeof(data));
}

#define MODE_FOLDER 0040500u /* POSIX file modes, as in RRIP 4.1.1 */
#define MODE_FILE 0100400u

/* One record of the root folder. identifier of one byte 0 or 1: the folder itself and its parent. */
static size_t put_record(uint8_t *p, const char *identifier, size_t identifier_len, uint32_t extent,
	uint32_t size, const char *posix_name)
{
	size_t len = 33 + identifier_len;
	len += len & 1; /* System Use begins at an even offset */
	p[0] = 0;
	put_both32(p + 2, extent);
	put_both32(p + 10, size);
	p[25] = posix_name ? 0 : 2; /* flags: folder */
	put_both16(p + 28, 1);
	p[32] = (uint8_t)identifier_len;
	memcpy(p + 33, identifier, identifier_len);
	if (!posix_name && !*identifier) {
		static const uint8_t check[] = {0xbe, 0xef, 0};
		len += put_entry(p + len, "SP", check, sizeof(check));
	}
	len += put_px(p + len, posix_name ? MODE_FILE : MODE_FOLDER, posix_name ? 1 : 2);
	if (posix_name) {
		char name[64] = {0}; /* a flags byte of 0, then the name */
		size_t name_len = strlen(posix_name);
		memcpy(name + 1, posix_name, name_len);
		len += put_entry(p + len, "NM", name, name_len + 1);
	} else if (!*identifier) {
		static const uint8_t rock_ridge[] = "\x0a\x00\x00\x01RRIP_1991A";
		len += put_entry(p + len, "ER", rock_ridge, sizeof(rock_ridge) - 1);
	}
	len += len & 1;
	p[0] = (uint8_t)len;
	return len;
}

static void put_path_table(uint8_t *little, uint8_t *big)
{
	little[0] = big[0] = 1; /* length of the root's identifier, one zero byte */
	put_little32(little + 2, SECTOR_ROOT);
	put_big32(big + 2, SECTOR_ROOT);
	put_little16(little + 6, 1);
	big[7] = 1;
}

static void put_descriptor(uint8_t *p, const char *label, uint32_t sectors)
{
	static const char no_date[] = "0000000000000000"; /* and one zero byte: not specified */
	memcpy(p, "\1CD001\1", 7);
	put_text(p + 8, 32, "");
	put_text(p + 40, 32, label);
	put_both32(p + 80, sectors);
	put_both16(p + 120, 1);
	put_both16(p + 124, 1);
	put_both16(p + 128, ISO9660_SECTOR);
	put_both32(p + 132, 10); /* bytes of the path table */
	put_little32(p + 140, SECTOR_PATH_LITTLE);
	put_big32(p + 148, SECTOR_PATH_BIG);
	/* The root's record of 34 bytes, without System Use. */
	p[156] = 34;
	put_both32(p + 158, SECTOR_ROOT);
	put_both32(p + 166, ISO9660_SECTOR);
	p[181] = 2;
	put_both16(p + 184, 1);
	p[188] = 1;
	put_text(p + 190, 623, ""); /* set, publisher, preparer, application, three file names */
	for (size_t at = 813; at < 881; at += 17)
		memcpy(p + at, no_date, 17);
	p[881] = 1;
}

static uint32_t sectors_of(size_t len)
{
	return (uint32_t)((len + ISO9660_SECTOR - 1) / ISO9660_SECTOR);
}

static int check(const char *label, const struct iso9660_file *files, size_t count,
	struct error *err)
{
	if (strlen(label) > 32)
		return error_set(err, ERROR_INVALID,
			"ISO label \"%s\" is longer than 32 characters", label);
	if (count > ISO9660_FILES_MAX)
		return error_set(err, ERROR_INVALID,
			"%zu files are more than the %d an ISO is written with", count,
			ISO9660_FILES_MAX);
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(files[i].name);
		if (!len || len > 30 ||
			strspn(files[i].name, "abcdefghijklmnopqrstuvwxyz0123456789-._") != len)
			return error_set(err, ERROR_INVALID,
				"ISO file name \"%s\": 1 to 30 of a-z, 0-9, dash, dot, underscore",
				files[i].name);
		if (files[i].len > FILE_MAX)
			return error_set(err, ERROR_INVALID,
				"ISO file %s: %zu bytes are more than %zu", files[i].name,
				files[i].len, FILE_MAX);
		if (i && strcmp(files[i - 1].name, files[i].name) >= 0)
			return error_set(err, ERROR_INTERNAL,
				"ISO files must be sorted by name: %s, %s", files[i - 1].name,
				files[i].name);
	}
	return 0;
}

int iso9660_write(const char *label, const struct iso9660_file *files, size_t count,
	struct buf *out, struct error *err)
{
	if (check(label, files, count, err) < 0)
		return -1;
	uint32_t sectors = SECTOR_FILES;
	for (size_t i = 0; i < count; i++)
		sectors += sectors_of(files[i].len);
	size_t size = (size_t)sectors * ISO9660_SECTOR;
	uint8_t *image = buf_reserve(out, size);
	if (!image)
		return error_set(err, ERROR_CAPACITY, "no memory for an ISO of %zu bytes", size);
	memset(image, 0, size);

	put_descriptor(image + SECTOR_DESCRIPTOR * ISO9660_SECTOR, label, sectors);
	memcpy(image + SECTOR_TERMINATOR * ISO9660_SECTOR,
		"\xff"
		"CD001\1",
		7);
	put_path_table(image + SECTOR_PATH_LITTLE * ISO9660_SECTOR,
		image + SECTOR_PATH_BIG * ISO9660_SECTOR);

	/* At most 8 records of 33 + 32 + 36 + 35 bytes: they fit into the one sector. */
	uint8_t *record = image + SECTOR_ROOT * ISO9660_SECTOR;
	record += put_record(record, "\0", 1, SECTOR_ROOT, ISO9660_SECTOR, NULL);
	record += put_record(record, "\1", 1, SECTOR_ROOT, ISO9660_SECTOR, NULL);
	uint32_t extent = SECTOR_FILES;
	for (size_t i = 0; i < count; i++) {
		char identifier[40];
		int len = snprintf(identifier, sizeof(identifier), "%s;1", files[i].name);
		record += put_record(record, identifier, (size_t)len, extent,
			(uint32_t)files[i].len, files[i].name);
		if (files[i].len)
			memcpy(image + (size_t)extent * ISO9660_SECTOR, files[i].bytes,
				files[i].len);
		extent += sectors_of(files[i].len);
	}
	out->len += size;
	return 0;
}
