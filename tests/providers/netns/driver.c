/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.c - the netns driver: an instance is a set of namespaces on this machine
 *
 * In them run the real programs of a pod VM (podvm-init as first process, process-user-data, the forwarder,
 * mini-agent), connected to the worker by a veth pair and a bridge: the whole path in milliseconds, for tests
 * of scale, faults and crashes. Instances are processes of their own and outlive the adaptor; what is known
 * about them is in files (state.h). Artificial delays and failures are ordered by options.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "cgroup.h"
#include "network.h"
#include "providers/provider.h"
#include "state.h"
#include "trouble.h"

/* An instance's id is this and the token: a look at an id tells whose it is. */
#define ID_PREFIX "netns-"

struct values {
	char *state_dir, *bridge, *subnet, *bin_dir, *bundles, *agent, *forwarder_options, *fail;
	uint64_t create_delay_ns, address_delay_ns;
	int64_t mtu;
};

#define AT(member) offsetof(struct values, member)
static const struct option options[] = {
	{"netns-state-dir", "NETNS_STATE_DIR", "/run/peerpod/netns",
		"folder with a folder per instance", AT(state_dir), OPTION_STRING,
		.required = true},
	{"netns-bridge", "NETNS_BRIDGE", "pp-netns0",
		"bridge that connects the instances, made if missing", AT(bridge), OPTION_STRING,
		.required = true},
	{"netns-subnet", "NETNS_SUBNET", "192.168.151.0/24",
		"addresses of the instances; the first one is the bridge's", AT(subnet),
		OPTION_STRING, .required = true},
	{"netns-bin-dir", "NETNS_BIN_DIR", NULL,
		"folder of netns-instance, podvm-init and the pod VM's programs; default: the one above the driver's",
		AT(bin_dir), OPTION_STRING},
	{"netns-bundles", "NETNS_BUNDLES", NULL,
		"folder of root file systems for mini-agent; default: bundles in the folder of the programs",
		AT(bundles), OPTION_STRING},
	{"netns-agent", "NETNS_AGENT", NULL, "agent to start instead of podvm-init's choice",
		AT(agent), OPTION_STRING},
	{"netns-forwarder-options", "NETNS_FORWARDER_OPTIONS", NULL,
		"more options for agent-protocol-forwarder", AT(forwarder_options), OPTION_STRING},
	{"netns-mtu", "NETNS_MTU", "0", "MTU of the instances' interfaces; 0: 1500", AT(mtu),
		OPTION_INT, .min = 0, .max = 65535},
	{"netns-create-delay", "NETNS_CREATE_DELAY", "0", "makes creation take this much longer",
		AT(create_delay_ns), OPTION_DURATION},
	{"netns-address-delay", "NETNS_ADDRESS_DELAY", "0", "makes addresses known this much later",
		AT(address_delay_ns), OPTION_DURATION},
	{"netns-fail", "NETNS_FAIL", NULL, "failures to act out: CALL:KIND[:COUNT],...", AT(fail),
		OPTION_STRING},
};

struct provider {
	const struct values *values;
	char *bin_dir, *bundles;
	char gateway_cidr[32], gateway[16];
	int prefix;
	struct troubles troubles;
};

/* ---- open and close --------------------------------------------------------------------------------- */

static void provider_close(struct provider *p)
{
	free(p->bin_dir);
	free(p->bundles);
	free(p);
}
DEFINE_CLEANUP(struct provider, provider_close)

/* build/providers/netns.so lies below the folder of the programs. */
static char *default_bin_dir(void)
{
	Dl_info info;
	if (!dladdr((const void *)&peerpod_provider, &info) || !info.dli_fname)
		return NULL;
	cleanup(free_ptr) char *path = realpath(info.dli_fname, NULL);
	for (int floors = 2; path && floors > 0; floors--) {
		char *slash = strrchr(path, '/');
		if (!slash)
			return NULL;
		*slash = '\0';
	}
	return take_ptr(path);
}

static struct provider *provider_open(const void *values, const struct bound *bound,
	struct error *err)
{
	(void)bound;
	const struct values *v = values;
	cleanup(provider_close_ptr) struct provider *p = calloc(1, sizeof(*p));
	if (!p) {
		error_set(err, ERROR_INTERNAL, "no memory");
		return NULL;
	}
	p->values = v;
	p->bin_dir = *v->bin_dir ? realpath(v->bin_dir, NULL) : default_bin_dir();
	if (!p->bin_dir) {
		error_set(err, ERROR_INVALID, "NETNS_BIN_DIR: no folder \"%s\"", v->bin_dir);
		return NULL;
	}
	if (*v->bundles)
		p->bundles = strdup(v->bundles);
	else if (asprintf(&p->bundles, "%s/bundles", p->bin_dir) < 0)
		p->bundles = NULL;
	if (strlen(v->bridge) >= IF_NAMESIZE) {
		error_set(err, ERROR_INVALID, "NETNS_BRIDGE: \"%s\" has more than %d characters",
			v->bridge, IF_NAMESIZE - 1);
		return NULL;
	}
	if (troubles_parse(v->fail, &p->troubles, err) < 0 ||
		state_gateway(v->subnet, p->gateway_cidr, sizeof(p->gateway_cidr), &p->prefix,
			err) < 0)
		return NULL;
	snprintf(p->gateway, sizeof(p->gateway), "%.*s", (int)strcspn(p->gateway_cidr, "/"),
		p->gateway_cidr);
	/* Now, as the adaptor looks for the interface that leads to the instances before there is one. */
	if (network_bridge(v->bridge, p->gateway_cidr, err) < 0)
		return NULL;
	return take_ptr(p);
}

static int provider_check(struct provider *p, struct check_report *report,
	const struct bound *bound, struct error *err)
{
	(void)bound;
	static const char *const programs[] = {"netns-instance", "podvm-init", "process-user-data",
		"agent-protocol-forwarder"};
	for (size_t i = 0; i < array_size(programs); i++) {
		char path[PATH_MAX];
		snprintf(path, sizeof(path), "%s/%s", p->bin_dir, programs[i]);
		if (access(path, X_OK) < 0)
			check_wrong(report, ERROR_INVALID, programs[i],
				"run make or set NETNS_BIN_DIR", "missing in %s", p->bin_dir);
		else
			check_right(report, programs[i], "%s", path);
	}
	if (geteuid() != 0)
		check_wrong(report, ERROR_DENIED, "user", NULL, "the netns driver needs root");
	return check_conclude(report, err);
}

/* ---- instances as others see them ---------------------------------------------------------------------- */

static char *id_of(const char *token)
{
	char *id;
	return asprintf(&id, ID_PREFIX "%s", token) < 0 ? NULL : id;
}

static int token_of(const char *id, const char **token, struct error *err)
{
	size_t prefix = strlen(ID_PREFIX);
	if (strncmp(id, ID_PREFIX, prefix))
		return error_set(err, ERROR_INVALID, "\"%.80s\" is not the id of a netns instance",
			id);
	*token = id + prefix;
	return state_check_token(*token, err);
}

static int fill_instance(const char *token, const struct record *record, struct instance *instance,
	struct error *err)
{
	*instance = (struct instance){
		.id = id_of(token),
		.name = strdup(record->name),
		.sandbox = strdup(record->sandbox),
		.node = strdup(record->node),
		.cluster = strdup(record->cluster),
		.pod = strdup(record->pod),
		.pod_namespace = strdup(record->pod_namespace),
		.token = strdup(token),
		.created = record->created,
	};
	if (record->address_count) {
		instance->addresses = calloc(record->address_count + 1, sizeof(char *));
		for (size_t i = 0; instance->addresses && i < record->address_count; i++)
			instance->addresses[i] = strdup(record->addresses[i]);
	}
	if (instance->id && instance->name && instance->token)
		return 0;
	instance_free(instance);
	return error_set(err, ERROR_INTERNAL, "no memory");
}

/* ---- removal ------------------------------------------------------------------------------------------- */

/*
 * With the token's lock held: ends every process of the instance and takes away all that was made
 * for it. May be repeated after any interruption: the record goes last.
 */
static int take_down(struct provider *p, const char *token, const struct record *record,
	const struct bound *bound, struct error *err)
{
	cleanup(close_fd) int pidfd = -1;
	pid_t pid = state_process(p->values->state_dir, token, &pidfd);
	if (pid) {
		/* The first process of a PID namespace takes all others with it. */
		if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
			return error_set_errno(err, errno, "kill process %d", (int)pid);
		if (bound_poll(bound, pidfd, POLLIN, "the end of the instance", err) < 0)
			return -1;
	}
	fault_point("netns-delete-killed");
	for (size_t nic = 0; nic < NETWORK_NICS_MAX; nic++) {
		char link[IF_NAMESIZE];
		network_link_name(token, nic, link, sizeof(link));
		if (network_remove(link, err) < 0)
			return -1;
	}
	cgroups_remove(token);
	state_wipe(p->values->state_dir, token, record);
	return 0;
}

static int provider_delete(struct provider *p, const char *id, const struct bound *bound,
	struct error *err)
{
	const char *token = NULL, *dir = p->values->state_dir;
	if (trouble_due(&p->troubles, "delete", err) < 0 || token_of(id, &token, err) < 0)
		return -1;
	cleanup(close_fd) int lock = -1;
	cleanup_error failure = ERROR_INIT;
	if (state_lock(dir, token, false, bound, &lock, &failure) < 0)
		return failure.kind == ERROR_GONE ? 0 : error_move(err, &failure);
	cleanup(record_free) struct record record = {0};
	if (state_read(dir, token, &record, &failure) < 0 && failure.kind != ERROR_GONE)
		return error_move(err, &failure);
	if (take_down(p, token, &record, bound, err) < 0)
		return error_prefix(err, "delete instance %s", id);
	state_forget(dir, token);
	log_info("netns: instance %s deleted", id);
	return 0;
}

/* ---- creation ------------------------------------------------------------------------------------------ */

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
	return fill_instance(token, record, instance, err);
}

static int provider_create(struct provider *p, const struct instance_request *request,
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
		if (take_down(p, token, &record, bound, err) < 0)
			return error_prefix(err, "remove what is left of an earlier attempt");
		record_free(&record);
		record = (struct record){0};
	} else if (failure.kind != ERROR_GONE)
		return error_move(err, &failure);

	if (make_instance(p, request, &record, lock, bound, err) < 0) {
		/* The cause may be that the time is up: clean up with a little time of its own. */
		struct bound spare = {.deadline_ns = deadline_in(10 * NS_PER_S)};
		cleanup_error left = ERROR_INIT;
		if (take_down(p, token, &record, &spare, &left) < 0)
			return error_append(err, "; not removed: %s", error_message(&left));
		state_forget(dir, token);
		return -1;
	}
	fault_point("netns-create-done");
	log_info("netns: instance " ID_PREFIX "%s at %s made in %.1f ms", token,
		record.addresses[0], (double)(clock_ns() - began) / 1e6);
	return answer(p, token, &record, instance, err);
}

/* ---- questions ------------------------------------------------------------------------------------------ */

static char *console_tail(struct provider *p, const char *id, size_t max, const struct bound *bound)
{
	(void)bound;
	const char *token = NULL;
	char path[PATH_MAX];
	if (token_of(id, &token, NULL) < 0)
		return strdup("");
	state_path(p->values->state_dir, token, "console.log", path, sizeof(path));
	cleanup(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	off_t from = size > (off_t)max ? size - (off_t)max : 0;
	cleanup(free_ptr) char *text = calloc(1, max + 1);
	if (!text || fd < 0 || pread(fd, text, max, from) < 0)
		return strdup("");
	return take_ptr(text);
}

static int wait_addresses(struct provider *p, const char *id, size_t needed,
	struct instance *instance, const struct bound *bound, struct error *err)
{
	const char *token = NULL, *dir = p->values->state_dir;
	cleanup(record_free) struct record record = {0};
	if (trouble_due(&p->troubles, "addresses", err) < 0 || token_of(id, &token, err) < 0)
		return -1;
	if (p->values->address_delay_ns &&
		bound_sleep(bound, p->values->address_delay_ns, "NETNS_ADDRESS_DELAY", err) < 0)
		return -1;
	if (state_read(dir, token, &record, err) < 0)
		return -1;
	if (record.address_count < needed)
		return error_set(err, ERROR_INVALID,
			"instance %s has %zu addresses, %zu are needed", id, record.address_count,
			needed);
	if (!state_process(dir, token, NULL)) {
		cleanup(free_ptr) char *tail = console_tail(p, id, 1024, bound);
		return error_set(err, ERROR_INTERNAL, "instance %s has ended; its console: %s", id,
			tail ? tail : "");
	}
	return fill_instance(token, &record, instance, err);
}

static int provider_find(struct provider *p, const char *token, struct instance *instance,
	const struct bound *bound, struct error *err)
{
	(void)bound;
	cleanup(record_free) struct record record = {0};
	if (trouble_due(&p->troubles, "find", err) < 0 || state_check_token(token, err) < 0 ||
		state_read(p->values->state_dir, token, &record, err) < 0)
		return -1;
	return fill_instance(token, &record, instance, err);
}

struct listing {
	const struct provider *p;
	const char *cluster, *node;
	struct instance *instances;
	size_t count;
};

static int list_one(void *closure, const char *token, struct error *err)
{
	struct listing *l = closure;
	cleanup(record_free) struct record record = {0};
	cleanup_error failure = ERROR_INIT;
	if (state_read(l->p->values->state_dir, token, &record, &failure) < 0)
		return failure.kind == ERROR_GONE ? 0 : error_move(err, &failure);
	if ((*l->cluster && strcmp(l->cluster, record.cluster)) ||
		(*l->node && strcmp(l->node, record.node)))
		return 0;
	struct instance *more = realloc(l->instances, (l->count + 1) * sizeof(*more));
	if (!more)
		return error_set(err, ERROR_INTERNAL, "no memory");
	l->instances = more;
	if (fill_instance(token, &record, &l->instances[l->count], err) < 0)
		return -1;
	l->count++;
	return 0;
}

static int provider_list(struct provider *p, const char *cluster, const char *node,
	struct instance **instances, size_t *count, const struct bound *bound, struct error *err)
{
	(void)bound;
	if (trouble_due(&p->troubles, "list", err) < 0)
		return -1;
	struct listing l = {.p = p, .cluster = cluster, .node = node};
	if (state_each(p->values->state_dir, list_one, &l, err) < 0) {
		instances_free(l.instances, l.count);
		return -1;
	}
	*instances = l.instances;
	*count = l.count;
	return 0;
}

/* What there would be to choose from, if namespaces had sizes and cost anything. */
static int provider_offerings(struct provider *provider, struct offerings *out,
	const struct bound *bound, struct error *err)
{
	static const struct offering shelf[] = {
		{"netns.small", "netns", "here", false, 1, 1024, 0, 0, 2, 4, 1000},
		{"netns.large", "netns", "here", false, 4, 8192, 0, CHOICE_TEE_SNP, 2, 4, 4000},
		{"netns.large", "netns", "here", true, 4, 8192, 0, CHOICE_TEE_SNP, 2, 4, 1500},
	};
	(void)bound;
	if (trouble_due(&provider->troubles, "offerings", err) < 0)
		return -1;
	*out = (struct offerings){.list = malloc(sizeof(shelf)),
		.count = array_size(shelf),
		.region = strdup("netns"),
		.prices_date = "2026-11-01",
		.prices_source = "invented. Nobody pays.",
		.currency = "EUR"};
	if (!out->list || !out->region) {
		offerings_free(out);
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	memcpy(out->list, shelf, sizeof(shelf));
	return 0;
}

const struct provider_table peerpod_provider = {
	.abi = PROVIDER_ABI,
	.name = "netns",
	.title = "namespaces of this machine (for tests)",
	.options = options,
	.option_count = array_size(options),
	.values_size = sizeof(struct values),
	.open = provider_open,
	.close = provider_close,
	.check = provider_check,
	.offerings = provider_offerings,
	.create = provider_create,
	.wait_addresses = wait_addresses,
	.find = provider_find,
	.delete = provider_delete,
	.list = provider_list,
	.console_tail = console_tail,
};
