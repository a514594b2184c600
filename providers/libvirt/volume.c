/* SPDX-License-Identifier: Apache-2.0 */
/* volume.c - see volume.h */
#include "providers/libvirt/volume.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "providers/libvirt/failure.h"
#include "providers/libvirt/xml.h"

/* ---- the pool ------------------------------------------------------------------------------------ */

static int pool_facts_read(struct call *call, virStoragePoolPtr pool, struct pool_facts *facts,
	struct error *err)
{
	static const struct {
		const char *type;
		bool files;
		enum disk_kind kind;
	} types[] = {
		{"dir", true, DISK_FILE},
		{"fs", true, DISK_FILE},
		{"netfs", true, DISK_FILE},
		{"logical", false, DISK_BLOCK},
		{"disk", false, DISK_BLOCK},
		{"zfs", false, DISK_BLOCK},
	};
	cleanup(free_ptr) char *text = virStoragePoolGetXMLDesc(pool, 0);
	if (!text)
		return call_failed(call, err, "read the pool's XML");
	cleanup_xml *doc = xml_parse("the pool", text, err);
	if (!doc)
		return -1;
	cleanup(free_ptr) char *type = xml_text(doc, NULL, "/pool/@type");
	facts->kind = DISK_VOLUME;
	for (size_t i = 0; type && i < array_size(types); i++) {
		if (!strcmp(type, types[i].type)) {
			facts->files = types[i].files;
			facts->kind = types[i].kind;
		}
	}
	facts->path = xml_text(doc, NULL, "/pool/target/path");
	if (facts->kind != DISK_VOLUME && !facts->path)
		return error_set(err, ERROR_INVALID, "the pool has no target path");
	xml_number(doc, NULL, "/pool/available", &facts->available);
	return 0;
}

int pool_start(struct call *call, virStoragePoolPtr pool, struct error *err)
{
	const char *name = virStoragePoolGetName(pool);
	if (virStoragePoolIsActive(pool) != 0)
		return 0;
	log_info("storage pool %s is not active: starting it", name);
	if (virStoragePoolCreate(pool, 0) == 0)
		return 0;
	call_note(call); /* the next call wipes the reason */
	return virStoragePoolIsActive(pool) == 1
		       ? 0
		       : call_report(call, err, "start storage pool %s", name);
}

virStoragePoolPtr pool_open(struct call *call, const char *name, struct pool_facts *facts,
	struct error *err)
{
	*facts = (struct pool_facts){0};
	cleanup_pool pool = virStoragePoolLookupByName(call->conn, name);
	if (!pool) {
		call_failed(call, err, "storage pool %s", name);
		if (err && err->kind == ERROR_GONE) {
			err->kind = ERROR_INVALID;
			error_append(err,
				" (LIBVIRT_POOL; make it with: virsh pool-define-as %s dir --target "
				"/var/lib/libvirt/images && virsh pool-start %s)",
				name, name);
		}
		return NULL;
	}
	if (pool_start(call, pool, err) < 0)
		return NULL;
	if (pool_facts_read(call, pool, facts, err) < 0) {
		pool_facts_free(facts);
		error_prefix(err, "storage pool %s", name);
		return NULL;
	}
	return take_ptr(pool);
}

void pool_facts_free(struct pool_facts *facts)
{
	free(facts->path);
	*facts = (struct pool_facts){0};
}

/* ---- reading volumes ------------------------------------------------------------------------------- */

int volume_xml_read(const char *what, const char *text, char **path, char **format,
	uint64_t *capacity, uint64_t *physical, int64_t *changed, struct error *err)
{
	cleanup_xml *doc = xml_parse(what, text, err);
	if (!doc)
		return -1;
	cleanup(free_ptr) char *unit = xml_text(doc, NULL, "/volume/capacity/@unit");
	if (unit && strcmp(unit, "bytes") != 0)
		return error_set(err, ERROR_INVALID, "%s: its capacity is told in %s, not in bytes",
			what, unit);
	*capacity = *physical = 0;
	*changed = 0;
	xml_number(doc, NULL, "/volume/capacity", capacity);
	xml_number(doc, NULL, "/volume/physical", physical);
	/* "1700000000.123456789" */
	cleanup(free_ptr) char *mtime = xml_text(doc, NULL,
		"substring-before(concat(/volume/target/timestamps/mtime,'.'),'.')");
	if (mtime)
		*changed = strtoll(mtime, NULL, 10);
	*path = xml_text(doc, NULL, "/volume/target/path");
	*format = xml_text(doc, NULL, "/volume/target/format/@type");
	return 0;
}

static virStorageVolPtr volume_find_once(struct call *call, virStoragePoolPtr pool,
	const char *name)
{
	virStorageVolPtr volume = virStorageVolLookupByName(pool, name);
	if (!volume && failure_code() == VIR_ERR_NO_STORAGE_VOL && *name == '/')
		volume = virStorageVolLookupByKey(call->conn, name);
	return volume;
}

/* By name, else by key (a path). One that was put there behind libvirt's back shows after a refresh. */
static virStorageVolPtr volume_find(struct call *call, virStoragePoolPtr pool, const char *name)
{
	virStorageVolPtr volume = volume_find_once(call, pool, name);
	if (!volume && failure_code() == VIR_ERR_NO_STORAGE_VOL) {
		virStoragePoolRefresh(pool, 0);
		volume = volume_find_once(call, pool, name);
	}
	return volume;
}

int base_image_find(struct call *call, virStoragePoolPtr pool, const char *name,
	struct base_image *base, virStorageVolPtr *volume_out, struct error *err)
{
	*base = (struct base_image){0};
	cleanup_volume volume = volume_find(call, pool, name);
	if (!volume) {
		call_failed(call, err, "base image %s in pool %s", name,
			virStoragePoolGetName(pool));
		if (err && err->kind == ERROR_GONE) {
			err->kind = ERROR_INVALID;
			error_append(err,
				" (LIBVIRT_VOL_NAME; upload one with virsh vol-create-as and vol-upload)");
		}
		return -1;
	}
	cleanup(free_ptr) char *text = virStorageVolGetXMLDesc(volume, 0);
	if (!text)
		return call_failed(call, err, "read the XML of base image %s", name);
	int64_t changed;
	if (volume_xml_read(name, text, &base->path, &base->format, &base->capacity,
		    &base->physical, &changed, err) < 0)
		return -1;
	virStorageVolInfo info;
	if (virStorageVolGetInfo(volume, &info) < 0)
		return call_failed(call, err, "read the size of base image %s", name);

	const char *fault = NULL;
	size_t len = strlen(name);
	/* By its own name: it may have been found by a path. A pod may name its image, and user data hold keys. */
	struct identity identity;
	const char *own_name = virStorageVolGetName(volume);
	if (own_name && volume_name_parse(own_name, &identity)) {
		base_image_free(base);
		return error_set(err, ERROR_INVALID,
			"base image %s is unusable: it is a volume of VM %s", name, identity.uuid);
	}
	if (!base->path || !base->format)
		fault = "libvirt tells neither its path nor its format";
	else if (info.capacity == 0 || info.allocation == 0)
		fault = "it is empty";
	else if (strcmp(base->format, "qcow2") != 0 && strcmp(base->format, "raw") != 0)
		fault = "its format is neither qcow2 nor raw";
	else if (len > 6 && !strcmp(name + len - 6, ".qcow2") && strcmp(base->format, "qcow2") != 0)
		fault = "it is named .qcow2, but its content is none";
	if (fault) {
		error_set(err, ERROR_INVALID, "base image %s is unusable: %s; upload it again",
			name, fault);
		base_image_free(base);
		return -1;
	}
	if (volume_out)
		*volume_out = take_ptr(volume);
	return 0;
}

void base_image_free(struct base_image *base)
{
	free(base->path);
	free(base->format);
	*base = (struct base_image){0};
}

static uint64_t big64(const unsigned char *p)
{
	uint64_t value = 0;
	for (int i = 0; i < 8; i++)
		value = value << 8 | p[i];
	return value;
}

static uint32_t big32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/*
 * QEMU, docs/interop/qcow2.txt: magic, version, ... cluster_bits at 20, size at 24, l1_size at 36, l1_table_offset at
 * 40, refcount_table_offset at 48. The refcount table and the L1 table are there in every image; the last cluster that
 * the image tool wrote is at the end of the file.
 */
int qcow2_head_check(const unsigned char *head, size_t len, uint64_t physical, struct error *err)
{
	if (len < 72 || memcmp(head, "QFI\xfb", 4) != 0)
		return error_set(err, ERROR_INVALID, "it does not begin as a qcow2 image does");
	uint32_t version = big32(head + 4), cluster_bits = big32(head + 20);
	uint64_t size = big64(head + 24), l1_size = big32(head + 36);
	uint64_t l1 = big64(head + 40), refcounts = big64(head + 48);
	if (version < 2 || version > 3 || cluster_bits < 9 || cluster_bits > 21)
		return error_set(err, ERROR_INVALID, "its qcow2 header is damaged");
	if (!size)
		return error_set(err, ERROR_INVALID, "it is a disk of no size");
	if (!physical)
		return 0;
	uint64_t end = l1 + l1_size * 8;
	if (end < l1 || end > physical || refcounts >= physical)
		return error_set(err, ERROR_INVALID,
			"it is truncated: %llu bytes, but its tables go beyond",
			(unsigned long long)physical);
	/* The second-level tables, where the first-level table is within what was read. */
	for (uint64_t at = l1; at + 8 <= end && at + 8 <= len; at += 8) {
		uint64_t l2 = big64(head + at) & UINT64_C(0x00fffffffffffe00);
		if (l2 && (l2 >= physical || physical - l2 < UINT64_C(1) << cluster_bits))
			return error_set(err, ERROR_INVALID,
				"it is truncated: %llu bytes, but a table begins at %llu",
				(unsigned long long)physical, (unsigned long long)l2);
	}
	return 0;
}

/* Reads len bytes from offset; fewer at the end of the volume. -1: libvirt failed. */
static ssize_t volume_download(struct call *call, virStorageVolPtr volume, unsigned char *bytes,
	size_t len, uint64_t offset, struct error *err)
{
	virStreamPtr stream = virStreamNew(call->conn, 0);
	if (!stream)
		return call_failed(call, err, "open a stream");
	size_t done = 0;
	int result = virStorageVolDownload(volume, stream, offset, len, 0);
	while (result == 0 && done < len) {
		int got = virStreamRecv(stream, (char *)bytes + done, len - done);
		if (got <= 0) {
			result = got;
			break;
		}
		done += (size_t)got;
	}
	if (result < 0) {
		call_failed(call, err, "read the volume");
		virStreamAbort(stream);
	} else if (done == len ? virStreamFinish(stream) < 0 : virStreamAbort(stream) < 0) {
		virResetLastError(); /* the bytes are here */
	}
	virStreamFree(stream);
	return result < 0 ? -1 : (ssize_t)done;
}

int base_image_probe(struct call *call, virStorageVolPtr volume, const struct base_image *base,
	struct error *err)
{
	if (strcmp(base->format, "qcow2") != 0)
		return 0;
	cleanup(free_ptr) unsigned char *head = calloc(1, QCOW2_HEAD_MAX);
	if (!head)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	size_t want = QCOW2_HEAD_MAX;
	if (base->physical && base->physical < want)
		want = (size_t)base->physical;
	ssize_t len = volume_download(call, volume, head, want, 0, err);
	if (len < 0)
		return -1;
	return qcow2_head_check(head, (size_t)len, base->physical, err);
}

/* ---- making volumes ---------------------------------------------------------------------------------- */

static virStorageVolPtr volume_create_once(virStoragePoolPtr pool, const char *text,
	virStorageVolPtr copy_of)
{
	return copy_of ? virStorageVolCreateXMLFrom(pool, text, copy_of, 0)
		       : virStorageVolCreateXML(pool, text, 0);
}

/* Creates; a volume of this name is left over from an earlier try and is deleted first. */
static virStorageVolPtr volume_create(struct call *call, virStoragePoolPtr pool, const char *name,
	const char *text, virStorageVolPtr copy_of, struct error *err)
{
	virStorageVolPtr volume = volume_create_once(pool, text, copy_of);
	if (!volume && failure_code() == VIR_ERR_STORAGE_VOL_EXIST) {
		if (volume_delete(call, pool, name, err) < 0)
			return NULL;
		volume = volume_create_once(pool, text, copy_of);
	} else if (!volume && strcasestr(failure_text(), "exist")) {
		/* A file that libvirt does not know of yet: a refresh shows it as a volume. */
		virStoragePoolRefresh(pool, 0);
		if (volume_delete(call, pool, name, err) < 0)
			return NULL;
		volume = volume_create_once(pool, text, copy_of);
	}
	if (!volume)
		call_failed(call, err, "make volume %s in pool %s", name,
			virStoragePoolGetName(pool));
	return volume;
}

static char *volume_xml(const char *name, uint64_t bytes, const char *format,
	const struct base_image *backing, const struct host *owner)
{
	cleanup_xml *doc = xmlNewDoc((const xmlChar *)"1.0");
	xmlNode *volume = doc ? xmlNewNode(NULL, (const xmlChar *)"volume") : NULL;
	if (!volume)
		return NULL;
	xmlDocSetRootElement(doc, volume);
	xml_child_text(volume, "name", name);
	xml_attribute(xml_child_format(volume, "capacity", "%llu", (unsigned long long)bytes),
		"unit", "bytes");
	xmlNode *target = xml_child(volume, "target", NULL);
	xml_child(target, "format", "type", format, NULL);
	xmlNode *permissions = xml_child(target, "permissions", NULL);
	xml_child_text(permissions, "mode", "0600");
	if (owner && owner->qemu_user_known) {
		xml_child_format(permissions, "owner", "%llu", (unsigned long long)owner->qemu_uid);
		xml_child_format(permissions, "group", "%llu", (unsigned long long)owner->qemu_gid);
	}
	if (backing) {
		xmlNode *store = xml_child(volume, "backingStore", NULL);
		xml_child_text(store, "path", backing->path);
		xml_child(store, "format", "type", backing->format, NULL);
	}
	return xml_write(doc);
}

int root_volume_make(struct call *call, virStoragePoolPtr pool, const struct pool_facts *facts,
	const struct base_image *base, const char *name, uint64_t bytes, struct error *err)
{
	cleanup_volume source = NULL;
	if (!facts->files && !(source = virStorageVolLookupByPath(call->conn, base->path)))
		return call_failed(call, err, "base image %s", base->path);
	cleanup(free_ptr) char *text = volume_xml(name, bytes, facts->files ? "qcow2" : "raw",
		facts->files ? base : NULL, NULL);
	if (!text)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	cleanup_volume volume = volume_create(call, pool, name, text, source, err);
	return volume ? 0 : -1;
}

/* libvirt's own chunk: VIR_NET_MESSAGE_LEGACY_PAYLOAD_MAX, below which every daemon takes a piece whole. */
#define UPLOAD_CHUNK (256 * 1024)

static int upload(struct call *call, virStorageVolPtr volume, const char *bytes, size_t len,
	const struct bound *bound, struct error *err)
{
	virStreamPtr stream = virStreamNew(call->conn, 0);
	if (!stream)
		return call_failed(call, err, "open a stream");
	int result = 0;
	if (virStorageVolUpload(volume, stream, 0, len, 0) < 0)
		result = call_failed(call, err, "upload %zu bytes", len);
	for (size_t sent = 0; result == 0 && sent < len;) {
		size_t chunk = len - sent < UPLOAD_CHUNK ? len - sent : UPLOAD_CHUNK;
		int taken = virStreamSend(stream, bytes + sent, chunk);
		if (taken < 0)
			result = call_failed(call, err, "upload: %zu of %zu bytes sent", sent, len);
		else
			sent += (size_t)taken;
		if (result == 0)
			result = bound_check(bound, "the upload", err);
	}
	if (result < 0)
		virStreamAbort(stream);
	else if (virStreamFinish(stream) < 0)
		result = call_failed(call, err, "finish the upload of %zu bytes", len);
	virStreamFree(stream);
	return result;
}

int data_volume_make(struct call *call, virStoragePoolPtr pool, const char *name, const void *bytes,
	size_t len, const struct host *host, const struct bound *bound, struct error *err)
{
	cleanup(free_ptr) char *text = volume_xml(name, len, "raw", NULL, host);
	if (!text)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	cleanup_volume volume = volume_create(call, pool, name, text, NULL, err);
	if (!volume)
		return -1;
	fault_point("libvirt-cidata-volume");
	if (upload(call, volume, bytes, len, bound, err) < 0)
		return error_prefix(err, "volume %s", name);
	return 0;
}

int volume_delete(struct call *call, virStoragePoolPtr pool, const char *name, struct error *err)
{
	cleanup_volume volume = virStorageVolLookupByName(pool, name);
	if (!volume && failure_code() == VIR_ERR_NO_STORAGE_VOL)
		return 0;
	if (!volume)
		return call_failed(call, err, "look for volume %s", name);
	if (virStorageVolDelete(volume, 0) == 0 || failure_code() == VIR_ERR_NO_STORAGE_VOL)
		return 0;
	return call_failed(call, err, "delete volume %s", name);
}

int volume_disk(const struct pool_facts *facts, const char *pool, const char *name,
	const char *format, struct disk *disk, char **owned, struct error *err)
{
	*disk = (struct disk){.kind = facts->kind, .pool = pool, .source = name, .format = format};
	if (facts->kind == DISK_VOLUME)
		return 0;
	if (asprintf(owned, "%s/%s", facts->path, name) < 0) {
		*owned = NULL;
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	disk->source = *owned;
	return 0;
}

int data_disk_find(struct call *call, virStoragePoolPtr pool, const char *id, char **path,
	char **format, bool *block, struct error *err)
{
	cleanup_volume volume = *id == '/' ? virStorageVolLookupByPath(call->conn, id)
					   : volume_find(call, pool, id);
	*path = *format = NULL;
	*block = false;
	if (!volume && *id == '/' && failure_code() == VIR_ERR_NO_STORAGE_VOL) {
		/* A file or device outside of every pool. */
		*path = strdup(id);
		*format = strdup("raw");
		*block = !strncmp(id, "/dev/", 5);
		return *path && *format ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
	}
	if (!volume) {
		call_failed(call, err, "data disk %s", id);
		if (err && err->kind == ERROR_GONE)
			err->kind = ERROR_INVALID;
		return -1;
	}
	virStorageVolInfo info;
	cleanup(free_ptr) char *text = virStorageVolGetXMLDesc(volume, 0);
	if (!text || virStorageVolGetInfo(volume, &info) < 0)
		return call_failed(call, err, "data disk %s", id);
	uint64_t capacity, physical;
	int64_t changed;
	if (volume_xml_read(id, text, path, format, &capacity, &physical, &changed, err) < 0)
		return -1;
	*block = info.type == VIR_STORAGE_VOL_BLOCK;
	if (!*path)
		return error_set(err, ERROR_INVALID, "data disk %s has no path", id);
	if (!*format && !(*format = strdup("raw")))
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return 0;
}

/* ---- leftovers -------------------------------------------------------------------------------------- */

int volumes_list(struct call *call, virStoragePoolPtr pool, struct leftover_volume **volumes,
	size_t *count, struct error *err)
{
	virStorageVolPtr *all = NULL;
	int total = virStoragePoolListAllVolumes(pool, &all, 0);
	*volumes = NULL;
	*count = 0;
	if (total < 0)
		return call_failed(call, err, "list the volumes of the pool");
	int result = 0;
	*volumes = calloc((size_t)total + 1, sizeof(**volumes));
	if (!*volumes)
		result = error_set(err, ERROR_CAPACITY, "out of memory");
	for (int i = 0; i < total; i++) {
		struct leftover_volume found = {0};
		const char *name = virStorageVolGetName(all[i]);
		if (result == 0 && name && volume_name_parse(name, &found.identity) &&
			(found.name = strdup(name))) {
			cleanup(free_ptr) char *text = virStorageVolGetXMLDesc(all[i], 0);
			cleanup(free_ptr) char *path = NULL, *format = NULL;
			uint64_t capacity, physical;
			if (text)
				volume_xml_read(name, text, &path, &format, &capacity, &physical,
					&found.changed, NULL);
			(*volumes)[(*count)++] = found;
		}
		virStorageVolFree(all[i]);
	}
	free(all);
	return result;
}

void volumes_free(struct leftover_volume *volumes, size_t count)
{
	for (size_t i = 0; volumes && i < count; i++)
		free(volumes[i].name);
	free(volumes);
}
