/* SPDX-License-Identifier: Apache-2.0 */
/*
 * podnet.c - lib/podnetwork from the command line, for tests
 *
 * podnet-tool <verb> [options]; networks are read from and written to files as the JSON of
 * apf.json's "pod-network". Failures print the error to standard error and exit with 1. The verb
 * "cycle" does inspect, setup and teardown -count times in one process, with one thread for each
 * path in -netns, and prints the number of open descriptors before and after.
 */
#include <dirent.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/option.h"
#include "podnetwork/podnetwork.h"

struct arguments {
	char *sandbox, *netns, *host_interface, *pod_subnet_cidrs, *node_ip, *pod_interface;
	char *network, *instance_ips, *live, *quarantine;
	bool external, tunnel_csum_off, nic_tx_csum_off;
	int64_t netns_inode, vxlan_port, vxlan_min_id, count;
	uint64_t timeout;
};

#define AT(field) offsetof(struct arguments, field)
static const struct option table[] = {
	{"sandbox", NULL, "sandbox", "sandbox id", AT(sandbox), OPTION_STRING},
	{"netns", NULL, NULL, "path of the pod's netns (vm-*: of podns)", AT(netns), OPTION_STRING},
	{"netns-inode", NULL, "0", "inode of that netns when the pod was created", AT(netns_inode),
		OPTION_INT, .min = 0, .max = INT64_MAX},
	{"host-interface", NULL, NULL, "interface of the tunnel", AT(host_interface),
		OPTION_STRING},
	{"pod-subnet-cidrs", NULL, NULL, "list of CIDRs", AT(pod_subnet_cidrs), OPTION_STRING},
	{"node-ip", NULL, NULL, "the worker's tunnel address", AT(node_ip), OPTION_STRING},
	{"pod-interface", NULL, NULL, "interface in the pod's netns", AT(pod_interface),
		OPTION_STRING},
	{"network", NULL, NULL, "file with the network's JSON", AT(network), OPTION_STRING},
	{"instance-ips", NULL, NULL, "list of the VM's addresses", AT(instance_ips), OPTION_STRING},
	{"live", NULL, NULL, "list of live sandbox ids", AT(live), OPTION_STRING},
	{"quarantine", NULL, NULL, "list of VNIs not to take", AT(quarantine), OPTION_STRING},
	{"ext-network-via-podvm", NULL, NULL, "external network mode", AT(external), OPTION_BOOL},
	{"no-tunnel-csum", NULL, NULL, "no checksum in outer packets", AT(tunnel_csum_off),
		OPTION_BOOL},
	{"no-nic-tx-csum", NULL, NULL, "checksums by the kernel", AT(nic_tx_csum_off), OPTION_BOOL},
	{"vxlan-port", NULL, "4789", "UDP port", AT(vxlan_port), OPTION_INT, .min = 0,
		.max = 65535},
	{"vxlan-min-id", NULL, "555000", "lowest VNI", AT(vxlan_min_id), OPTION_INT, .min = 0,
		.max = UINT32_MAX},
	{"count", NULL, "1", "cycles", AT(count), OPTION_INT, .min = 1, .max = 100000},
	{"timeout", NULL, "10s", "how long vm-setup waits for the VM's network", AT(timeout),
		OPTION_DURATION},
};

#define LIST_MAX 256

/* Splits text in place; the list ends with NULL. */
static size_t split(char *text, char *list[LIST_MAX + 1])
{
	size_t count = 0;
	char *rest = text, *item;
	while (count < LIST_MAX && (item = strsep(&rest, ","))) {
		if (*item)
			list[count++] = item;
	}
	list[count] = NULL;
	return count;
}

static int read_network(const char *path, struct podnetwork *network, struct error *err)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (file_read(path, 1024 * 1024, &text, err))
		return -1;
	cleanup_json *object = json_parse(path, buf_text(&text), text.len, 1024 * 1024, false, err);
	return object ? podnetwork_from_json(object, network, err) : -1;
}

static int print_network(const struct podnetwork *network, struct error *err)
{
	cleanup_json *object = podnetwork_to_json(network, err);
	if (!object)
		return -1;
	json_dumpf(object, stdout, JSON_INDENT(4));
	putchar('\n');
	return 0;
}

static int inspect(const struct podnetwork_worker_settings *settings, struct podnetwork *network,
	const struct arguments *args, struct error *err)
{
	(void)args;
	if (podnetwork_inspect(settings, network, err))
		return -1;
	return print_network(network, err);
}

static int setup(const struct podnetwork_worker_settings *settings, struct podnetwork *network,
	const struct arguments *args, struct error *err)
{
	char *ips[LIST_MAX + 1];
	size_t count = split(args->instance_ips, ips);
	if (read_network(args->network, network, err))
		return -1;
	return podnetwork_worker_setup(settings, network, ips, count, err);
}

static int teardown(const struct podnetwork_worker_settings *settings, struct podnetwork *network,
	const struct arguments *args, struct error *err)
{
	(void)args;
	return podnetwork_worker_teardown(settings, network, err);
}

static char **live_sandboxes(void *context)
{
	return list_split(context);
}

static int reconcile(const struct podnetwork_worker_settings *settings, struct podnetwork *network,
	const struct arguments *args, struct error *err)
{
	(void)network;
	return podnetwork_worker_reconcile(live_sandboxes, args->live, settings->vxlan_port,
		settings->vxlan_min_id, err);
}

static int vm_setup(const struct podnetwork_worker_settings *settings, struct podnetwork *network,
	const struct arguments *args, struct error *err)
{
	const struct podnetwork_vm_settings vm = {settings->netns_path, settings->host_interface};
	const struct bound bound = {.deadline_ns = deadline_in(args->timeout)};
	if (read_network(args->network, network, err))
		return -1;
	return podnetwork_vm_setup(&vm, network, &bound, NULL, err);
}

static int vm_teardown(const struct podnetwork_worker_settings *settings,
	struct podnetwork *network, const struct arguments *args, struct error *err)
{
	const struct podnetwork_vm_settings vm = {settings->netns_path, settings->host_interface};
	if (read_network(args->network, network, err))
		return -1;
	return podnetwork_vm_teardown(&vm, network, err);
}

static int count_descriptors(void)
{
	int count = 0;
	DIR *dir = opendir("/proc/self/fd");
	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

struct cycle {
	struct podnetwork_worker_settings settings;
	char *const *ips;
	size_t ip_count;
	int64_t count;
	struct error err;
	pthread_t thread;
};

static void *run_cycle(void *arg)
{
	struct cycle *cycle = arg;
	for (int64_t i = 0; i < cycle->count; i++) {
		cleanup(podnetwork_free) struct podnetwork network = {0};
		if (podnetwork_inspect(&cycle->settings, &network, &cycle->err) ||
			podnetwork_worker_setup(&cycle->settings, &network, cycle->ips,
				cycle->ip_count, &cycle->err) ||
			podnetwork_worker_teardown(&cycle->settings, &network, &cycle->err))
			break;
	}
	return NULL;
}

static int cycle(const struct podnetwork_worker_settings *settings, struct podnetwork *network,
	const struct arguments *args, struct error *err)
{
	(void)network;
	char *ips[LIST_MAX + 1], *paths[LIST_MAX + 1];
	static struct cycle cycles[LIST_MAX];
	static char names[LIST_MAX][32];
	size_t ip_count = split(args->instance_ips, ips), count = split(args->netns, paths);
	int before = count_descriptors();
	for (size_t i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "cycle-%zu", i);
		cycles[i] = (struct cycle){*settings, ips, ip_count, args->count};
		cycles[i].settings.netns_path = paths[i];
		cycles[i].settings.sandbox = names[i];
		if (pthread_create(&cycles[i].thread, NULL, run_cycle, &cycles[i]))
			return error_set(err, ERROR_CAPACITY, "no thread");
	}
	int result = 0;
	for (size_t i = 0; i < count; i++) {
		pthread_join(cycles[i].thread, NULL);
		if (cycles[i].err.kind != ERROR_NONE)
			result = error_move(err, &cycles[i].err);
	}
	printf("%d %d\n", before, count_descriptors());
	return result;
}

static const struct {
	const char *name;
	int (*run)(const struct podnetwork_worker_settings *settings, struct podnetwork *network,
		const struct arguments *args, struct error *err);
} verbs[] = {
	{"inspect", inspect},
	{"setup", setup},
	{"teardown", teardown},
	{"reconcile", reconcile},
	{"vm-setup", vm_setup},
	{"vm-teardown", vm_teardown},
	{"cycle", cycle},
};

static int run(const char *verb, struct arguments *args, struct error *err)
{
	char *vnis[LIST_MAX + 1];
	uint32_t quarantined[LIST_MAX];
	size_t count = split(args->quarantine, vnis);
	for (size_t i = 0; i < count; i++)
		quarantined[i] = (uint32_t)strtoul(vnis[i], NULL, 10);
	const struct podnetwork_worker_settings settings = {
		.sandbox = args->sandbox,
		.netns_path = args->netns,
		.netns_inode = (uint64_t)args->netns_inode,
		.host_interface = args->host_interface,
		.pod_subnet_cidrs = args->pod_subnet_cidrs,
		.external_net_via_pod_vm = args->external,
		.tunnel_csum_off = args->tunnel_csum_off,
		.nic_tx_csum_off = args->nic_tx_csum_off,
		.vxlan_port = (uint16_t)args->vxlan_port,
		.vxlan_min_id = (uint32_t)args->vxlan_min_id,
		.quarantined = quarantined,
		.quarantined_count = count,
		.node_ip = args->node_ip,
		.pod_interface = args->pod_interface,
	};
	for (size_t i = 0; i < array_size(verbs); i++) {
		if (strcmp(verbs[i].name, verb))
			continue;
		cleanup(podnetwork_free) struct podnetwork network = {0};
		return verbs[i].run(&settings, &network, args, err);
	}
	error_set(err, ERROR_INVALID, "verb \"%s\": must be one of", verb);
	for (size_t i = 0; i < array_size(verbs); i++)
		error_append(err, "%s %s", i ? "," : "", verbs[i].name);
	return -1;
}

int main(int argc, char **argv)
{
	struct arguments args = {0};
	struct option_set set = {"Options", table, array_size(table), &args};
	cleanup_error err = ERROR_INIT;
	bool help = false;
	log_init("podnet-tool", LOG_INFO, LOG_TEXT);
	if (argc < 2 || options_parse(&set, 1, argc - 2, argv + 2, NULL, &help, &err)) {
		fprintf(stderr, "podnet-tool: %s\n",
			argc < 2 ? "a verb is missing" : error_message(&err));
		return 2;
	}
	if (help) {
		options_help(&set, 1, stdout);
		return 0;
	}
	int result = run(argv[1], &args, &err);
	if (result)
		fprintf(stderr, "%s\n", error_message(&err));
	options_free(&set, 1);
	return result ? 1 : 0;
}
