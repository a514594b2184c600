/* SPDX-License-Identifier: Apache-2.0 */
/*
 * instance.c - netns-instance: makes one instance of the netns driver and leaves it running
 *
 * The driver runs this program with the token's lock as descriptor 3 and a pipe as standard error. It makes a
 * child in new mount, PID, UTS and network namespaces, notes which process that is, gives it its NICs, and
 * ends as soon as the child has become podvm-init: status 0, or 1 with the reason on standard error. Child and
 * parent hold the lock until then, so whoever waits for it sees an instance that is whole, or none.
 *
 * The child is a session of its own and outlives whoever started all this. If this program dies half-way,
 * the child sees the end of the pipe between them and ends too.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/sched.h>
#include <net/if.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/option.h"
#include "network.h"
#include "root.h"

struct values {
	char *dir, *token, *hostname, *bridge, *address, *second_address, *gateway;
	char *bin_dir, *bundles, *agent, *forwarder_options;
	int64_t mtu;
};

#define AT(member) offsetof(struct values, member)
static const struct option options[] = {
	{"dir", NULL, NULL, "folder of the instance", AT(dir), OPTION_STRING, .required = true},
	{"token", NULL, NULL, "its token", AT(token), OPTION_STRING, .required = true},
	{"hostname", NULL, "podvm", "host name inside", AT(hostname), OPTION_STRING},
	{"bridge", NULL, NULL, "bridge of the underlay", AT(bridge), OPTION_STRING,
		.required = true},
	{"address", NULL, NULL, "address of eth0 (CIDR)", AT(address), OPTION_STRING,
		.required = true},
	{"second-address", NULL, NULL, "address of eth1 (CIDR)", AT(second_address), OPTION_STRING},
	{"gateway", NULL, NULL, "default gateway", AT(gateway), OPTION_STRING, .required = true},
	{"mtu", NULL, "0", "MTU of eth0 and eth1; 0: the kernel's 1500", AT(mtu), OPTION_INT,
		.min = 0, .max = 65535},
	{"bin-dir", NULL, NULL, "folder of podvm-init and what it starts", AT(bin_dir),
		OPTION_STRING, .required = true},
	{"bundles", NULL, NULL, "folder of root file systems", AT(bundles), OPTION_STRING},
	{"agent", NULL, NULL, "agent to start", AT(agent), OPTION_STRING},
	{"forwarder-options", NULL, NULL, "more options for the forwarder", AT(forwarder_options),
		OPTION_STRING},
};

static void path_in(const struct values *v, const char *name, char *path, size_t size)
{
	snprintf(path, size, "%s/%s", v->dir, name);
}

/* ---- the child -------------------------------------------------------------------------------------- */

static int redirect(const char *path, int flags, mode_t mode, int to, struct error *err)
{
	cleanup(close_fd) int fd = open(path, flags | O_CLOEXEC, mode);
	if (fd < 0 || dup2(fd, to) < 0)
		return error_set_errno(err, errno, "open %s", path);
	return 0;
}

/* Waits until the parent has attached the NICs; false: the parent is gone. */
static bool wait_for_go(int fd)
{
	char byte;
	ssize_t n;
	while ((n = read(fd, &byte, 1)) < 0 && errno == EINTR)
		;
	return n == 1;
}

static int become_init(const struct values *v, struct error *err)
{
	char program[PATH_MAX];
	snprintf(program, sizeof(program), "%s/podvm-init", v->bin_dir);
	const char *argv[16] = {program, "-container", "-bin-dir", v->bin_dir};
	size_t argc = 4;
	const struct {
		const char *flag, *value;
	} optional[] = {{"-bundles", v->bundles}, {"-agent", v->agent},
		{"-forwarder-options", v->forwarder_options}};
	for (size_t i = 0; i < array_size(optional); i++)
		if (*optional[i].value) {
			argv[argc++] = optional[i].flag;
			argv[argc++] = optional[i].value;
		}

	/* Nothing of the driver's environment is for the pod VM, except how sanitizers report. */
	char *environment[8] = {
		(char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
	static const char *const kept[] = {"ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS",
		"LSAN_OPTIONS"};
	size_t count = 1;
	for (size_t i = 0; i < array_size(kept); i++)
		if (getenv(kept[i]) &&
			asprintf(&environment[count], "%s=%s", kept[i], getenv(kept[i])) > 0)
			count++;
	execve(program, (char *const *)argv, environment);
	return error_set_errno(err, errno, "run %s (is it built?)", program);
}

/* Returns only when something failed. */
static int child_run(const struct values *v, int go, struct error *err)
{
	char console[PATH_MAX], user_data[PATH_MAX], root[PATH_MAX];
	path_in(v, "console.log", console, sizeof(console));
	path_in(v, "user-data", user_data, sizeof(user_data));
	path_in(v, "root", root, sizeof(root));
	setsid();
	umask(0022);
	if (redirect("/dev/null", O_RDONLY, 0, STDIN_FILENO, err) < 0 ||
		redirect(console, O_WRONLY | O_CREAT | O_APPEND, 0600, STDOUT_FILENO, err) < 0 ||
		root_enter(root, v->token, user_data, err) < 0)
		return -1;
	if (sethostname(v->hostname, strlen(v->hostname)) < 0)
		return error_set_errno(err, errno, "set the host name");
	if (!wait_for_go(go))
		return error_set(err, ERROR_CANCELED, "netns-instance has ended");
	if (network_configure("lo", NULL, NULL, 0, err) < 0 ||
		network_configure("eth0", v->address, v->gateway, (unsigned)v->mtu, err) < 0)
		return -1;
	if (*v->second_address &&
		network_configure("eth1", v->second_address, NULL, (unsigned)v->mtu, err) < 0)
		return -1;
	/* From here on, words go to the console: the reporting pipe closes when podvm-init starts. */
	int report = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	if (report < 0 || dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
		return error_set_errno(err, errno, "redirect to the console");
	become_init(v, err);
	dup2(report, STDERR_FILENO);
	return -1;
}

/* ---- the parent -------------------------------------------------------------------------------------- */

static int note_process(const struct values *v, pid_t pid, struct error *err)
{
	char path[PATH_MAX], stat[64];
	snprintf(stat, sizeof(stat), "/proc/%d/stat", (int)pid);
	cleanup(buf_free) struct buf text = BUF_INIT;
	unsigned long long start;
	if (file_read(stat, 4096, &text, err) < 0)
		return -1;
	const char *after = strrchr(buf_text(&text), ')');
	if (!after ||
		sscanf(after + 1,
			" %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
			&start) != 1)
		return error_set(err, ERROR_INTERNAL, "%s: unexpected form", stat);
	char line[64];
	int len = snprintf(line, sizeof(line), "%d %llu\n", (int)pid, start);
	path_in(v, "process", path, sizeof(path));
	return file_write(path, 0600, line, (size_t)len, err);
}

static int attach_nics(const struct values *v, pid_t pid, struct error *err)
{
	size_t nics = *v->second_address ? 2 : 1;
	for (size_t i = 0; i < nics; i++) {
		char host_end[IF_NAMESIZE], guest_end[8];
		network_link_name(v->token, i, host_end, sizeof(host_end));
		snprintf(guest_end, sizeof(guest_end), "eth%zu", i);
		if (network_attach(v->bridge, host_end, pid, guest_end, err) < 0)
			return -1;
	}
	return 0;
}

/*
 * Like fork, with new namespaces. The raw call, as the C library's clone wants a stack; exit_signal as
 * fork's, so that waitpid works.
 */
static pid_t fork_into_namespaces(void)
{
	struct clone_args args = {
		.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWNET,
		.exit_signal = SIGCHLD,
	};
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static int instance_make(const struct values *v, struct error *err)
{
	char root[PATH_MAX];
	path_in(v, "root", root, sizeof(root));
	if (dir_make(root, 0700, err) < 0)
		return -1;
	int go[2];
	if (pipe2(go, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "make a pipe");
	cleanup(close_fd) int go_read = go[0], go_write = go[1];
	pid_t pid = fork_into_namespaces();
	if (pid < 0)
		return error_set_errno(err, errno, "make namespaces (are you root?)");
	if (pid == 0) {
		close(take_fd(&go_write));
		cleanup_error failure = ERROR_INIT;
		child_run(v, go_read, &failure);
		fprintf(stderr, "%s\n", error_message(&failure));
		_exit(1);
	}
	if (note_process(v, pid, err) < 0 || attach_nics(v, pid, err) < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return -1;
	}
	if (write(go_write, "g", 1) != 1)
		return error_set_errno(err, errno, "start the instance");
	return 0;
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	struct values values = {0};
	struct option_set set = {"Options", options, array_size(options), &values};
	bool help = false;
	cleanup_error err = ERROR_INIT;
	/* The lock ends with podvm-init's start, not with podvm-init. */
	fcntl(3, F_SETFD, FD_CLOEXEC);
	if (options_parse(&set, 1, argc - 1, argv + 1, NULL, &help, &err) < 0) {
		fprintf(stderr, "%s\n", error_message(&err));
		return 2;
	}
	if (help) {
		options_help(&set, 1, stdout);
		return 0;
	}
	setsid();
	int rc = instance_make(&values, &err);
	if (rc < 0)
		fprintf(stderr, "%s\n", error_message(&err));
	options_free(&set, 1);
	return rc < 0;
}
