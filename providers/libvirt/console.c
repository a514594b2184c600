/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.c - what a VM printed on its serial console
 *
 * virtlogd writes it to a file on the libvirt host. On the same machine the file is read; from afar it can be read
 * where LIBVIRT_CONSOLE_LOG is the folder of a storage pool, as a volume of that pool.
 */
#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "providers/libvirt/console.h"
#include "providers/libvirt/driver.h"
#include "providers/libvirt/failure.h"
#include "providers/libvirt/xml.h"

#define CONSOLE_FOLDER "/var/log/libvirt/qemu"

char *console_log_path(const struct provider *p, const char *name)
{
	const char *where = p->options->console_log;
	char *path;
	if (!strcmp(where, "off") || p->uri.test)
		return NULL;
	if (asprintf(&path, "%s/%s-serial.log", !strcmp(where, "on") ? CONSOLE_FOLDER : where,
		    name) < 0)
		return NULL;
	return path;
}

char *console_log_of(const char *domain_xml)
{
	cleanup_xml *doc = xml_parse("the domain", domain_xml, NULL);
	return doc ? xml_text(doc, NULL,
			     "/domain/devices/serial/log/@file|/domain/devices/console/log/@file")
		   : NULL;
}

void console_log_remove(const struct provider *p, const char *path)
{
	size_t len = strlen(path);
	static const char suffix[] = "-serial.log";
	if (!p->uri.local || len < sizeof(suffix) ||
		strcmp(path + len - (sizeof(suffix) - 1), suffix) != 0)
		return;
	unlink(path);
	for (int i = 0; i < 3; i++) { /* virtlogd keeps three rotated parts by default */
		cleanup(free_ptr) char *rotated = NULL;
		if (asprintf(&rotated, "%s.%d", path, i) < 0)
			rotated = NULL;
		if (rotated)
			unlink(rotated);
	}
}

static size_t read_local(const char *path, char *bytes, size_t max)
{
	cleanup(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	off_t from = st.st_size > (off_t)max ? st.st_size - (off_t)max : 0;
	ssize_t got = pread(fd, bytes, max, from);
	return got > 0 ? (size_t)got : 0;
}

static size_t read_volume(struct call *call, const char *path, char *bytes, size_t max)
{
	cleanup_volume volume = virStorageVolLookupByPath(call->conn, path);
	virStorageVolInfo info;
	if (!volume || virStorageVolGetInfo(volume, &info) < 0)
		return 0;
	virStreamPtr stream = virStreamNew(call->conn, 0);
	unsigned long long from = info.capacity > max ? info.capacity - max : 0;
	size_t done = 0;
	if (stream && virStorageVolDownload(volume, stream, from, max, 0) == 0) {
		int got;
		while (done < max && (got = virStreamRecv(stream, bytes + done, max - done)) > 0)
			done += (size_t)got;
		virStreamAbort(stream);
	}
	if (stream)
		virStreamFree(stream);
	return done;
}

char *console_tidy(const char *bytes, size_t len, bool cut)
{
	const char *p = bytes, *end = bytes + len;
	if (cut) {
		const char *line = memchr(p, '\n', len);
		p = line ? line + 1 : p;
	}
	struct buf text = BUF_INIT;
	for (; p < end; p++) {
		unsigned char c = (unsigned char)*p;
		if (c == '\033') { /* a terminal's control sequence */
			while (p + 1 < end && !isalpha((unsigned char)p[1]))
				p++;
			p++;
		} else if (c == '\n' || c == '\t' || (c >= ' ' && c < 0x7f)) {
			buf_append(&text, p, 1);
		} else if (c != '\r' && c) {
			buf_append(&text, "?", 1);
		}
	}
	if (!text.data)
		return strdup("");
	return buf_take(&text);
}

char *driver_console_tail(struct provider *p, const char *id, size_t max, const struct bound *bound)
{
	cleanup_call call = CALL_INIT;
	cleanup_domain domain = NULL;
	cleanup(free_ptr) char *xml = NULL, *path = NULL;
	cleanup(free_ptr) char *bytes = max ? malloc(max) : NULL;
	if (!bytes || !uuid_valid(id) || call_begin(p->status, &call, bound, NULL) < 0 ||
		domain_find(&call, id, &domain, NULL) != 1)
		return strdup("");
	xml = virDomainGetXMLDesc(domain, 0);
	path = xml ? console_log_of(xml) : NULL;
	if (!path)
		return strdup("");
	size_t len = p->uri.local ? read_local(path, bytes, max) : 0;
	if (!len)
		len = read_volume(&call, path, bytes, max);
	return console_tidy(bytes, len, len == max);
}
