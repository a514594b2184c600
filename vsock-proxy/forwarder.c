/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forwarder.c - agent-protocol-forwarder: the pod VM's end of the agent tunnel: main
 *
 * Reads apf.json, sets the pod's network up, listens, says READY=1, and relays until SIGTERM; then
 * takes the network down. Every failure to start is one line and exit 1: the service manager
 * starts it again, which is how it waits for apf.json or the network namespace.
 *
 * It is part of what the pod trusts: it links no Kubernetes, no cloud and no HTTP.
 */
#include "vsock-proxy/forwarder.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "apf/apf.h"
#include "base/bound.h"
#include "base/file.h"
#include "base/log.h"
#include "base/option.h"
#include "podnetwork/podnetwork.h"
#include "tls/tls.h"
#include "vsock-proxy/isolation.h"

#define PROGRAM "agent-protocol-forwarder"

/* Certificates and keys by file: chains are a few KiB. */
#define PEM_FILE_MAX ((size_t)256 * 1024)
/* Network cards appear and get their address within this time, or not at all. */
#define NETWORK_NS (180 * NS_PER_S)
/* As upstream: how long a call may wait for the agent's socket. */
#define AGENT_WAIT_NS (150 * NS_PER_S)

static struct settings {
	bool version;
	char *config, *listen, *agent_socket, *pod_netns, *host_interface;
	char *ca_file, *cert_file, *key_file;
	bool skip_verify, disable_tls, skip_pod_network;
	uint64_t session_keep_ns;
	int64_t max_connections;
	char *log_level, *log_format;
} settings;

static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const log_formats[] = {"text", "json", NULL};

#define AT(member) offsetof(struct settings, member)

static const struct option options[] = {
	{"version", NULL, NULL, "print the version and end", AT(version), OPTION_BOOL},
	{"config", NULL, APF_PATH, "configuration that came with the user data", AT(config),
		OPTION_STRING},
	{"listen", NULL, "0.0.0.0:15150", "address to listen on; 0.0.0.0 takes IPv6 as well",
		AT(listen), OPTION_STRING},
	{"kata-agent-socket", NULL, "/run/kata-containers/agent.sock",
		"kata-agent's socket: a path, unix:///path or vsock://cid:port", AT(agent_socket),
		OPTION_STRING},
	{"pod-namespace", NULL, "/run/netns/podns", "network namespace of the pod", AT(pod_netns),
		OPTION_STRING},
	{"host-interface", NULL, NULL, "network card of a dedicated tunnel", AT(host_interface),
		OPTION_STRING},
	{"ca-cert-file", NULL, NULL, "CA that signs client certificates (PEM), before apf.json's",
		AT(ca_file), OPTION_STRING},
	{"cert-file", NULL, NULL, "own certificate (PEM), before apf.json's", AT(cert_file),
		OPTION_STRING},
	{"cert-key", NULL, NULL, "key of the own certificate (PEM)", AT(key_file), OPTION_STRING},
	{"tls-skip-verify", NULL, NULL, "accepted for compatibility: clients are always verified",
		AT(skip_verify), OPTION_BOOL},
	{"disable-tls", NULL, NULL, "plain TCP, testing only", AT(disable_tls), OPTION_BOOL},
	{"session-keep", NULL, "10m", "how long a session is kept while its tunnel is broken",
		AT(session_keep_ns), OPTION_DURATION},
	{"max-connections", NULL, "16", "tunnels at once", AT(max_connections), OPTION_INT,
		.min = 1, .max = 4096},
	{"skip-pod-network", NULL, NULL, "do not set the pod's network up, testing only",
		AT(skip_pod_network), OPTION_BOOL},
	{"log-level", NULL, "info", "what to log", AT(log_level), OPTION_ENUM,
		.choices = log_levels},
	{"log-format", NULL, "text", "how to log", AT(log_format), OPTION_ENUM,
		.choices = log_formats},
};

static struct option_set sets[] = {
	{"Options", options, array_size(options), &settings},
};

/* ---- configuration ---------------------------------------------------------------------------- */

static int load_config(struct apf *apf, struct error *err)
{
	cleanup(buf_wipe) struct buf text = BUF_INIT;
	if (file_read(settings.config, APF_SIZE_MAX, &text, err) < 0)
		return error_prefix(err, "configuration");
	if (apf_read(text.data, text.len, apf, err) < 0)
		return error_prefix(err, "configuration %s", settings.config);
	return 0;
}

static int read_pem(const char *what, const char *path, struct buf *out, struct error *err)
{
	if (file_read(path, PEM_FILE_MAX, out, err) < 0)
		return error_prefix(err, "%s", what);
	return 0;
}

static int make_tls(const struct apf *apf, SSL_CTX **tls, struct error *err)
{
	*tls = NULL;
	if (settings.disable_tls) {
		log_warn("TLS is disabled: everybody on the network can speak to the agent");
		return 0;
	}
	if (settings.skip_verify && *settings.ca_file)
		return error_set(err, ERROR_INVALID,
			"-tls-skip-verify and -ca-cert-file exclude each other");
	if (!*settings.cert_file != !*settings.key_file)
		return error_set(err, ERROR_INVALID, "-cert-file and -cert-key belong together");

	cleanup(buf_free) struct buf ca = BUF_INIT, cert = BUF_INIT;
	cleanup(buf_wipe) struct buf key_text = BUF_INIT;
	cleanup_secret key = SECRET_INIT;
	struct tls_server_settings server = {
		.cert_pem = apf->tls_server_cert,
		.key_pem = &apf->tls_server_key,
		.client_ca_pem = apf->tls_client_ca,
	};
	if (*settings.ca_file) {
		if (read_pem("-ca-cert-file", settings.ca_file, &ca, err) < 0)
			return -1;
		server.client_ca_pem = buf_text(&ca);
	}
	if (*settings.cert_file) {
		if (read_pem("-cert-file", settings.cert_file, &cert, err) < 0 ||
			read_pem("-cert-key", settings.key_file, &key_text, err) < 0)
			return -1;
		if (!secret_set(&key, buf_text(&key_text), key_text.len))
			return error_set(err, ERROR_INTERNAL, "out of memory");
		server.cert_pem = buf_text(&cert);
		server.key_pem = &key;
	}
	if (!server.cert_pem || !*server.cert_pem || secret_is_empty(server.key_pem))
		return error_set(err, ERROR_INVALID,
			"no TLS certificate: %s has none, and -cert-file and -cert-key are not given",
			settings.config);

	cleanup(buf_free) struct buf suites = BUF_INIT;
	for (char **suite = apf->tls_cipher_suites; suite && *suite; suite++)
		buf_printf(&suites, "%s%s", suites.len ? "," : "", *suite);
	cleanup(tls_profile_free) struct tls_profile profile = {0};
	if (tls_profile_parse(apf->tls_min_version ? apf->tls_min_version : "", buf_text(&suites),
		    &profile, err) < 0)
		return error_prefix(err, "configuration %s", settings.config);
	server.profile = &profile;
	*tls = tls_server_context(&server, err);
	return *tls ? 0 : -1;
}

/* ---- serving ---------------------------------------------------------------------------------- */

static bool request_passes(struct relay *relay, struct front *front,
	const struct ttrpc_header *header, const struct ttrpc_request *request)
{
	struct forwarder *f = relay->owner;
	return sessions_request(f, front, header, request) ||
	       agent_link_request(&f->agent, front, header, request);
}

static const struct relay_ops forwarder_relay_ops = {
	.request = request_passes,
	.back_lost = agent_link_lost,
	.front_lost = sessions_front_lost,
	.front_closed = sessions_front_closed,
};

static void second_signal(int number)
{
	(void)number;
	_exit(1);
}

static void on_signal(evutil_socket_t number, short what, void *context)
{
	(void)what;
	struct forwarder *f = context;
	log_info("signal %d: ending", (int)number);
	notify_service_manager("STOPPING=1");
	loop_stop(&f->loop);
}

static int serve(struct forwarder *f, SSL_CTX *tls, struct error *err)
{
	if (loop_init(&f->loop, true, err) < 0)
		return -1;
	f->rules = (struct rule_set){.rules = forwarder_rules,
		.count = forwarder_rule_count,
		.settings = {.pod_netns = settings.pod_netns}};
	f->session_keep_ns = settings.session_keep_ns;
	relay_init(&f->relay, &f->loop, &forwarder_relay_ops, &f->rules, f);
	f->relay.max_wait_ns = AGENT_WAIT_NS;
	struct event *ends[] = {
		evsignal_new(f->loop.base, SIGTERM, on_signal, f),
		evsignal_new(f->loop.base, SIGINT, on_signal, f),
	};
	for (size_t i = 0; i < array_size(ends); i++)
		event_add(ends[i], NULL);
	int result =
		door_open(&f->door, f, settings.listen, tls, (size_t)settings.max_connections, err);
	if (result == 0) {
		result = agent_link_start(&f->agent, f, settings.agent_socket, err);
		if (result == 0) {
			log_info("listening on %s", settings.listen);
			notify_service_manager("READY=1");
			loop_run(&f->loop);
		}
		agent_link_stop(&f->agent);
		door_close(&f->door);
	}
	relay_close(&f->relay);
	for (size_t i = 0; i < array_size(ends); i++)
		event_free(ends[i]);
	/* From here on the loop is over and a signal ends the process at once. */
	signal(SIGTERM, second_signal);
	signal(SIGINT, second_signal);
	loop_free(&f->loop);
	return result;
}

static int run(struct error *err)
{
	cleanup(apf_free) struct apf apf = {0};
	SSL_CTX *tls = NULL;
	struct sockaddr_storage agent;
	socklen_t agent_len;
	/* What can be refused without touching the machine comes first. */
	if (agent_address_parse(settings.agent_socket, &agent, &agent_len, err) < 0 ||
		load_config(&apf, err) < 0 || make_tls(&apf, &tls, err) < 0)
		return -1;
	log_context_set(
		(struct log_context){.pod = apf.pod_name, .pod_namespace = apf.pod_namespace});

	const struct podnetwork_vm_settings network = {.pod_netns = settings.pod_netns,
		.host_interface = settings.host_interface};
	int result = 0;
	struct forwarder forwarder = {0};
	if (!settings.skip_pod_network) {
		struct bound bound = {.deadline_ns = deadline_in(NETWORK_NS)};
		if (!apf.has_network)
			result = error_set(err, ERROR_INVALID,
				"configuration %s: \"pod-network\" is missing", settings.config);
		else
			result = podnetwork_vm_setup(&network, &apf.network, &bound,
				&forwarder.underlay_mtu, err);
		if (result < 0)
			error_prefix(err, "pod network");
	}
	if (result == 0) {
		result = serve(&forwarder, tls, err);
		cleanup_error left = ERROR_INIT;
		if (!settings.skip_pod_network &&
			podnetwork_vm_teardown(&network, &apf.network, &left) < 0)
			log_warn("take the pod network down: %s", error_message(&left));
	}
	SSL_CTX_free(tls);
	log_context_set((struct log_context){0});
	return result;
}

int main(int argc, char **argv)
{
	cleanup_error err = ERROR_INIT;
	bool help = false;
	log_init(PROGRAM, LOG_INFO, LOG_TEXT);
	log_never_wait();
	if (isolation_hide_memory(&err) < 0 ||
		options_parse(sets, array_size(sets), argc - 1, argv + 1, NULL, &help, &err) < 0) {
		log_error("%s", error_message(&err));
		return 1;
	}
	int result = 0;
	if (help) {
		printf("usage: " PROGRAM
		       " [options]\n\nRuns in the pod VM: lets the worker's agent-proxy "
		       "speak to kata-agent.\n\n");
		options_help(sets, array_size(sets), stdout);
	} else if (settings.version) {
		printf(PROGRAM " " PEERPOD_VERSION "\n");
	} else {
		enum log_level level = LOG_INFO;
		enum log_format format = LOG_TEXT;
		log_level_parse(settings.log_level, &level, NULL);
		log_format_parse(settings.log_format, &format, NULL);
		log_init(PROGRAM, level, format);
		signal(SIGPIPE, SIG_IGN);
		result = run(&err);
		if (result < 0)
			log_error("%s", error_message(&err));
	}
	options_free(sets, array_size(sets));
	return result < 0 ? 1 : 0;
}
