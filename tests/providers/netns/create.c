/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create.c - the netns driver makes an instance, or finds the one that its token has made already
 *
 * With the token's lock held: the record, the user data, then netns-instance, which makes the namespaces and inherits the lock.
 */
#include "driver.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "network.h"

static void strings_free(char ***strings)
{
	for (char **s = *strings; s && *s; s++)
		free(*s);
	free(*strings);
}

static char *cidr_of(const struct provider *p, const struct record *record, size_t nic)
{
	char *text = NULL;
	if (nic >= record->address_count)
		return strdup("");
	return asprintf(&text, "%s/%d", record->addresses[nic], p->prefix) < 0 ? NULL : text;
}

/* The command line of netns-instance; holds nothing secret. NULL: no memory. */
static char **command_line(const struct provider *p, const char *token, const struct record *record)
{
	char folder[PATH_MAX], program[PATH_MAX];
	state_path(p->values->state_dir, token, NULL, folder, sizeof(folder));
	snprintf(program, sizeof(program), "%s/netns-instance", p->bin_dir);
	cleanup(free_ptr) char *first = cidr_of(p, record, 0), *second = cidr_of(p, record, 1);
	char mtu[24];
	if (!first || !second || !p->bundles)
		return NULL;
	snprintf(mtu, sizeof(mtu), "%lld", (long long)p->values->mtu);
	const struct {
		const char *flag, *value;
	} flags[] = {{"-dir", folder}, {"-token", token}, {"-hostname", record->name},
		{"-bridge", p->values->bridge}, {"-address", first}, {"-second-address", second},
		{"-gateway", p->gateway}, {"-bin-dir", p->bin_dir}, {"-bundles", p->bundles},
		{"-mtu", mtu}, {"-agent", p->values->agent},
		{"-forwarder-options", p->values->forwarder_options}};
	cleanup(strings_free) char **argv = calloc(2 * array_size(flags) + 2, sizeof(char *));
	if (!argv || !(argv[0] = strdup(program)))
		return NULL;
	for (size_t i = 0; i < array_size(flags); i++)
		if (!(argv[2 * i + 1] = strdup(flags[i].flag)) ||
			!(argv[2 * i + 2] = strdup(flags[i].value)))
			return NULL;
	return take_ptr(argv);
}

/* Starts netns-instance with the lock as descriptor 3 and its words into report; nothing else is inherited. */
static int spawn_instance(char **argv, int lock, int report, pid_t *pid, struct error *err)
{
	posix_spawn_file_actions_t actions;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, report, STDERR_FILENO);
	posix_spawn_file_actions_adddup2(&actions, lock, 3);
	posix_spawn_file_actions_addclosefrom_np(&actions, 4);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	int rc = posix_spawn(pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return rc ? error_set_errno(err, rc, "run %s", argv[0]) : 0;
}

/* Reads what netns-instance says until it and its child have closed the pipe: nothing is good news. */
static int read_report(int fd, const struct bound *bound, struct error *err)
{
	char text[2048];
	size_t len = 0;
	for (;;) {
		if (bound_poll(bound, fd, POLLIN | POLLHUP, "netns-instance", err) < 0)
			return -1;
		ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || len + (size_t)n == sizeof(text) - 1)
			break;
		len += (size_t)n;
	}
	while (len && text[len - 1] == '\n')
		len--;
	return len ? error_set(err, ERROR_INTERNAL, "netns-instance: %.*s", (int)len, text) : 0;
}

static int start_instance(struct provider *p, const char *token, const struct record *record,
	int lock, const struct bound *bound, struct error *err)
{
	cleanup(strings_free) char **argv = command_line(p, token, record);
	if (!argv)
		return error_set(err, ERROR_INTERNAL, "no memory");
	int ends[2];
	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "make a pipe");
	cleanup(close_fd) int report = ends[0], write_end = ends[1];
	/* dup2 onto itself would leave the close-on-exec flag; descriptor 3 is the lock's place. */
	cleanup(close_fd) int held = fcntl(lock, F_DUPFD_CLOEXEC, 4);
	cleanup(close_fd) int words = fcntl(write_end, F_DUPFD_CLOEXEC, 4);
	pid_t pid;
	if (held < 0 || words < 0)
		return error_set_errno(err, errno, "duplicate descriptors");
	if (spawn_instance(argv, held, words, &pid, err) < 0)
		return -1;
	close(take_fd(&write_end));
	close(take_fd(&words));
	fault_point("netns-create-spawned");
	int rc = read_report(report, bound, err);
	if (rc < 0)
		kill(pid,
			SIGKILL); /* its child sees that and ends; take_down finds what is noted */
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (rc == 0 && status)
		return error_set(err, ERROR_INTERNAL, "netns-instance ended with status %d",
			status);
	return rc;
}

static int make_record(const struct instance_request *request, struct record *record,
	struct error *err)
{
	*record = (struct record){
		.name = strdup(request->name ? request->name : "podvm"),
		.cluster = strdup(request->owner.cluster ? request->owner.cluster : ""),
		.node = strdup(request->owner.node ? request->owner.node : ""),
		.pod_namespace =
			strdup(request->owner.pod_namespace ? request->owner.pod_namespace : ""),
		.pod = strdup(request->owner.pod ? request->owner.pod : ""),
		.sandbox = strdup(request->owner.sandbox ? request->owner.sandbox : ""),
		.created = (int64_t)time(NULL),
	};
	if (record->name && record->cluster && record->node && record->pod_namespace &&
		record->pod && record->sandbox)
		return 0;
	return error_set(err, ERROR_INTERNAL, "no memory");
}

/* With the lock held and nothing of this token there. */
static int make_instance(struct provider *p, const struct instance_request *request,
	struct record *record, int lock, const struct bound *bound, struct error *err)
{
	const char *dir = p->values->state_dir, *token = request->token;
	if (make_record(request, record, err) < 0)
		return -1;
	size_t nics = request->second_nic ? 2 : 1;
	for (size_t i = 0; i < nics; i++) {
		if (state_reserve_address(dir, p->values->subnet, token, record->addresses[i],
			    sizeof(record->addresses[i]), bound, err) < 0)
			return -1;
		record->address_count++;
	}
	if (state_write(dir, token, record, err) < 0)
		return -1;
	fault_point("netns-create-recorded");
	if (p->values->create_delay_ns &&
		bound_sleep(bound, p->values->create_delay_ns, "NETNS_CREATE_DELAY", err) < 0)
		return -1;
	char path[PATH_MAX];
	state_path(dir, token, "user-data", path, sizeof(path));
	if (file_write(path, 0600, request->user_data, request->user_data_len, err) < 0 ||
		network_bridge(p->values->bridge, p->gateway_cidr, err) < 0)
		return -1;
	return start_instance(p, token, record, lock, bound, err);
}

/* What create answers. Where addresses are ordered to come late, they are not known yet. */
static int answer(const struct provider *p, const char *token, struct record *record,
	struct instance *instance, struct error *err)
{
	if (p->values->address_delay_ns)
		record->address_count = 0;
	return instance_fill(token, record, instance, err);
}

int driver_create(struct provider *p, const struct instance_request *request,
	struct instance *instance, const struct bound *bound, struct error *err)
{
	const char *dir = p->values->state_dir, *token = request->token;
	if (trouble_due(&p->troubles, "create", err) < 0 || state_check_token(token, err) < 0)
		return -1;
	uint64_t began = clock_ns();
	cleanup(close_fd) int lock = -1;
	cleanup(record_free) struct record record = {0};
	cleanup_error failure = ERROR_INIT;
	if (state_lock(dir, token, true, bound, &lock, err) < 0)
		return -1;
	if (state_read(dir, token, &record, &failure) == 0) {
		if (state_process(dir, token, NULL))
			return answer(p, token, &record, instance, err);
		/* Half made, or its processes have died: begin anew. */
		if (instance_take_down(p, token, &record, bound, err) < 0)
			return error_prefix(err, "remove what is left of an earlier attempt");
		record_free(&record);
		record = (struct record){0};
	} else if (failure.kind != ERROR_GONE)
		return error_move(err, &failure);

	if (make_instance(p, request, &record, lock, bound, err) < 0) {
		/* The cause may be that the time is up: clean up with a little time of its own. */
		struct bound spare = {.deadline_ns = deadline_in(10 * NS_PER_S)};
		cleanup_error left = ERROR_INIT;
		if (instance_take_down(p, token, &record, &spare, &left) < 0)
			return error_append(err, "; not removed: %s", error_message(&left));
		state_forget(dir, token);
		return -1;
	}
	fault_point("netns-create-done");
	log_info("netns: instance " ID_PREFIX "%s at %s made in %.1f ms", token,
		record.addresses[0], (double)(clock_ns() - began) / 1e6);
	return answer(p, token, &record, instance, err);
}
