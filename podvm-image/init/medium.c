/* SPDX-License-Identifier: Apache-2.0 */
/*
 * medium.c - see medium.h
 *
 * There is no udev here, so devices are recognised by what they hold. A device that appears late tells so
 * with a kernel event; each one is a reason to look again. Only the label is looked at here: the
 * file system itself is the kernel's to check, mounted read-only, without devices or programs.
 */
#include "medium.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bound.h"
#include "base/buf.h"
#include "base/file.h"

#define FIRMWARE_ENTRY "/sys/firmware/qemu_fw_cfg/by_name/opt/org.peerpod/user-data/raw"
#define MEDIUM_LABEL "cidata"
/* No document that is meant as user data comes near it; the reader has its own, lower limit. */
#define USER_DATA_MAX ((size_t)4 * 1024 * 1024)

/* Where each type keeps its signature and its label (ECMA-119 8.4; ext4 superblock at 1024). */
static const struct {
	size_t magic_at;
	unsigned char magic[5];
	size_t magic_len;
	size_t label_at, label_len;
} types[] = {
	[MEDIUM_ISO9660] = {32769, "CD001", 5, 32808, 32},
	[MEDIUM_EXT4] = {1024 + 0x38, {0x53, 0xef}, 2, 1024 + 0x78, 16},
};

int medium_label(enum medium_type type, const void *head, size_t len, char label[33])
{
	const unsigned char *bytes = head;
	if (len < types[type].label_at + types[type].label_len ||
		len < types[type].magic_at + types[type].magic_len ||
		memcmp(bytes + types[type].magic_at, types[type].magic, types[type].magic_len) != 0)
		return -1;
	size_t n = types[type].label_len;
	memcpy(label, bytes + types[type].label_at, n);
	label[n] = 0;
	/* ISO9660 pads with blanks. */
	for (n = strlen(label); n && label[n - 1] == ' '; n--)
		label[n - 1] = 0;
	return 0;
}

static bool device_has(const char *device, enum medium_type type, const char *label)
{
	cleanup(close_fd) int fd = open(device, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false; /* an empty drive */
	cleanup(free_ptr) unsigned char *head = malloc(MEDIUM_HEAD_SIZE);
	if (!head)
		return false;
	ssize_t n = pread(fd, head, MEDIUM_HEAD_SIZE, 0);
	char found[33];
	return n > 0 && medium_label(type, head, (size_t)n, found) == 0 &&
	       !strcasecmp(found, label);
}

int medium_find(enum medium_type type, const char *label, char *device, size_t size)
{
	DIR *folder = opendir("/sys/class/block");
	if (!folder)
		return -1; /* no block layer, no media */
	int result = -1;
	for (struct dirent *entry; result < 0 && (entry = readdir(folder));) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(device, size, "/dev/%s", entry->d_name);
		if (device_has(device, type, label))
			result = 0;
	}
	closedir(folder);
	return result;
}

/* The kernel tells a partition's name in the file that describes its event. */
static bool partition_has_name(const char *device, const char *name)
{
	char path[300], line[160];
	snprintf(path, sizeof(path), "/sys/class/block/%s/uevent", device);
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (file_read(path, 4096, &text, NULL) < 0)
		return false;
	snprintf(line, sizeof(line), "PARTNAME=%s\n", name);
	return strstr(buf_text(&text), line) != NULL;
}

static int find_partition(const char *name, char *device, size_t size)
{
	DIR *folder = opendir("/sys/class/block");
	if (!folder)
		return -1;
	int result = -1;
	for (struct dirent *entry; result < 0 && (entry = readdir(folder));) {
		if (entry->d_name[0] == '.' || !partition_has_name(entry->d_name, name))
			continue;
		snprintf(device, size, "/dev/%s", entry->d_name);
		result = 0;
	}
	closedir(folder);
	return result;
}

/* Copies the firmware's entry, which is not a file that keeps its size. */
static int provide_from_firmware(const char *path, struct error *err)
{
	cleanup(buf_wipe) struct buf content = BUF_INIT;
	if (file_read(FIRMWARE_ENTRY, USER_DATA_MAX, &content, err) < 0)
		return -1;
	return file_write(path, 0600, content.data, content.len, err);
}

static int event_socket(void)
{
	int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void drain(int fd)
{
	char event[4096];
	while (recv(fd, event, sizeof(event), 0) > 0)
		;
}

int medium_wait_partition(const char *name, uint64_t timeout_ns, char *device, size_t size,
	struct error *err)
{
	cleanup(close_fd) int events = event_socket();
	struct bound bound = {.deadline_ns = deadline_in(timeout_ns)};
	while (find_partition(name, device, size) < 0) {
		if (events < 0 || bound_poll(&bound, events, POLLIN, "a disk", NULL) < 0)
			return error_set(err, ERROR_GONE,
				"no disk has a partition with the name %s", name);
		drain(events);
	}
	return 0;
}

int medium_provide(const char *path, uint64_t timeout_ns, char *from, size_t size,
	struct error *err)
{
	char folder[256];
	snprintf(folder, sizeof(folder), "%s", path);
	dirname(folder);
	if (dir_make(folder, 0755, err) < 0)
		return -1;
	if (access(FIRMWARE_ENTRY, F_OK) == 0) {
		snprintf(from, size, "firmware configuration");
		return provide_from_firmware(path, err);
	}

	/* Listen before looking: what appears in between then is not missed. */
	cleanup(close_fd) int events = event_socket();
	struct bound bound = {.deadline_ns = deadline_in(timeout_ns)};
	while (medium_find(MEDIUM_ISO9660, MEDIUM_LABEL, from, size) < 0) {
		if (events < 0 || bound_poll(&bound, events, POLLIN, "a medium", NULL) < 0)
			return error_set(err, ERROR_GONE,
				"no medium with the label " MEDIUM_LABEL
				" and no firmware entry opt/org.peerpod/user-data");
		drain(events);
	}
	if (mount(from, folder, "iso9660", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return error_set_errno(err, errno, "mount %s on %s", from, folder);
	return 0;
}
