/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume.h - the pool: the base image, root disks made on it, user data
 *
 * A base image is never written to: root disks are qcow2 overlays that name it as their backing file. Pools that
 * cannot hold such files (LVM, RBD) get a copy.
 */
#ifndef PEERPOD_LIBVIRT_VOLUME_H
#define PEERPOD_LIBVIRT_VOLUME_H

#include <stdbool.h>
#include <stdint.h>
#include "base/bound.h"
#include "base/error.h"
#include "providers/libvirt/connection.h"
#include "providers/libvirt/domain.h"

struct pool_facts {
	char *path; /* target path; owned, may be NULL */
	bool files; /* volumes are files below path */
	enum disk_kind kind;
	uint64_t available;
};

/* The pool, started where it is not. NULL on failure; ERROR_INVALID where there is none of this name. */
virStoragePoolPtr pool_open(struct call *call, const char *name, struct pool_facts *facts,
	struct error *err);
/* Starts it where it is stopped. */
int pool_start(struct call *call, virStoragePoolPtr pool, struct error *err);
void pool_facts_free(struct pool_facts *facts);

struct base_image {
	char *path, *format; /* owned */
	uint64_t capacity;   /* bytes that the guest sees */
	uint64_t physical;   /* bytes of the file, 0: unknown */
};

/*
 * Finds the base volume by name, else by key; refreshes the pool once when it is not there. An empty, shapeless or
 * mislabelled image is ERROR_INVALID with the reason.
 */
int base_image_find(struct call *call, virStoragePoolPtr pool, const char *name,
	struct base_image *base, virStorageVolPtr *volume, struct error *err);
void base_image_free(struct base_image *base);

/*
 * Downloads the head of a qcow2 base and checks that what it points at is inside of the file: a truncated image
 * would otherwise show as a VM that never answers.
 */
int base_image_probe(struct call *call, virStorageVolPtr volume, const struct base_image *base,
	struct error *err);
/* The check itself: head holds the first len bytes of a file of physical bytes. */
int qcow2_head_check(const unsigned char *head, size_t len, uint64_t physical, struct error *err);
/* Enough for qemu-img's place of the first-level table, the fourth cluster of 64 KiB. */
#define QCOW2_HEAD_MAX ((size_t)4 * 65536)

/* Makes the root disk; one of this name is deleted first. ERROR_CAPACITY: the pool is full. */
int root_volume_make(struct call *call, virStoragePoolPtr pool, const struct pool_facts *facts,
	const struct base_image *base, const char *name, uint64_t bytes, struct error *err);

/* Makes a raw volume of mode 0600 with exactly these bytes; one of this name is deleted first. */
int data_volume_make(struct call *call, virStoragePoolPtr pool, const char *name, const void *bytes,
	size_t len, const struct host *host, const struct bound *bound, struct error *err);

/* 0 too where there is no such volume (any more). */
int volume_delete(struct call *call, virStoragePoolPtr pool, const char *name, struct error *err);

/* Where a domain finds the volume; strings borrowed from facts and name, path is new in *owned. */
int volume_disk(const struct pool_facts *facts, const char *pool, const char *name,
	const char *format, struct disk *disk, char **owned, struct error *err);

/* A data disk by path, or by name of a volume in the pool: its path and format as new strings. */
int data_disk_find(struct call *call, virStoragePoolPtr pool, const char *id, char **path,
	char **format, bool *block, struct error *err);

/* A volume of ours whose domain may be gone. */
struct leftover_volume {
	char *name;
	struct identity identity;
	int64_t changed; /* Unix time, 0: unknown */
};
int volumes_list(struct call *call, virStoragePoolPtr pool, struct leftover_volume **volumes,
	size_t *count, struct error *err);
void volumes_free(struct leftover_volume *volumes, size_t count);

/* Reads a volume's XML: for tests and the fuzzer. */
int volume_xml_read(const char *what, const char *text, char **path, char **format,
	uint64_t *capacity, uint64_t *physical, int64_t *changed, struct error *err);

#endif
