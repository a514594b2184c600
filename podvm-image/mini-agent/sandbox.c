/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox.c - see sandbox.h */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "storage.h"
#include "ttrpc/frame.h"

/* How often the counters of the kernel are looked at while somebody waits for them. */
#define OOM_INTERVAL_NS NS_PER_S
#define REMOVE_NS (10 * NS_PER_S)

int sandbox_init(struct sandbox *s, struct error *err)
{
	pthread_mutex_init(&s->lock, NULL);
	s->destroyed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return s->destroyed_fd < 0 ? error_set_errno(err, errno, "eventfd") : 0;
}

/* ---- namespaces that all containers share --------------------------------------------------- */

struct namespace_maker {
	const char *hostname;
	const char *ipc_ns, *uts_ns;
	int errnum;
};

static int keep_namespace(const char *name, const char *file)
{
	char source[64];
	snprintf(source, sizeof(source), "/proc/self/task/%d/ns/%s", (int)syscall(SYS_gettid),
		name);
	cleanup(close_fd) int fd = open(file, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 || mount(source, file, NULL, MS_BIND, NULL) < 0 ? -1 : 0;
}

/* On a thread that ends afterwards: the mounts keep what it made. */
static void *make_namespaces(void *context)
{
	struct namespace_maker *maker = context;
	if (unshare(CLONE_NEWIPC | CLONE_NEWUTS) < 0 ||
		(*maker->hostname && sethostname(maker->hostname, strlen(maker->hostname)) < 0) ||
		keep_namespace("ipc", maker->ipc_ns) < 0 ||
		keep_namespace("uts", maker->uts_ns) < 0)
		maker->errnum = errno;
	return NULL;
}

static void drop_namespace(char **file)
{
	if (*file) {
		umount2(*file, MNT_DETACH);
		unlink(*file);
	}
	free(*file);
	*file = NULL;
}

static int share_namespaces(struct sandbox *s, const char *hostname, struct error *err)
{
	pthread_t thread;
	if (asprintf(&s->ipc_ns, "%s/ns-ipc", s->places.state) < 0 ||
		asprintf(&s->uts_ns, "%s/ns-uts", s->places.state) < 0)
		return error_set_errno(err, ENOMEM, "namespaces");
	struct namespace_maker maker = {hostname, s->ipc_ns, s->uts_ns, 0};
	int failed = pthread_create(&thread, NULL, make_namespaces, &maker);
	if (!failed)
		pthread_join(thread, NULL);
	if (failed || maker.errnum)
		return error_set_errno(err, failed ? failed : maker.errnum,
			"make the pod's namespaces (hostname \"%.64s\")", hostname);
	return 0;
}

/* ---- the sandbox ----------------------------------------------------------------------------- */

static int write_resolv_conf(const Agent__CreateSandboxRequest *request, struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	for (size_t i = 0; i < request->n_dns; i++)
		if (*request->dns[i])
			buf_printf(&text, "%s\n", request->dns[i]);
	if (!text.len)
		return 0;
	return file_write(KATA_FOLDER "/sandbox/resolv.conf", 0644, text.data, text.len, err);
}

static int create_locked(struct sandbox *s, const Agent__CreateSandboxRequest *request,
	struct error *err)
{
	if (s->created)
		return error_set(err, ERROR_EXISTS, "the sandbox was created before");
	/* kata-agent empties its folder here, its own socket included. */
	if (s->unlink_socket && unlink(s->unlink_socket) < 0 && errno != ENOENT)
		log_warn("remove %s: %s", s->unlink_socket, strerrordesc_np(errno));
	if (dir_make(KATA_FOLDER "/sandbox", 0755, err) < 0 ||
		dir_make(KATA_FOLDER "/shared/containers", 0755, err) < 0 ||
		storages_make(request->storages, request->n_storages, err) < 0 ||
		share_namespaces(s, request->hostname, err) < 0 ||
		write_resolv_conf(request, err) < 0) {
		drop_namespace(&s->ipc_ns);
		drop_namespace(&s->uts_ns);
		return -1;
	}
	s->created = true;
	return 0;
}

int sandbox_create(struct sandbox *s, const Agent__CreateSandboxRequest *request, struct error *err)
{
	pthread_mutex_lock(&s->lock);
	int result = create_locked(s, request, err);
	pthread_mutex_unlock(&s->lock);
	return result;
}

static struct container *take_one(struct sandbox *s)
{
	pthread_mutex_lock(&s->lock);
	struct container *c = s->containers;
	if (c)
		s->containers = c->next;
	pthread_mutex_unlock(&s->lock);
	return c;
}

void sandbox_destroy(struct sandbox *s)
{
	for (struct container *c; (c = take_one(s));) {
		cleanup_error err = ERROR_INIT;
		struct bound bound = {.deadline_ns = deadline_in(REMOVE_NS)};
		if (container_remove(c, &bound, &err) < 0)
			log_warn("container %s: %s", c->id, error_message(&err));
		container_unref(c);
	}
	pthread_mutex_lock(&s->lock);
	if (s->created)
		storages_remove();
	drop_namespace(&s->ipc_ns);
	drop_namespace(&s->uts_ns);
	s->created = false;
	pthread_mutex_unlock(&s->lock);
	eventfd_write(s->destroyed_fd, 1);
}

void sandbox_free(struct sandbox *s)
{
	close(s->destroyed_fd);
	cgroups_free(&s->cgroups);
	crun_free(&s->crun);
	pthread_mutex_destroy(&s->lock);
}

/* ---- containers ------------------------------------------------------------------------------ */

static struct container *find_locked(struct sandbox *s, const char *id)
{
	struct container *c = s->containers;
	while (c && strcmp(c->id, id))
		c = c->next;
	return c;
}

struct container *sandbox_container(struct sandbox *s, const char *id, struct error *err)
{
	pthread_mutex_lock(&s->lock);
	struct container *c = find_locked(s, id);
	if (c)
		container_ref(c);
	pthread_mutex_unlock(&s->lock);
	if (c)
		return c;
	error_set(err, ERROR_INVALID, "container \"%.128s\" not found", id);
	if (err)
		err->status = TTRPC_INVALID_ARGUMENT;
	return NULL;
}

/* An id may be made once at a time. A slot, or NULL. */
static char **reserve(struct sandbox *s, const char *id, struct error *err)
{
	char **slot = NULL;
	if (!s->created) {
		error_set(err, ERROR_INVALID, "no sandbox was created yet");
		return NULL;
	}
	bool taken = find_locked(s, id) != NULL;
	for (size_t i = 0; i < array_size(s->creating); i++) {
		if (!s->creating[i])
			slot = &s->creating[i];
		else if (!strcmp(s->creating[i], id))
			taken = true;
	}
	if (taken) {
		error_set(err, ERROR_EXISTS, "container %.128s is there already", id);
		return NULL;
	}
	if (!slot || !(*slot = strdup(id))) {
		error_set(err, ERROR_CAPACITY, "too many containers are being made");
		return NULL;
	}
	return slot;
}

/* The PID namespace of the sandbox container, as a path. */
static void shared_pid_namespace(struct sandbox *s, char *path, size_t size)
{
	path[0] = 0;
	for (struct container *c = s->containers; c; c = c->next) {
		pid_t pid = c->is_sandbox ? container_pid(c) : 0;
		if (pid)
			snprintf(path, size, "/proc/%d/ns/pid", (int)pid);
	}
}

int sandbox_create_container(struct sandbox *s, const Agent__CreateContainerRequest *request,
	const struct bound *bound, struct error *err)
{
	char pid_ns[64];
	pthread_mutex_lock(&s->lock);
	char **slot = reserve(s, request->container_id, err);
	shared_pid_namespace(s, pid_ns, sizeof(pid_ns));
	pthread_mutex_unlock(&s->lock);
	if (!slot)
		return -1;
	struct container_host host = {
		.places = &s->places,
		.crun = &s->crun,
		.cgroups = &s->cgroups,
		.ipc_ns = s->ipc_ns,
		.uts_ns = s->uts_ns,
		.pid_ns = *pid_ns ? pid_ns : NULL,
	};
	struct container *c = container_create(request, &host, bound, err);
	pthread_mutex_lock(&s->lock);
	free(*slot);
	*slot = NULL;
	if (c) {
		c->next = s->containers;
		s->containers = c;
	}
	pthread_mutex_unlock(&s->lock);
	return c ? 0 : -1;
}

int sandbox_remove_container(struct sandbox *s, const char *id, const struct bound *bound,
	struct error *err)
{
	cleanup(container_unref_ptr) struct container *c = sandbox_container(s, id, err);
	if (!c)
		return -1;
	if (container_remove(c, bound, err) < 0)
		return -1;
	pthread_mutex_lock(&s->lock);
	struct container **at = &s->containers;
	while (*at && *at != c)
		at = &(*at)->next;
	bool found = *at != NULL;
	if (found)
		*at = c->next;
	pthread_mutex_unlock(&s->lock);
	if (found)
		container_unref(c);
	return 0;
}

static char *find_oom(struct sandbox *s)
{
	char *id = NULL;
	pthread_mutex_lock(&s->lock);
	for (struct container *c = s->containers; c && !id; c = c->next) {
		uint64_t kills = cgroup_oom_kills(&c->cgroup);
		if (kills > c->oom_kills)
			id = strdup(c->id);
		c->oom_kills = kills;
	}
	pthread_mutex_unlock(&s->lock);
	return id;
}

int sandbox_wait_oom(struct sandbox *s, char **id, const struct bound *bound, struct error *err)
{
	while (!(*id = find_oom(s))) {
		if (bound_sleep(bound, OOM_INTERVAL_NS, "no container ran out of memory", err) < 0)
			return -1;
	}
	return 0;
}
