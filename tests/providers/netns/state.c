/* SPDX-License-Identifier: Apache-2.0 */
/* state.c - see state.h */
#include "state.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/file.h"
#include "base/json.h"

#define RECORD_SIZE_MAX (64 * 1024)
#define LOCK_RETRY_NS (2 * NS_PER_MS)

void record_free(struct record *record)
{
	char **strings[] = {&record->name, &record->cluster, &record->node, &record->pod_namespace,
		&record->pod, &record->sandbox};
	for (size_t i = 0; i < array_size(strings); i++)
		free(take_ptr(*strings[i]));
}

/* Leaves an empty one behind, so that its scope frees nothing. */
static struct record record_take(struct record *record)
{
	struct record taken = *record;
	*record = (struct record){0};
	return taken;
}

int state_check_token(const char *token, struct error *err)
{
	size_t len = strspn(token, "0123456789abcdef");
	if (len == 0 || len > STATE_TOKEN_MAX || token[len])
		return error_set(err, ERROR_INVALID, "token \"%.80s\" is not 1 to %d hex digits",
			token, STATE_TOKEN_MAX);
	return 0;
}

void state_path(const char *dir, const char *token, const char *file, char *path, size_t size)
{
	snprintf(path, size, "%s/%s%s%s", dir, token, file ? "/" : "", file ? file : "");
}

/* ---- locks ---------------------------------------------------------------------------------------- */

/* Takes the lock; what a holder does takes milliseconds, so a short pause between tries is enough. */
static int lock_wait(int fd, const char *path, const struct bound *bound, struct error *err)
{
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return error_set_errno(err, errno, "lock %s", path);
		if (bound_sleep(bound, LOCK_RETRY_NS, "lock", err) < 0)
			return error_prefix(err, "%s", path);
	}
	return 0;
}

static bool is_same_file(int fd, const char *path)
{
	struct stat open_file, named;
	return fstat(fd, &open_file) == 0 && stat(path, &named) == 0 &&
	       open_file.st_ino == named.st_ino && open_file.st_dev == named.st_dev;
}

int state_lock(const char *dir, const char *token, bool make, const struct bound *bound, int *fd,
	struct error *err)
{
	char folder[PATH_MAX], path[PATH_MAX];
	state_path(dir, token, NULL, folder, sizeof(folder));
	state_path(dir, token, "lock", path, sizeof(path));
	for (;;) {
		if (make && dir_make(folder, 0700, err) < 0)
			return -1;
		cleanup(close_fd) int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (lock < 0 && errno == ENOENT && make)
			continue; /* removed since */
		if (lock < 0 && errno == ENOENT)
			return error_set(err, ERROR_GONE, "no instance with token %s", token);
		if (lock < 0)
			return error_set_errno(err, errno, "open %s", path);
		if (lock_wait(lock, path, bound, err) < 0)
			return -1;
		/* Whoever held it before may have removed the folder: then this lock is nobody's. */
		if (is_same_file(lock, path)) {
			*fd = take_fd(&lock);
			return 0;
		}
		if (!make)
			return error_set(err, ERROR_GONE, "no instance with token %s", token);
	}
}

/* ---- records ------------------------------------------------------------------------------------------ */

int state_read(const char *dir, const char *token, struct record *record, struct error *err)
{
	char path[PATH_MAX];
	state_path(dir, token, "metadata.json", path, sizeof(path));
	cleanup(buf_free) struct buf text = BUF_INIT;
	cleanup_error failure = ERROR_INIT;
	if (file_read(path, RECORD_SIZE_MAX, &text, &failure) < 0) {
		if (failure.kind == ERROR_GONE)
			return error_set(err, ERROR_GONE, "no instance with token %s", token);
		return error_move(err, &failure);
	}
	cleanup_json *object = json_parse(path, text.data, text.len, RECORD_SIZE_MAX, false, err);
	if (!object)
		return -1;

	cleanup(record_free) struct record read = {0};
	struct {
		const char *key;
		char **out;
	} strings[] = {{"name", &read.name}, {"cluster", &read.cluster}, {"node", &read.node},
		{"pod-namespace", &read.pod_namespace}, {"pod", &read.pod},
		{"sandbox", &read.sandbox}};
	for (size_t i = 0; i < array_size(strings); i++)
		if (json_read_string(object, path, strings[i].key, JSON_REQUIRED, strings[i].out,
			    err) < 0)
			return -1;
	if (json_read_int(object, path, "created", JSON_REQUIRED, 0, INT64_MAX, &read.created,
		    err) < 0)
		return -1;
	const json_t *addresses = json_object_get(object, "addresses");
	for (size_t i = 0; i < json_array_size(addresses) && i < NETWORK_NICS_MAX; i++) {
		const char *address = json_string_value(json_array_get(addresses, i));
		snprintf(read.addresses[read.address_count++], sizeof(read.addresses[0]), "%s",
			address ? address : "");
	}
	*record = record_take(&read);
	return 0;
}

int state_write(const char *dir, const char *token, const struct record *record, struct error *err)
{
	cleanup_json *addresses = json_array();
	for (size_t i = 0; i < record->address_count; i++)
		json_array_append_new(addresses, json_string(record->addresses[i]));
	cleanup_json *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:O}", "token",
		token, "name", record->name, "cluster", record->cluster, "node", record->node,
		"pod-namespace", record->pod_namespace, "pod", record->pod, "sandbox",
		record->sandbox, "created", (json_int_t)record->created, "addresses", addresses);
	cleanup(free_ptr) char *text = object ? json_dumps(object, JSON_INDENT(2)) : NULL;
	if (!text)
		return error_set(err, ERROR_INVALID, "metadata of %s: not UTF-8, or no memory",
			token);
	char path[PATH_MAX];
	state_path(dir, token, "metadata.json", path, sizeof(path));
	return file_write(path, 0600, text, strlen(text), err);
}

/* ---- addresses ----------------------------------------------------------------------------------------- */

static int subnet_parse(const char *subnet, uint32_t *base, int *prefix, struct error *err)
{
	char text[32];
	snprintf(text, sizeof(text), "%s", subnet);
	char *slash = strchr(text, '/'), *rest = NULL;
	struct in_addr in;
	long bits = slash ? strtol(slash + 1, &rest, 10) : 0;
	if (slash)
		*slash = '\0';
	if (!slash || *rest || bits < 8 || bits > 29 || inet_pton(AF_INET, text, &in) != 1)
		return error_set(err, ERROR_INVALID,
			"NETNS_SUBNET: \"%s\" is not an IPv4 subnet like 192.168.151.0/24", subnet);
	*prefix = (int)bits;
	*base = ntohl(in.s_addr) & ~((UINT32_C(1) << (32 - bits)) - 1);
	return 0;
}

static void address_text(uint32_t address, char *text, size_t size)
{
	struct in_addr in = {htonl(address)};
	inet_ntop(AF_INET, &in, text, (socklen_t)size);
}

int state_gateway(const char *subnet, char *cidr, size_t size, int *prefix, struct error *err)
{
	uint32_t base;
	char text[INET_ADDRSTRLEN];
	if (subnet_parse(subnet, &base, prefix, err) < 0)
		return -1;
	address_text(base + 1, text, sizeof(text));
	snprintf(cidr, size, "%s/%d", text, *prefix);
	return 0;
}

/* true when the file names a token that has a folder: then the address is in use. */
static bool is_taken(const char *dir, const char *path)
{
	cleanup(buf_free) struct buf holder = BUF_INIT;
	char folder[PATH_MAX];
	if (file_read(path, STATE_TOKEN_MAX, &holder, NULL) < 0)
		return false;
	state_path(dir, buf_text(&holder), NULL, folder, sizeof(folder));
	return holder.len > 0 && access(folder, F_OK) == 0;
}

int state_reserve_address(const char *dir, const char *subnet, const char *token, char *address,
	size_t size, const struct bound *bound, struct error *err)
{
	uint32_t base;
	int prefix;
	char folder[PATH_MAX], path[PATH_MAX + 32];
	if (subnet_parse(subnet, &base, &prefix, err) < 0)
		return -1;
	state_path(dir, "addresses", NULL, folder, sizeof(folder));
	if (dir_make(folder, 0700, err) < 0)
		return -1;
	state_path(dir, "lock", NULL, path, sizeof(path));
	cleanup(close_fd) int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0)
		return error_set_errno(err, errno, "open %s", path);
	if (lock_wait(lock, path, bound, err) < 0)
		return -1;

	uint32_t last = base + (UINT32_C(1) << (32 - prefix)) - 2;
	for (uint32_t candidate = base + 2; candidate <= last; candidate++) {
		address_text(candidate, address, size);
		snprintf(path, sizeof(path), "%s/%s", folder, address);
		if (is_taken(dir, path))
			continue;
		return file_write(path, 0600, token, strlen(token), err);
	}
	return error_set(err, ERROR_CAPACITY, "no free address left in %s", subnet);
}

/* ---- processes ------------------------------------------------------------------------------------------ */

/* Start time (clock ticks since boot) of a process; 0 where there is none, or only its remains. */
static unsigned long long start_time(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	cleanup(buf_free) struct buf stat = BUF_INIT;
	if (file_read(path, 4096, &stat, NULL) < 0)
		return 0;
	/* The program's name, in parentheses, may hold anything; what follows is numbers. */
	const char *after = strrchr(buf_text(&stat), ')');
	char state;
	unsigned long long start;
	if (!after ||
		sscanf(after + 1,
			" %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
			&state, &start) != 2)
		return 0;
	return state == 'Z' || state == 'X' ? 0 : start;
}

pid_t state_process(const char *dir, const char *token, int *pidfd)
{
	char path[PATH_MAX];
	state_path(dir, token, "process", path, sizeof(path));
	cleanup(buf_free) struct buf text = BUF_INIT;
	int pid;
	unsigned long long start;
	if (file_read(path, 128, &text, NULL) < 0 ||
		sscanf(buf_text(&text), "%d %llu", &pid, &start) != 2 || pid <= 1)
		return 0;
	/* Opened first: then the descriptor is known to be that of the process whose start time fits. */
	cleanup(close_fd) int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0 || start_time(pid) != start)
		return 0;
	if (pidfd)
		*pidfd = take_fd(&fd);
	return pid;
}

/* ---- the end -------------------------------------------------------------------------------------------- */

/* Whoever holds the lock keeps it. What a process that was killed while it wrote a file left beside that goes, too. */
static void remove_all_but_lock(const char *folder)
{
	cleanup(closedir_ptr) DIR *files = opendir(folder);
	struct dirent *entry;
	while (files && (entry = readdir(files))) {
		if (strcmp(entry->d_name, "lock") != 0)
			unlinkat(dirfd(files), entry->d_name, 0); /* of a folder it fails */
	}
}

void state_wipe(const char *dir, const char *token, const struct record *record)
{
	char path[PATH_MAX];
	for (size_t i = 0; i < record->address_count; i++) {
		snprintf(path, sizeof(path), "%s/addresses/%s", dir, record->addresses[i]);
		unlink(path);
	}
	state_path(dir, token, "root", path, sizeof(path));
	/* On a machine whose mounts are shared the instance's root may show here as well. */
	umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
	rmdir(path);
	state_path(dir, token, NULL, path, sizeof(path));
	remove_all_but_lock(path);
}

void state_forget(const char *dir, const char *token)
{
	char path[PATH_MAX];
	state_path(dir, token, "lock", path, sizeof(path));
	unlink(path);
	state_path(dir, token, NULL, path, sizeof(path));
	rmdir(path);
}

int state_each(const char *dir, int (*each)(void *closure, const char *token, struct error *err),
	void *closure, struct error *err)
{
	cleanup(closedir_ptr) DIR *folder = opendir(dir);
	if (!folder)
		return errno == ENOENT ? 0 : error_set_errno(err, errno, "open %s", dir);
	struct dirent *entry;
	while ((entry = readdir(folder))) {
		if (entry->d_type != DT_DIR || state_check_token(entry->d_name, NULL) < 0)
			continue;
		int rc = each(closure, entry->d_name, err);
		if (rc)
			return rc;
	}
	return 0;
}
