/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.c - see serve.h
 *
 * Start: options, driver, state folder (locked), provider, records, agent-proxy, socket - in this
 * order, so that what is wrong is said before anything is touched, and calls are taken only when
 * the past is known. End: the socket goes, running StartVMs are cancelled and rolled back, other work
 * gets some seconds; what is not finished then is in the journal. Pods that run do not notice.
 */
#include "adaptor/serve.h"

#include <errno.h>
#include <limits.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "adaptor/adaptor.h"
#include "adaptor/probe.h"
#include "adaptor/proxy_client.h"
#include "adaptor/service.h"
#include "base/cleanup.h"
#include "base/descriptors.h"
#include "base/file.h"
#include "base/log.h"
#include "providers/loader.h"

/* runtime-rs keeps its connection for the pod's whole life, and refuses the pod where it is not let in. */
#define CONNECTIONS_MAX 4096
#define PROVIDER_OPEN_NS (60 * NS_PER_S)
#define PROVIDER_CHECK_NS (120 * NS_PER_S)
/* Upstream's; its manifests have it in their startup probe. */
#define PROBE_PORT_DEFAULT 8000
/* How long running work may take after SIGTERM. Kubernetes gives a pod 30 s. */
#define FINISH_NS (5 * NS_PER_S)

static const struct network_ops kernel_network = {
	.inspect = podnetwork_inspect,
	.setup = podnetwork_worker_setup,
	.teardown = podnetwork_worker_teardown,
	.reconcile = podnetwork_worker_reconcile,
};

/* ---- options ---- */

/* The driver's options are known only once it is loaded, so this one is looked for beforehand. */
char *driver_folder(int argc, char *const *argv, struct error *err)
{
	static const char name[] = "provider-dir";
	const char *found = getenv("PROVIDER_DIR");
	for (int i = 0; i < argc; i++) {
		const char *option = argv[i] + strspn(argv[i], "-");
		if (option == argv[i] || strncmp(option, name, strlen(name)) != 0)
			continue;
		if (option[strlen(name)] == '=')
			found = option + strlen(name) + 1;
		else if (!option[strlen(name)] && i + 1 < argc)
			found = argv[i + 1];
	}
	return provider_folder(found ? found : "", err);
}

/* Everything that the command line determines. */
struct configuration {
	struct settings settings;
	const struct provider_table *driver; /* NULL for the help of the common options */
	void *driver_values;
	char *driver_title;
	struct option_set sets[2];
	size_t set_count;
};

static void configuration_free(struct configuration *configuration)
{
	if (configuration->set_count > 1)
		options_free(&configuration->sets[1], 1);
	settings_free(&configuration->settings);
	free(configuration->driver_values);
	free(configuration->driver_title);
}

static int load_driver(struct configuration *configuration, const char *provider, int argc,
	char *const *argv, struct error *err)
{
	configuration->sets[configuration->set_count++] =
		settings_option_set(&configuration->settings);
	if (!*provider)
		return 0;
	cleanup(free_ptr) char *folder = driver_folder(argc, argv, err);
	if (!folder)
		return -1;
	const struct provider_table *driver = provider_load(folder, provider, err);
	if (!driver)
		return -1;
	configuration->driver = driver;
	configuration->driver_values = calloc(1, driver->values_size ? driver->values_size : 1);
	if (!configuration->driver_values ||
		asprintf(&configuration->driver_title, "Options of %s", driver->name) < 0) {
		configuration->driver_title = NULL;
		return error_set(err, ERROR_CAPACITY, "out of memory");
	}
	configuration->sets[configuration->set_count++] = (struct option_set){
		.title = configuration->driver_title,
		.options = driver->options,
		.count = driver->option_count,
		.values = configuration->driver_values,
	};
	return 0;
}

int serve_help(const char *provider, int argc, char *const *argv, FILE *out)
{
	cleanup(configuration_free) struct configuration configuration = {0};
	cleanup_error err = ERROR_INIT;
	if (load_driver(&configuration, provider, argc, argv, &err) < 0) {
		fprintf(stderr, "cloud-api-adaptor: %s\n", error_message(&err));
		return EXIT_USAGE;
	}
	options_help(configuration.sets, configuration.set_count, out);
	return EXIT_OK;
}

/* ---- life ---- */

struct service_process {
	struct configuration *configuration;
	struct world world;
	struct adaptor adaptor;
	bool adaptor_ready;
	struct proxy_client *proxy;
	struct ttrpc_service services[SERVICE_COUNT];
	struct unix_socket_identity socket;
	struct ttrpc_server *server;
	struct probe *probe;
};

static void end_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
}

static int open_provider(struct service_process *process, struct error *err)
{
	const struct provider_table *driver = process->configuration->driver;
	struct bound bound = bound_within(&BOUND_NONE, PROVIDER_OPEN_NS);
	process->world.driver = driver;
	process->world.provider = driver->open(process->configuration->driver_values, &bound, err);
	if (!process->world.provider)
		return error_prefix(err, "provider %s", driver->name);
	if (!process->configuration->settings.cloud_config_verify || !driver->check)
		return 0;
	cleanup_report report = {0};
	bound = bound_within(&BOUND_NONE, PROVIDER_CHECK_NS);
	if (driver->check(process->world.provider, &report, &bound, err) < 0)
		return error_prefix(err, "provider %s: check of the configuration", driver->name);
	log_info("the provider's configuration passed its check");
	return 0;
}

static void serve_all(void *context, const struct bound *bound)
{
	adaptor_serve_all(context, bound);
}

static void watch_network(struct adaptor *adaptor, void *argument)
{
	(void)argument;
	adaptor_watch_network(adaptor);
}

static void housekeep(struct adaptor *adaptor, void *argument)
{
	(void)argument;
	adaptor_housekeep(adaptor);
}

static int make_folder_of(const char *path, struct error *err)
{
	cleanup(free_ptr) char *copy = strdup(path);
	if (!copy)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	/* Shims of other users' pods pass through; the socket itself is ours alone. */
	return dir_make(dirname(copy), 0711, err);
}

/* Existing manifests ask on the default port and do not name it; outside of Kubernetes nobody asks. */
static uint16_t probe_port_of(const struct settings *settings)
{
	const char *node = getenv("NODE_NAME");
	if (settings->probe_port >= 0)
		return (uint16_t)settings->probe_port;
	return node && *node ? PROBE_PORT_DEFAULT : 0;
}

static int begin(struct service_process *process, struct error *err)
{
	const struct settings *settings = &process->configuration->settings;
	struct proxy_client_settings proxy_settings = {.socket = settings->agent_proxy_socket,
		.program = settings->agent_proxy,
		.log_level = settings->log_level,
		.log_format = settings->log_format};
	process->world.network = &kernel_network;
	process->world.proxy_ops = &proxy_client_ops;
	process->world.proxy = process->proxy = proxy_client_new(&proxy_settings, err);
	if (!process->proxy || adaptor_init(&process->adaptor, settings, &process->world, err) < 0)
		return -1;
	process->adaptor_ready = true;
	if (podnetwork_worker_check(err) < 0 || open_provider(process, err) < 0 ||
		make_folder_of(settings->socket, err) < 0 ||
		make_folder_of(settings->agent_proxy_socket, err) < 0)
		return -1;
	/* Taken before the past is dealt with: who cannot serve must not take anything down. */
	int listener = unix_socket_listen(settings->socket, &process->socket, err);
	if (listener < 0)
		return error_prefix(err, "hypervisor socket");
	cleanup(close_fd) int owned_listener = listener;
	if (adaptor_adopt(&process->adaptor, err) < 0 ||
		proxy_client_start(process->proxy, serve_all, &process->adaptor, err) < 0 ||
		adaptor_spawn(&process->adaptor, housekeep, NULL, err) < 0 ||
		adaptor_spawn(&process->adaptor, watch_network, NULL, err) < 0)
		return -1;
	services_init(process->services, &process->adaptor);
	const struct ttrpc_server_options options = {.max_connections = CONNECTIONS_MAX};
	process->server = ttrpc_server_start(take_fd(&owned_listener), process->services,
		SERVICE_COUNT, &options, err);
	if (!process->server)
		return -1;
	uint16_t probe_port = probe_port_of(settings);
	if (probe_port) {
		process->probe = probe_start(probe_port, &process->adaptor, err);
		if (!process->probe)
			return -1;
	}
	return 0;
}

/* Fires `quit` when what still runs after SIGTERM has had its time; fired `done` ends the wait. */
struct hurry {
	struct adaptor *adaptor;
	struct cancel *done;
};

static void *hurry(void *argument)
{
	struct hurry *arguments = argument;
	struct bound bound = {.deadline_ns = DEADLINE_NEVER, .cancel = arguments->done};
	if (bound_sleep(&bound, FINISH_NS, "finish", NULL) == 0)
		cancel_fire(arguments->adaptor->quit);
	return NULL;
}

static void finish(struct service_process *process)
{
	struct adaptor *adaptor = &process->adaptor;
	pthread_t thread;
	struct hurry arguments = {.adaptor = adaptor, .done = cancel_new()};
	bool hurried = process->adaptor_ready && arguments.done &&
		       pthread_create(&thread, NULL, hurry, &arguments) == 0;
	if (process->adaptor_ready)
		cancel_fire(adaptor->stopping);
	if (process->probe)
		probe_stop(process->probe);
	if (process->socket.inode)
		unix_socket_remove(process->configuration->settings.socket, &process->socket);
	if (process->server)
		ttrpc_server_stop(process->server);
	if (process->adaptor_ready)
		adaptor_finish(adaptor, FINISH_NS);
	if (hurried) {
		cancel_fire(arguments.done);
		pthread_join(thread, NULL);
	}
	if (arguments.done)
		cancel_unref(arguments.done);
	proxy_client_free(process->proxy, true);
	if (process->world.provider)
		process->world.driver->close(process->world.provider);
	if (process->adaptor_ready)
		adaptor_free(adaptor);
}

static int run(struct configuration *configuration)
{
	struct service_process process = {.configuration = configuration};
	cleanup_error err = ERROR_INIT;
	sigset_t signals;
	/* Before the first thread: all inherit it, and only this one takes the signals, below. */
	end_signals(&signals);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	descriptors_allow_many();
	int result = begin(&process, &err);
	if (result == 0) {
		int signal_number = 0;
		log_info("serving %s with provider %s on node %s", configuration->settings.socket,
			configuration->driver->name, configuration->settings.node_name);
		sigwait(&signals, &signal_number);
		log_info("%s: ending; pods that run go on running", strsignal(signal_number));
	} else {
		log_error("%s", error_message(&err));
	}
	finish(&process);
	return result == 0 ? EXIT_OK : EXIT_RUNTIME;
}

static void warn_of_settings(const struct settings *settings)
{
	if (settings->tls_skip_verify)
		log_warn(
			"option -tls-skip-verify has no effect: the forwarder's certificate is verified");
	if (settings->disable_tls)
		log_warn(
			"option -disable-tls: pods' agents are reached in the clear; for testing only");
	/* 64 characters of a sandbox id and the rest of the path. */
	if (strlen(settings->pods_dir) > 107 - strlen("//agent.ttrpc") - 64)
		log_warn(
			"option -pods-dir: %s is so long that the agent sockets of sandboxes with long ids have "
			"no room in a socket's path",
			settings->pods_dir);
}

/* -check: what the driver finds, as a table. Makes and serves nothing. */
static int check_only(const struct configuration *configuration)
{
	const struct provider_table *driver = configuration->driver;
	cleanup_error err = ERROR_INIT;
	cleanup_report report = {0};
	if (!driver->check) {
		fprintf(stderr, "cloud-api-adaptor: driver %s has no check\n", driver->name);
		return EXIT_USAGE;
	}
	struct bound bound = bound_within(&BOUND_NONE, PROVIDER_CHECK_NS);
	struct provider *provider = driver->open(configuration->driver_values, &bound, &err);
	if (!provider) {
		fprintf(stderr, "cloud-api-adaptor: provider %s: %s\n", driver->name,
			error_message(&err));
		return EXIT_USAGE;
	}
	printf("check of the configuration of provider %s:\n", driver->name);
	fflush(stdout);
	int result = driver->check(provider, &report, &bound, &err);
	check_report_print(&report, stdout);
	driver->close(provider);
	size_t unknown = check_unknown_count(&report);
	if (result == 0 && unknown)
		printf("nothing is wrong, %zu could not be found out\n", unknown);
	else if (result == 0)
		printf("nothing is wrong\n");
	else if (!report.wrong)
		printf("the check could not be finished: %s\n", error_message(&err));
	else
		printf("%zu wrong\n", report.wrong);
	return result == 0 ? EXIT_OK : EXIT_RUNTIME;
}

int serve(const char *provider, int argc, char *const *argv)
{
	cleanup(configuration_free) struct configuration configuration = {0};
	cleanup_error err = ERROR_INIT;
	bool help = false;
	if (load_driver(&configuration, provider, argc, argv, &err) < 0 ||
		options_parse(configuration.sets, configuration.set_count, argc, argv, NULL, &help,
			&err) < 0) {
		fprintf(stderr, "cloud-api-adaptor: %s\n", error_message(&err));
		return EXIT_USAGE;
	}
	if (help) {
		printf("cloud-api-adaptor %s [options]\n\n%s\n\n", provider,
			configuration.driver->title);
		options_help(configuration.sets, configuration.set_count, stdout);
		return EXIT_OK;
	}
	if (settings_check(&configuration.settings, &err) < 0) {
		fprintf(stderr, "cloud-api-adaptor: %s\n", error_message(&err));
		return EXIT_USAGE;
	}
	log_init("cloud-api-adaptor", configuration.settings.level, configuration.settings.format);
	warn_of_settings(&configuration.settings);
	if (configuration.settings.check)
		return check_only(&configuration);
	return run(&configuration);
}
