/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.c - see container.h
 *
 * A container is a folder with its config.json, a root file system, a cgroup and what crun keeps
 * about it. All of it is made before crun is asked, and container_remove takes away whatever is
 * there, so a creation that fails half way leaves nothing.
 */
#include "container.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "oci.h"
#include "storage.h"
#include "ttrpc/frame.h"

#define ID_MAX 128
#define CONFIG_MAX ((size_t)1 << 20)
/* The kubelet keeps 4 KiB of a termination message. */
#define TERMINATION_LOG_MAX ((size_t)64 << 10)

static int check_id(const char *id, struct error *err)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t len = strlen(id);
	if (!len || len > ID_MAX || id[0] == '.' || strspn(id, allowed) != len)
		return error_set(err, ERROR_INVALID,
			"container id \"%.*s\" is not 1 to %d letters, digits, '_', '-' and '.'",
			ID_MAX, id, ID_MAX);
	return 0;
}

static const char *annotation(const Agent__Spec *spec, const char *key)
{
	for (size_t i = 0; i < spec->n_annotations; i++)
		if (!strcmp(spec->annotations[i]->key, key))
			return spec->annotations[i]->value;
	return NULL;
}

static bool describes_sandbox(const Agent__Spec *spec)
{
	static const char *const keys[] = {"io.kubernetes.cri.container-type",
		"io.kubernetes.cri-o.ContainerType"};
	for (size_t i = 0; i < array_size(keys); i++) {
		const char *type = annotation(spec, keys[i]);
		if (type && !strcmp(type, "sandbox"))
			return true;
	}
	return false;
}

/* Where the termination message lies: a mount on its path, or the path in the root file system. */
static void find_termination_log(struct container *c, const Agent__Spec *spec)
{
	const char *path = annotation(spec, "io.kubernetes.container.terminationMessagePath");
	if (!path || *path != '/')
		return;
	c->log_in_rootfs = true;
	for (size_t i = 0; i < spec->n_mounts; i++) {
		if (strcmp(spec->mounts[i]->destination, path) != 0)
			continue;
		path = spec->mounts[i]->source;
		c->log_in_rootfs = false;
		break;
	}
	c->termination_log = strdup(path);
}

/* ---- making ---------------------------------------------------------------------------------- */

static const Agent__Storage *find_image(const Agent__CreateContainerRequest *request,
	struct error *err)
{
	for (size_t i = 0; i < request->n_storages; i++)
		if (!strcmp(request->storages[i]->driver, "image_guest_pull"))
			return request->storages[i];
	error_set(err, ERROR_UNSUPPORTED,
		"no image_guest_pull storage: mini-agent makes root file systems from its bundles only");
	return NULL;
}

static json_t *read_bundle_config(const char *bundle, struct error *err)
{
	cleanup(free_ptr) char *path = NULL;
	cleanup(buf_free) struct buf text = BUF_INIT;
	cleanup_error missing = ERROR_INIT;
	if (asprintf(&path, "%s/config.json", bundle) < 0) {
		error_set_errno(err, ENOMEM, "bundle");
		return NULL;
	}
	if (file_read(path, CONFIG_MAX, &text, &missing) == 0)
		return json_parse(path, text.data, text.len, CONFIG_MAX, false, err);
	if (missing.kind == ERROR_GONE)
		return json_object();
	error_move(err, &missing);
	return NULL;
}

/* Fills the root file system and finds what the bundle says about its process. */
static json_t *make_rootfs(struct container *c, const struct container_host *host,
	const Agent__Storage *image, bool *built_in_pause, struct error *err)
{
	if (storage_check_path(image->mount_point, err) < 0)
		return NULL;
	cleanup(free_ptr) char *name = bundle_name(image->source), *bundle = NULL, *root = NULL;
	if (!name) {
		error_set(err, ERROR_INVALID, "image \"%s\" has no name", image->source);
		return NULL;
	}
	if (asprintf(&bundle, "%s/%s", host->places->bundles, name) < 0 ||
		asprintf(&root, "%s/rootfs", bundle) < 0) {
		error_set_errno(err, ENOMEM, "bundle");
		return NULL;
	}
	if (access(root, F_OK) < 0) {
		if (c->is_sandbox) {
			*built_in_pause = true;
			return rootfs_for_pause(&c->rootfs, image->mount_point, err) < 0
				       ? NULL
				       : json_object();
		}
		error_set(err, ERROR_GONE,
			"image %s: there is no bundle %s; mini-agent pulls nothing, it runs what is in its bundles",
			image->source, root);
		return NULL;
	}
	cleanup_json *config = read_bundle_config(bundle, err);
	if (!config || rootfs_from_bundle(&c->rootfs, image->mount_point, root,
			       host->places->scratch, c->id, err) < 0)
		return NULL;
	return take_ptr(config);
}

static int write_json(const struct container *c, const char *name, const json_t *json,
	struct error *err)
{
	cleanup(free_ptr) char *path = NULL;
	cleanup(free_ptr) char *text = json_dumps(json, JSON_INDENT(1));
	if (!text || asprintf(&path, "%s/%s", c->folder, name) < 0)
		return error_set_errno(err, ENOMEM, "%s", name);
	return file_write(path, 0600, text, strlen(text), err);
}

static int write_config(struct container *c, const Agent__CreateContainerRequest *request,
	const struct container_host *host, const Agent__Storage *image, struct error *err)
{
	bool built_in_pause = false;
	cleanup_json *bundle = make_rootfs(c, host, image, &built_in_pause, err);
	if (!bundle)
		return -1;
	struct oci_frame frame = {
		.rootfs = c->rootfs.path,
		.ipc_ns = host->ipc_ns,
		.uts_ns = host->uts_ns,
		.pid_ns = request->sandbox_pidns ? host->pid_ns : NULL,
		.with_cgroup_mount = !host->crun->hide_cgroups,
		.bundle = bundle,
		.only_args = built_in_pause ? "/pause" : NULL,
	};
	cleanup_json *config = oci_config(request->oci, &frame, err);
	return config ? write_json(c, "config.json", config, err) : -1;
}

static struct container *new_container(const Agent__CreateContainerRequest *request,
	const struct container_host *host, struct error *err)
{
	struct container *c = calloc(1, sizeof(*c));
	if (!c || !(c->id = strdup(request->container_id)) ||
		asprintf(&c->folder, "%s/containers/%s", host->places->state, c->id) < 0) {
		if (c)
			free(c->id);
		free(c);
		error_set_errno(err, ENOMEM, "container");
		return NULL;
	}
	c->crun = host->crun;
	c->places = host->places;
	c->is_sandbox = describes_sandbox(request->oci);
	atomic_init(&c->references, 1);
	pthread_mutex_init(&c->busy, NULL);
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

struct container *container_ref(struct container *c)
{
	atomic_fetch_add(&c->references, 1);
	return c;
}

void container_unref(struct container *c)
{
	if (atomic_fetch_sub(&c->references, 1) != 1)
		return;
	while (c->processes) {
		struct process *process = c->processes;
		c->processes = process->next;
		process_unref(process);
	}
	pthread_mutex_destroy(&c->busy);
	pthread_mutex_destroy(&c->lock);
	free(c->termination_log);
	free(c->folder);
	free(c->id);
	free(c);
}

static void list_process(struct container *c, struct process *process)
{
	pthread_mutex_lock(&c->lock);
	process->next = c->processes;
	c->processes = process_ref(process);
	pthread_mutex_unlock(&c->lock);
}

/* Starts a process with its stdio: process_file NULL is the container's first. */
static int launch(struct container *c, struct process *process, const char *process_file,
	const struct bound *bound, struct error *err)
{
	struct process_ends ends;
	int result = process_open(process, c->places->state, &ends, err);
	struct crun_stdio stdio = {
		.fds = {ends.fds[0], ends.fds[1], ends.fds[2]},
		.console_socket = ends.console_path[0] ? ends.console_path : NULL,
		.cgroups = (const char *const *)c->cgroup.procs,
	};
	if (result == 0)
		result = process_file ? crun_exec(c->crun, c->id, process_file, &stdio,
						&process->child, bound, err)
				      : crun_create(c->crun, c->id, c->folder, &stdio,
						&process->child, bound, err);
	if (result == 0)
		result = process_opened(process, &ends, bound, err);
	process_ends_close(&ends);
	return result;
}

static int create(struct container *c, const Agent__CreateContainerRequest *request,
	const struct container_host *host, const struct bound *bound, struct error *err)
{
	const Agent__Storage *image = find_image(request, err);
	const Agent__Linux *config = request->oci->linux;
	struct cgroup_limits limits = cgroup_limits_of(config ? config->resources : NULL);
	if (!image || dir_make(c->folder, 0700, err) < 0 ||
		storages_make(request->storages, request->n_storages, err) < 0 ||
		cgroup_make(host->cgroups, c->id, &c->cgroup, err) < 0 ||
		cgroup_limit(&c->cgroup, &limits, err) < 0 ||
		write_config(c, request, host, image, err) < 0)
		return -1;
	find_termination_log(c, request->oci);
	bool terminal = request->oci->process->terminal;
	cleanup(process_unref_ptr) struct process *process = process_new(c->id, terminal, err);
	if (!process || launch(c, process, NULL, bound, err) < 0)
		return -1;
	list_process(c, process);
	return 0;
}

struct container *container_create(const Agent__CreateContainerRequest *request,
	const struct container_host *host, const struct bound *bound, struct error *err)
{
	if (check_id(request->container_id, err) < 0)
		return NULL;
	if (!request->oci) {
		error_set(err, ERROR_INVALID, "no OCI specification");
		return NULL;
	}
	struct container *c = new_container(request, host, err);
	if (!c)
		return NULL;
	if (create(c, request, host, bound, err) < 0) {
		struct bound enough = {.deadline_ns = deadline_in(10 * NS_PER_S)};
		container_remove(c, &enough, NULL);
		container_unref(c);
		return NULL;
	}
	return c;
}

/* ---- running --------------------------------------------------------------------------------- */

static void unlock(pthread_mutex_t **lock)
{
	pthread_mutex_unlock(*lock);
}

#define busy_scope(container)                                        \
	cleanup(unlock) pthread_mutex_t *busy_ = &(container)->busy; \
	pthread_mutex_lock(busy_)

int container_start(struct container *c, const struct bound *bound, struct error *err)
{
	busy_scope(c);
	if (c->started || c->removed)
		return error_set(err, ERROR_INVALID, "container %s was started before", c->id);
	if (crun_start(c->crun, c->id, bound, err) < 0)
		return -1;
	c->started = true;
	return 0;
}

int container_exec(struct container *c, const char *exec_id, const Agent__Process *request,
	const struct bound *bound, struct error *err)
{
	if (check_id(exec_id, err) < 0)
		return error_prefix(err, "exec");
	busy_scope(c);
	cleanup(process_unref_ptr) struct process *known = container_process(c, exec_id, NULL);
	if (known)
		return error_set(err, ERROR_EXISTS, "process %s is there already", exec_id);
	if (!c->started || c->removed || !container_pid(c))
		return error_set(err, ERROR_INVALID, "container %s does not run", c->id);
	cleanup_json *json = oci_process(request, NULL, err);
	cleanup(free_ptr) char *file = NULL;
	if (!json || write_json(c, "process.json", json, err) < 0)
		return -1;
	if (asprintf(&file, "%s/process.json", c->folder) < 0)
		return error_set_errno(err, ENOMEM, "exec");
	cleanup(process_unref_ptr) struct process *process =
		process_new(exec_id, request->terminal, err);
	int result = process ? launch(c, process, file, bound, err) : -1;
	unlink(file);
	if (result == 0)
		list_process(c, process);
	return result;
}

int container_remove(struct container *c, const struct bound *bound, struct error *err)
{
	busy_scope(c);
	if (c->removed)
		return 0;
	cleanup_error refused = ERROR_INIT;
	if (crun_delete(c->crun, c->id, bound, &refused) < 0 &&
		!strstr(error_message(&refused), "not exist"))
		log_warn("container %s: %s", c->id, error_message(&refused));
	cgroup_remove(&c->cgroup);
	rootfs_remove(&c->rootfs);
	c->removed = true;
	return tree_remove(c->folder, err);
}

/* What lies there is the container's: a link must not lead out of its root, and what is no file may keep a reader. */
int container_read_termination_log(struct container *c, struct buf *text, struct error *err)
{
	busy_scope(c);
	if (!c->termination_log || c->removed)
		return 0;
	cleanup(close_fd) int root =
		open(c->log_in_rootfs ? c->rootfs.path : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct open_how how = {
		.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	cleanup(close_fd) int fd =
		(int)syscall(SYS_openat2, root, c->termination_log, &how, sizeof(how));
	struct stat st;
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "termination message of container %s", c->id);
	if (!S_ISREG(st.st_mode))
		return error_set(err, ERROR_INVALID,
			"termination message of container %s: it is no file", c->id);
	uint8_t *at = buf_reserve(text, TERMINATION_LOG_MAX);
	if (!at)
		return error_set(err, ERROR_CAPACITY, "termination message: out of memory");
	off_t from = st.st_size > (off_t)TERMINATION_LOG_MAX
			     ? st.st_size - (off_t)TERMINATION_LOG_MAX
			     : 0;
	ssize_t n = pread(fd, at, TERMINATION_LOG_MAX, from);
	if (n < 0)
		return error_set_errno(err, errno, "termination message of container %s", c->id);
	text->len += (size_t)n;
	if (buf_reserve(text, 0))
		text->data[text->len] = 0;
	return 0;
}

/* ---- processes ------------------------------------------------------------------------------- */

struct process *container_process(struct container *c, const char *exec_id, struct error *err)
{
	const char *wanted = *exec_id ? exec_id : c->id;
	pthread_mutex_lock(&c->lock);
	struct process *process = c->processes;
	while (process && strcmp(process->exec_id, wanted))
		process = process->next;
	if (process)
		process_ref(process);
	pthread_mutex_unlock(&c->lock);
	if (process)
		return process;
	error_set(err, ERROR_GONE, "process %s not found in container %s", wanted, c->id);
	if (err)
		err->status = TTRPC_NOT_FOUND;
	return NULL;
}

void container_forget(struct container *c, struct process *process)
{
	pthread_mutex_lock(&c->lock);
	struct process **at = &c->processes;
	while (*at && *at != process)
		at = &(*at)->next;
	bool found = *at != NULL;
	if (found)
		*at = process->next;
	pthread_mutex_unlock(&c->lock);
	if (found)
		process_unref(process);
}

pid_t container_pid(struct container *c)
{
	cleanup(process_unref_ptr) struct process *first = container_process(c, "", NULL);
	return first && !child_exited(&first->child, NULL) ? first->child.pid : 0;
}

/* The first process of a PID namespace never gets a signal that it has no handler for. */
static bool handles(pid_t pid, int number)
{
	char path[64];
	cleanup(buf_free) struct buf text = BUF_INIT;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (file_read(path, 65536, &text, NULL) < 0)
		return true;
	unsigned long long mask = 1ULL << (number - 1);
	static const char key[] = "\nSigCgt:";
	const char *line = strstr(buf_text(&text), key);
	return line && (strtoull(line + strlen(key), NULL, 16) & mask);
}

int container_signal(struct container *c, struct process *process, bool whole, int number,
	struct error *err)
{
	if (number < 1 || number > 64)
		return error_set(err, ERROR_INVALID, "%d is not a signal", number);
	pid_t pid = process->child.pid;
	if (number == SIGTERM && !strcmp(process->exec_id, c->id) && !handles(pid, SIGTERM)) {
		log_debug("container %s does not handle SIGTERM: SIGKILL instead", c->id);
		number = SIGKILL;
	}
	int result = child_signal(&process->child, number, err);
	if (whole)
		cgroup_signal(&c->cgroup, number, pid);
	return result;
}
