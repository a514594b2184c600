/* SPDX-License-Identifier: Apache-2.0 */
/* fake_world.c - see fake_world.h. Everything is in one array under one lock. */
#include "fake_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/list.h"

#define THINGS_MAX 512

enum kind { FREE, INSTANCE, TUNNEL, RESERVATION, SERVED };

struct thing {
	int64_t created;
	enum kind kind;
	unsigned shims;
	char sandbox[80], token[40], id[48], cluster[64], node[64];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct thing things[THINGS_MAX];
static unsigned serial;
static size_t creates, deletes, most_per_token;
static char *first_user_data;
static bool user_data_differs;

struct fake_faults fake_faults;
struct notice *fake_changed;
const char *fake_console = "";

void fake_reset(void)
{
	pthread_mutex_lock(&lock);
	memset(things, 0, sizeof(things));
	creates = deletes = most_per_token = 0;
	free(first_user_data);
	first_user_data = NULL;
	user_data_differs = false;
	fake_faults = (struct fake_faults){0};
	fake_console = "";
	pthread_mutex_unlock(&lock);
	if (!fake_changed)
		fake_changed = notice_new(NULL);
}

/* Under the lock. */
static struct thing *find(enum kind kind, const char *sandbox)
{
	for (size_t i = 0; i < THINGS_MAX; i++) {
		if (things[i].kind == kind && !strcmp(things[i].sandbox, sandbox))
			return &things[i];
	}
	return NULL;
}

static struct thing *add(enum kind kind, const char *sandbox)
{
	for (size_t i = 0; i < THINGS_MAX; i++) {
		if (things[i].kind != FREE)
			continue;
		things[i] = (struct thing){.kind = kind};
		snprintf(things[i].sandbox, sizeof(things[i].sandbox), "%s", sandbox);
		return &things[i];
	}
	abort();
}

static void ensure(enum kind kind, const char *sandbox)
{
	pthread_mutex_lock(&lock);
	if (!find(kind, sandbox))
		add(kind, sandbox);
	pthread_mutex_unlock(&lock);
}

static void drop(enum kind kind, const char *sandbox)
{
	pthread_mutex_lock(&lock);
	struct thing *thing = find(kind, sandbox);
	if (thing)
		thing->kind = FREE;
	pthread_mutex_unlock(&lock);
}

struct fake_counts fake_count(void)
{
	struct fake_counts counts = {0};
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < THINGS_MAX; i++) {
		counts.instances += things[i].kind == INSTANCE;
		counts.tunnels += things[i].kind == TUNNEL;
		counts.reservations += things[i].kind == RESERVATION;
		counts.served += things[i].kind == SERVED;
	}
	counts.creates = creates;
	counts.deletes = deletes;
	counts.most_per_token = most_per_token;
	pthread_mutex_unlock(&lock);
	return counts;
}

bool fake_has_instance_of(const char *sandbox)
{
	pthread_mutex_lock(&lock);
	bool has = find(INSTANCE, sandbox) != NULL;
	pthread_mutex_unlock(&lock);
	return has;
}

bool fake_user_data_was_the_same(void)
{
	return first_user_data && !user_data_differs;
}

void fake_set_shims(const char *sandbox, unsigned connections)
{
	pthread_mutex_lock(&lock);
	struct thing *thing = find(SERVED, sandbox);
	if (!thing)
		thing = add(SERVED, sandbox);
	thing->shims = connections;
	pthread_mutex_unlock(&lock);
}

/* Tells the test that a call has come, and throws the dice. */
static int enter(enum error_kind kind, const char *what, struct error *err)
{
	notice_post(fake_changed);
	unsigned char dice = 0;
	if (fake_faults.random_percent && getrandom(&dice, 1, 0) == 1 &&
		dice % 100u < fake_faults.random_percent)
		return error_set(err, ERROR_INTERNAL, "%s: bad luck", what);
	return kind == ERROR_NONE ? 0 : error_set(err, kind, "%s", what);
}

/* ---- the cloud ---- */

static void remember_user_data(const char *text)
{
	if (!first_user_data)
		first_user_data = strdup(text);
	else if (strcmp(first_user_data, text) != 0)
		user_data_differs = true;
}

static void make_instance(const struct instance_request *request, struct instance *instance)
{
	pthread_mutex_lock(&lock);
	struct thing *thing = find(INSTANCE, request->owner.sandbox);
	if (!thing) {
		thing = add(INSTANCE, request->owner.sandbox);
		snprintf(thing->token, sizeof(thing->token), "%s", request->token);
		snprintf(thing->id, sizeof(thing->id), "i-%u", ++serial);
		snprintf(thing->cluster, sizeof(thing->cluster), "%s", request->owner.cluster);
		snprintf(thing->node, sizeof(thing->node), "%s", request->owner.node);
	}
	size_t same = 0;
	for (size_t i = 0; i < THINGS_MAX; i++)
		same += things[i].kind == INSTANCE && !strcmp(things[i].token, request->token);
	most_per_token = same > most_per_token ? same : most_per_token;
	if (instance)
		instance->id = strdup(thing->id);
	pthread_mutex_unlock(&lock);
}

static int driver_create(struct provider *provider, const struct instance_request *request,
	struct instance *instance, const struct bound *bound, struct error *err)
{
	(void)provider;
	pthread_mutex_lock(&lock);
	creates++;
	remember_user_data(request->user_data);
	bool fails = fake_faults.create != ERROR_NONE &&
		     (!fake_faults.create_failures || creates <= fake_faults.create_failures);
	pthread_mutex_unlock(&lock);
	if (enter(ERROR_NONE, "create", err) < 0)
		return -1;
	if (fake_faults.create_blocks)
		return bound_sleep(bound, 600 * NS_PER_S, "create", err);
	if (fails) {
		if (fake_faults.create_but_fail)
			make_instance(request, NULL);
		return error_set(err, fake_faults.create, "the cloud is full");
	}
	make_instance(request, instance);
	return 0;
}

static int driver_wait_addresses(struct provider *provider, const char *id, size_t needed,
	struct instance *instance, const struct bound *bound, struct error *err)
{
	(void)provider;
	(void)id;
	(void)bound;
	if (enter(fake_faults.addresses, "no lease", err) < 0)
		return -1;
	instance->addresses = calloc(needed + 1, sizeof(char *));
	for (size_t i = 0; i < needed; i++)
		instance->addresses[i] = strdup("192.0.2.7");
	return 0;
}

static int driver_find(struct provider *provider, const char *token, struct instance *instance,
	const struct bound *bound, struct error *err)
{
	(void)provider;
	(void)bound;
	if (enter(ERROR_NONE, "find", err) < 0)
		return -1;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < THINGS_MAX; i++) {
		if (things[i].kind == INSTANCE && !strcmp(things[i].token, token))
			instance->id = strdup(things[i].id);
	}
	pthread_mutex_unlock(&lock);
	return instance->id ? 0 : error_set(err, ERROR_GONE, "no instance with this token");
}

static int driver_delete(struct provider *provider, const char *id, const struct bound *bound,
	struct error *err)
{
	(void)provider;
	(void)bound;
	pthread_mutex_lock(&lock);
	deletes++;
	bool fails = fake_faults.delete != ERROR_NONE &&
		     (!fake_faults.delete_failures || deletes <= fake_faults.delete_failures);
	pthread_mutex_unlock(&lock);
	if (enter(fails ? fake_faults.delete : ERROR_NONE, "the cloud does not answer", err) < 0)
		return -1;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < THINGS_MAX; i++) {
		if (things[i].kind == INSTANCE && !strcmp(things[i].id, id))
			things[i].kind = FREE;
	}
	pthread_mutex_unlock(&lock);
	notice_post(fake_changed);
	return 0;
}

static int driver_list(struct provider *provider, const char *cluster, const char *node,
	struct instance **instances, size_t *count, const struct bound *bound, struct error *err)
{
	(void)provider;
	(void)cluster; /* a careless driver: it lists others' too */
	(void)node;
	(void)bound;
	(void)err;
	*instances = calloc(THINGS_MAX, sizeof(**instances));
	*count = 0;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < THINGS_MAX; i++) {
		if (things[i].kind == INSTANCE)
			(*instances)[(*count)++] = (struct instance){.id = strdup(things[i].id),
				.sandbox = strdup(things[i].sandbox),
				.cluster = strdup(things[i].cluster),
				.node = strdup(things[i].node),
				.created = things[i].created};
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

static char *driver_console_tail(struct provider *provider, const char *id, size_t max,
	const struct bound *bound)
{
	(void)provider;
	(void)id;
	(void)max;
	(void)bound;
	return strdup(fake_console);
}

static const struct provider_table driver = {
	.abi = PROVIDER_ABI,
	.name = "fake",
	.create = driver_create,
	.wait_addresses = driver_wait_addresses,
	.find = driver_find,
	.delete = driver_delete,
	.list = driver_list,
	.console_tail = driver_console_tail,
};

void fake_add_instance(const char *cluster, const char *node, const char *sandbox, int64_t created)
{
	pthread_mutex_lock(&lock);
	struct thing *thing = add(INSTANCE, sandbox);
	snprintf(thing->id, sizeof(thing->id), "i-%u", ++serial);
	snprintf(thing->token, sizeof(thing->token), "none-%u", serial);
	snprintf(thing->cluster, sizeof(thing->cluster), "%s", cluster);
	snprintf(thing->node, sizeof(thing->node), "%s", node);
	thing->created = created;
	pthread_mutex_unlock(&lock);
}

/* ---- the pod network ---- */

static int network_inspect(const struct podnetwork_worker_settings *settings,
	struct podnetwork *network, struct error *err)
{
	if (enter(fake_faults.inspect, "no default route", err) < 0)
		return -1;
	ensure(RESERVATION, settings->sandbox);
	pthread_mutex_lock(&lock);
	int64_t vni = 555000 + (int64_t)++serial;
	pthread_mutex_unlock(&lock);
	*network = (struct podnetwork){.podip = strdup("10.42.7.19/24"),
		.pod_hw_addr = strdup("02:1f:9a:00:07:13"),
		.interface = strdup("eth0"),
		.worker_node_ip = strdup("192.0.2.1/24"),
		.tunnel_type = strdup("vxlan"),
		.mtu = 1500,
		.vxlan_port = settings->vxlan_port,
		.vxlan_id = vni,
		.index = vni - 555000};
	return 0;
}

static int network_setup(const struct podnetwork_worker_settings *settings,
	const struct podnetwork *network, char *const *ips, size_t count, struct error *err)
{
	(void)network;
	(void)ips;
	(void)count;
	if (enter(fake_faults.setup, "no such device", err) < 0)
		return -1;
	ensure(TUNNEL, settings->sandbox);
	return 0;
}

static int network_teardown(const struct podnetwork_worker_settings *settings,
	const struct podnetwork *network, struct error *err)
{
	(void)network;
	if (enter(ERROR_NONE, "teardown", err) < 0)
		return -1;
	drop(TUNNEL, settings->sandbox);
	drop(RESERVATION, settings->sandbox);
	return 0;
}

static int network_reconcile(podnetwork_live *live, void *context, uint16_t port, uint32_t min_id,
	struct error *err)
{
	(void)port;
	(void)min_id;
	(void)err;
	bound_sleep(&BOUND_NONE, NS_PER_MS / 2, "look", NULL); /* there are many namespaces */
	pthread_mutex_lock(&lock);
	cleanup(list_free_ptr) char **ids = live(context);
	for (size_t i = 0; i < THINGS_MAX; i++) {
		bool ours = things[i].kind == TUNNEL || things[i].kind == RESERVATION;
		if (ours && !list_holds(ids, things[i].sandbox))
			things[i].kind = FREE;
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

static const struct network_ops network = {network_inspect, network_setup, network_teardown,
	network_reconcile};

/* ---- agent-proxy ---- */

static int proxy_ready(void *proxy, const struct bound *bound, struct error *err)
{
	(void)proxy;
	(void)bound;
	(void)err;
	return 0;
}

static int proxy_open(void *proxy, const struct record *record, uint64_t timeout_ns,
	const struct bound *bound, uint32_t *underlay_mtu, struct error *err)
{
	(void)proxy;
	(void)timeout_ns;
	if (underlay_mtu)
		*underlay_mtu = fake_faults.vm_underlay_mtu;
	if (enter(fake_faults.open, "refused: nobody listens", err) < 0)
		return -1;
	ensure(SERVED, record->sandbox);
	return fake_faults.open_blocks ? bound_sleep(bound, 600 * NS_PER_S, "open", err) : 0;
}

static int proxy_close(void *proxy, const char *sandbox, const struct bound *bound,
	struct error *err)
{
	(void)proxy;
	(void)bound;
	(void)err;
	drop(SERVED, sandbox);
	return 0;
}

static int proxy_list(void *proxy, struct proxy_sandbox **sandboxes, size_t *count,
	const struct bound *bound, struct error *err)
{
	(void)proxy;
	(void)bound;
	(void)err;
	*sandboxes = calloc(THINGS_MAX, sizeof(**sandboxes));
	*count = 0;
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < THINGS_MAX; i++) {
		if (things[i].kind == SERVED)
			(*sandboxes)[(*count)++] =
				(struct proxy_sandbox){strdup(things[i].sandbox), things[i].shims};
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

static const struct proxy_ops proxy = {proxy_ready, proxy_open, proxy_close, proxy_list};

const struct world fake_world = {.driver = &driver, .network = &network, .proxy_ops = &proxy};

/* ---- the node ---- */

static const char *no_variable(const char *name)
{
	(void)name;
	return NULL;
}

static void must(int result, const struct error *err)
{
	if (result < 0) {
		fprintf(stderr, "fake node: %s\n", error_message(err));
		abort();
	}
}

void fake_node_init(struct fake_node *node, const char *const *options)
{
	cleanup_error err = ERROR_INIT;
	char state[64], pods[64],
		*arguments[16] = {state, pods, (char *)"-cluster-name=c1", (char *)"-node-name=n1",
			(char *)"-log-level=error"};
	int argc = 5;
	bool help;
	*node = (struct fake_node){.folder = "/tmp/ppad-XXXXXX"};
	if (!mkdtemp(node->folder))
		abort();
	snprintf(state, sizeof(state), "-state-dir=%s/state", node->folder);
	snprintf(pods, sizeof(pods), "-pods-dir=%s/pods", node->folder);
	while (options && *options)
		arguments[argc++] = (char *)*options++;
	struct option_set set = settings_option_set(&node->settings);
	must(options_parse(&set, 1, argc, arguments, no_variable, &help, &err), &err);
	must(settings_check(&node->settings, &err), &err);
	log_init("test", getenv("TEST_LOG") ? LOG_INFO : LOG_ERROR + 1, LOG_TEXT);
	fake_node_up(node);
}

void fake_node_up(struct fake_node *node)
{
	cleanup_error err = ERROR_INIT;
	must(adaptor_init(&node->adaptor, &node->settings, &fake_world, &err), &err);
	must(adaptor_adopt(&node->adaptor, &err), &err);
	node->up = true;
}

void fake_node_down(struct fake_node *node)
{
	if (!node->up)
		return;
	adaptor_finish(&node->adaptor, 2 * NS_PER_S);
	adaptor_free(&node->adaptor);
	node->up = false;
}

void fake_node_free(struct fake_node *node)
{
	char path[80];
	fake_node_down(node);
	static const char *const files[] = {"state/lock", "state/tls/ca.pem", "state/cluster"};
	for (size_t i = 0; i < array_size(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", node->folder, files[i]);
		file_remove(path, NULL);
	}
	static const char *const folders[] = {"state/tls", "state/sandboxes", "state", "pods", ""};
	for (size_t i = 0; i < array_size(folders); i++) {
		snprintf(path, sizeof(path), "%s/%s", node->folder, folders[i]);
		rmdir(path);
	}
	settings_free(&node->settings);
}

int fake_create(struct fake_node *node, const char *id, struct error *err)
{
	const struct annotation annotations[] = {{"io.kubernetes.cri.sandbox-name", "web"},
		{"io.kubernetes.cri.sandbox-namespace", "shop"}};
	cleanup(free_ptr) char *socket = NULL;
	return sandbox_create(&node->adaptor, id, annotations, array_size(annotations),
		"/proc/self/ns/net", &socket, err);
}

bool fake_wait_for(struct fake_node *node, bool (*condition)(struct fake_node *node))
{
	struct bound bound = bound_within(&BOUND_NONE, 20 * NS_PER_S);
	while (!condition(node)) {
		/* Two sources of changes: look at the table's, and at the world's within a short while. */
		uint64_t seen = notice_count(node->adaptor.table.changed);
		struct bound soon = bound_within(&bound, 5 * NS_PER_MS);
		if (bound_left_ns(&bound) == 0)
			return false;
		notice_wait(node->adaptor.table.changed, seen, &soon, "change", NULL);
	}
	return true;
}
