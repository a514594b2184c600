/* SPDX-License-Identifier: Apache-2.0 */
/*
 * oci.c - see oci.h
 *
 * Left out on purpose: annotations (crun acts on some), the hostname (the sandbox's namespace has
 * it already), and rights and limits that this machine does not have to give: a container without
 * them runs, one that asks for them does not start.
 */
#include "oci.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"

static json_t *string_list(char *const *strings, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_string(strings[i]));
	return list;
}

/* ---- the process ----------------------------------------------------------------------------- */

/* In the order of their numbers. */
static const char *const capability_names[] = {"CAP_CHOWN", "CAP_DAC_OVERRIDE",
	"CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST",
	"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE",
	"CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN",
	"CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG",
	"CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
	"CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"};

#define CAP_SYS_RESOURCE_NUMBER 24

static bool machine_has(const char *capability)
{
	for (size_t i = 0; i < array_size(capability_names); i++)
		if (!strcasecmp(capability, capability_names[i]))
			return prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1;
	return false;
}

static json_t *capability_list(char *const *names, size_t count)
{
	json_t *list = json_array();
	for (size_t i = 0; i < count; i++) {
		if (machine_has(names[i]))
			json_array_append_new(list, json_string(names[i]));
		else
			log_debug("%s is not this machine's to give: left out", names[i]);
	}
	return list;
}

static json_t *capabilities_of(const Agent__LinuxCapabilities *c)
{
	/* clang-format off: a pair a line */
	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "bounding",
		capability_list(c->bounding, c->n_bounding), "effective",
		capability_list(c->effective, c->n_effective), "inheritable",
		capability_list(c->inheritable, c->n_inheritable), "permitted",
		capability_list(c->permitted, c->n_permitted), "ambient",
		capability_list(c->ambient, c->n_ambient));
	/* clang-format on */
}

static bool may_raise_limits(void)
{
	return prctl(PR_CAPBSET_READ, CAP_SYS_RESOURCE_NUMBER, 0, 0, 0) == 1;
}

static json_t *limits_of(const Agent__Process *process)
{
	static const struct {
		const char *name;
		int number;
	} names[] = {
		{"RLIMIT_AS", RLIMIT_AS},
		{"RLIMIT_CORE", RLIMIT_CORE},
		{"RLIMIT_CPU", RLIMIT_CPU},
		{"RLIMIT_DATA", RLIMIT_DATA},
		{"RLIMIT_FSIZE", RLIMIT_FSIZE},
		{"RLIMIT_LOCKS", RLIMIT_LOCKS},
		{"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
		{"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
		{"RLIMIT_NICE", RLIMIT_NICE},
		{"RLIMIT_NOFILE", RLIMIT_NOFILE},
		{"RLIMIT_NPROC", RLIMIT_NPROC},
		{"RLIMIT_RSS", RLIMIT_RSS},
		{"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
		{"RLIMIT_RTTIME", RLIMIT_RTTIME},
		{"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
		{"RLIMIT_STACK", RLIMIT_STACK},
	};
	json_t *list = json_array();
	for (size_t i = 0; i < process->n_rlimits; i++) {
		const Agent__POSIXRlimit *want = process->rlimits[i];
		uint64_t hard = want->hard, soft = want->soft;
		for (size_t j = 0; j < array_size(names) && !may_raise_limits(); j++) {
			struct rlimit have;
			if (strcmp(want->type, names[j].name) ||
				getrlimit(names[j].number, &have) < 0)
				continue;
			hard = hard < have.rlim_max ? hard : have.rlim_max;
			soft = soft < hard ? soft : hard;
		}
		json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "type", want->type, "hard",
						    (json_int_t)hard, "soft", (json_int_t)soft));
	}
	return list;
}

static int64_t own_oom_score(void)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (file_read("/proc/self/oom_score_adj", 32, &text, NULL) < 0)
		return 0;
	return strtoll(buf_text(&text), NULL, 10);
}

static int64_t oom_score_of(const Agent__Process *process)
{
	/* Lowering it takes a right that not every machine gives. */
	int64_t own = may_raise_limits() ? process->oomscoreadj : own_oom_score();
	return process->oomscoreadj < own ? own : process->oomscoreadj;
}

/* What the bundle says of its process: a borrowed reference or NULL. */
static const json_t *from_bundle(const json_t *bundle, const char *key)
{
	return json_object_get(json_object_get(bundle, "process"), key);
}

static json_t *list_or_bundles(char *const *strings, size_t count, const json_t *bundle,
	const char *key)
{
	const json_t *other = from_bundle(bundle, key);
	return !count && json_is_array(other) ? json_deep_copy(other) : string_list(strings, count);
}

static json_t *user_of(const Agent__User *user)
{
	json_t *groups = json_array();
	for (size_t i = 0; user && i < user->n_additionalgids; i++)
		json_array_append_new(groups, json_integer(user->additionalgids[i]));
	return json_pack("{s:I, s:I, s:o}", "uid", (json_int_t)(user ? user->uid : 0), "gid",
		(json_int_t)(user ? user->gid : 0), "additionalGids", groups);
}

json_t *oci_process(const Agent__Process *process, const json_t *bundle, struct error *err)
{
	const char *cwd = process->cwd;
	if (!*cwd)
		cwd = json_string_value(from_bundle(bundle, "cwd"));
	/* clang-format off: a pair a line */
	cleanup_json *json = json_pack("{s:b, s:o, s:o, s:o, s:s, s:b, s:I, s:o}", "terminal",
		process->terminal, "user", user_of(process->user), "args",
		list_or_bundles(process->args, process->n_args, bundle, "args"), "env",
		list_or_bundles(process->env, process->n_env, bundle, "env"), "cwd",
		cwd ? cwd : "/", "noNewPrivileges", process->nonewprivileges, "oomScoreAdj",
		(json_int_t)oom_score_of(process), "rlimits", limits_of(process));
	/* clang-format on */
	if (!json) {
		error_set(err, ERROR_INVALID, "process: a string in it is not UTF-8");
		return NULL;
	}
	if (json_array_size(json_object_get(json, "args")) == 0) {
		error_set(err, ERROR_INVALID, "process: no args, and the bundle names none");
		return NULL;
	}
	if (process->capabilities)
		json_object_set_new(json, "capabilities", capabilities_of(process->capabilities));
	if (process->consolesize && process->consolesize->height)
		json_object_set_new(json, "consoleSize",
			json_pack("{s:I, s:I}", "height", (json_int_t)process->consolesize->height,
				"width", (json_int_t)process->consolesize->width));
	return take_ptr(json);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static int check_bind(const Agent__Mount *mount, struct error *err)
{
	struct stat st;
	if (stat(mount->source, &st) < 0)
		return error_set_errno(err, errno, "mount of %s: source %s", mount->destination,
			mount->source);
	return 0;
}

static bool is_bind(const Agent__Mount *mount)
{
	if (!strcmp(mount->type, "bind"))
		return true;
	for (size_t i = 0; i < mount->n_options; i++)
		if (!strcmp(mount->options[i], "bind") || !strcmp(mount->options[i], "rbind"))
			return true;
	return false;
}

static json_t *mounts_of(const Agent__Spec *spec, const struct oci_frame *frame, struct error *err)
{
	cleanup_json *list = json_array();
	for (size_t i = 0; i < spec->n_mounts; i++) {
		const Agent__Mount *mount = spec->mounts[i];
		if (!strcmp(mount->type, "cgroup") && !frame->with_cgroup_mount) {
			log_debug("no mount on %s: this machine's cgroups are of version 1",
				mount->destination);
			continue;
		}
		if (is_bind(mount) && check_bind(mount, err) < 0)
			return NULL;
		json_t *item = json_pack("{s:s, s:s, s:s, s:o}", "destination", mount->destination,
			"type", mount->type, "source", mount->source, "options",
			string_list(mount->options, mount->n_options));
		if (!item) {
			error_set(err, ERROR_INVALID, "mount %zu: a string in it is not UTF-8", i);
			return NULL;
		}
		json_array_append_new(list, item);
	}
	return take_ptr(list);
}

static void add_namespace(json_t *list, const char *type, const char *path)
{
	json_t *item = json_pack("{s:s}", "type", type);
	if (path && *path)
		json_object_set_new(item, "path", json_string(path));
	json_array_append_new(list, item);
}

static json_t *namespaces_of(const Agent__Linux *config, const struct oci_frame *frame)
{
	json_t *list = json_array();
	add_namespace(list, "pid", frame->pid_ns);
	add_namespace(list, "mount", NULL);
	for (size_t i = 0; config && i < config->n_namespaces; i++) {
		const Agent__LinuxNamespace *ns = config->namespaces[i];
		if (!strcmp(ns->type, "pid") || !strcmp(ns->type, "mount"))
			continue;
		const char *path = !strcmp(ns->type, "ipc")   ? frame->ipc_ns
				   : !strcmp(ns->type, "uts") ? frame->uts_ns
							      : ns->path;
		add_namespace(list, ns->type, path);
	}
	return list;
}

static json_t *linux_of(const Agent__Linux *config, const struct oci_frame *frame)
{
	json_t *sysctl = json_object();
	for (size_t i = 0; config && i < config->n_sysctl; i++)
		json_object_set_new(sysctl, config->sysctl[i]->key,
			json_string(config->sysctl[i]->value));
	/* clang-format off: a pair a line */
	return json_pack("{s:o, s:o, s:o, s:o}", "namespaces", namespaces_of(config, frame),
		"sysctl", sysctl, "maskedPaths",
		config ? string_list(config->maskedpaths, config->n_maskedpaths) : json_array(),
		"readonlyPaths",
		config ? string_list(config->readonlypaths, config->n_readonlypaths)
		       : json_array());
	/* clang-format on */
}

json_t *oci_config(const Agent__Spec *spec, const struct oci_frame *frame, struct error *err)
{
	if (!spec->process) {
		error_set(err, ERROR_INVALID, "OCI: no process");
		return NULL;
	}
	cleanup_json *process = oci_process(spec->process, frame->bundle, err);
	cleanup_json *mounts = process ? mounts_of(spec, frame, err) : NULL;
	if (!mounts)
		return NULL;
	if (frame->only_args)
		json_object_set_new(process, "args", json_pack("[s]", frame->only_args));
	/* clang-format off: a pair a line */
	json_t *config = json_pack("{s:s, s:O, s:{s:s, s:b}, s:O, s:o}", "ociVersion", "1.0.2",
		"process", process, "root", "path", frame->rootfs, "readonly",
		spec->root && spec->root->readonly, "mounts", mounts, "linux",
		linux_of(spec->linux, frame));
	/* clang-format on */
	if (!config)
		error_set(err, ERROR_INVALID, "OCI: a string in it is not UTF-8");
	return config;
}
