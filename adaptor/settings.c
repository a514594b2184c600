/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - see settings.h */
#include "adaptor/settings.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "initdata/initdata.h"
#include "podnetwork/podnetwork.h"
#include "tls/tls.h"

/* Chains are a few KiB. */
#define CERTIFICATE_FILE_MAX ((size_t)64 * 1024)

/* Upstream's tunnel types: there is one. */
static const char *const tunnel_types[] = {"vxlan", NULL};
static const char *const on_off[] = {"on", "off", NULL};
static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const log_formats[] = {"text", "json", NULL};

/* A macro must hold constants: the numbers of podnetwork.h as text. */
#define TEXT_OF_(x) #x
#define TEXT_OF(x) TEXT_OF_(x)

#define AT(member) .offset = offsetof(struct settings, member)

const struct option settings_options[] = {
	{"socket", "REMOTE_HYPERVISOR_ENDPOINT", "/run/peerpod/hypervisor.sock",
		"Unix socket of the hypervisor service", AT(socket), .required = true},
	{"pods-dir", "PODS_DIR", "/run/peerpod/pods",
		"folder of the per-sandbox folders that hold the agent sockets", AT(pods_dir),
		.required = true},
	{"pause-image", "PAUSE_IMAGE", "", "accepted and without effect, as upstream",
		AT(pause_image)},
	{"forwarder-port", "FORWARDER_PORT", "15150", "TCP port of the forwarder in the pod VM",
		AT(forwarder_port), OPTION_INT, .min = 1, .max = 65535},
	{"ca-cert-file", "CACERT_FILE", "",
		"certificate authority of the forwarders' own certificates; empty: certificates are made per pod VM",
		AT(ca_cert_file)},
	{"cert-file", "CERT_FILE", "",
		"client certificate for the forwarders; empty: one is made per pod VM",
		AT(cert_file)},
	{"cert-key", "CERT_KEY", "", "key of the client certificate", AT(cert_key)},
	{"tls-skip-verify", "TLS_SKIP_VERIFY", "false",
		"accepted and without effect, as upstream: the forwarder's certificate is always verified",
		AT(tls_skip_verify), OPTION_BOOL},
	{"tls-min-version", "TLS_MIN_VERSION", "",
		"lowest TLS version: VersionTLS12 or VersionTLS13; empty: VersionTLS13, but VersionTLS12 with -tls-cipher-suites; also sent to the pod VM",
		AT(tls_min_version)},
	{"tls-cipher-suites", "TLS_CIPHER_SUITES", "",
		"comma-separated IANA names of TLS 1.2 suites; also sent to the pod VM",
		AT(tls_cipher_suites)},
	{"proxy-timeout", "PROXY_TIMEOUT", "5m0s", "bound on reaching the agent in the pod VM",
		AT(proxy_timeout_ns), OPTION_DURATION},
	{"tunnel-type", "TUNNEL_TYPE", "vxlan", "how the pod's network reaches the pod VM",
		AT(tunnel_type), OPTION_ENUM, .choices = tunnel_types},
	{"vxlan-port", "VXLAN_PORT", TEXT_OF(PODNETWORK_VXLAN_PORT), "UDP port of the tunnel",
		AT(vxlan_port), OPTION_INT, .min = 1, .max = 65535},
	{"vxlan-min-id", NULL, TEXT_OF(PODNETWORK_VXLAN_MIN_ID), "lowest VXLAN network identifier",
		AT(vxlan_min_id), OPTION_INT, .min = 1, .max = PODNETWORK_VXLAN_MAX_ID},
	{"host-interface", NULL, "",
		"worker's interface for the tunnel; empty: the one of the default route",
		AT(host_interface)},
	{"tunnel-csum", "TUNNEL_CSUM", "on",
		"UDP checksums of the tunnel's outer packets; off where a NIC spoils them",
		AT(tunnel_csum), OPTION_ENUM, .choices = on_off},
	{"nic-tx-csum", "NIC_TX_CSUM", "on",
		"checksum offload of the tunnel's devices; off where a NIC spoils what is inside VXLAN, at a price in speed",
		AT(nic_tx_csum), OPTION_ENUM, .choices = on_off},
	{"initdata", "INITDATA", "",
		"initdata for pods that bring none: base64 of gzip of TOML; checked at start",
		AT(initdata)},
	{"cloud-config-verify", "CLOUD_CONFIG_VERIFY", "false",
		"do not start unless the provider's configuration passes its check against the cloud",
		AT(cloud_config_verify), OPTION_BOOL},
	{"check", NULL, "false",
		"check the provider's configuration against the cloud, print what is right and wrong, and end",
		AT(check), OPTION_BOOL},
	{"peerpods-limit-per-node", "PEERPODS_LIMIT_PER_NODE", "10",
		"capacity of kata.peerpods.io/vm advertised on the node; negative: none",
		AT(peerpods_limit), OPTION_INT},
	{"enable-scratch-space", "ENABLE_SCRATCH_SPACE", "false",
		"encrypted scratch space in the pod VM", AT(scratch_space), OPTION_BOOL},
	{"ext-network-via-podvm", "EXTERNAL_NETWORK_VIA_PODVM", "false",
		"the pod VM's second interface goes into the pod's network namespace",
		AT(ext_network_via_podvm), OPTION_BOOL},
	{"pod-subnet-cidrs", "POD_SUBNET_CIDRS", "",
		"comma-separated prefixes that stay on the tunnel in that mode",
		AT(pod_subnet_cidrs)},
	{"disable-tls", NULL, "false", "plain TCP to the forwarder; testing only", AT(disable_tls),
		OPTION_BOOL},

	{"state-dir", "STATE_DIR", "/var/lib/peerpod",
		"folder of the journal and of the node's certificate authority", AT(state_dir),
		.required = true},
	{"agent-proxy-socket", "AGENT_PROXY_SOCKET", "/run/peerpod/agent-proxy.sock",
		"control socket of agent-proxy", AT(agent_proxy_socket), .required = true},
	{"agent-proxy", "AGENT_PROXY", "",
		"agent-proxy program to start when nobody serves its socket; empty: never start one",
		AT(agent_proxy)},
	{"provider-dir", "PROVIDER_DIR", "",
		"folder of the drivers; empty: providers beside this program, then the installed one",
		AT(provider_dir)},
	{"cluster-name", "CLUSTER_NAME", "",
		"cluster that instances are tagged with; empty: a name made once and kept in the state folder",
		AT(cluster_name)},
	{"node-name", "NODE_NAME", "",
		"worker that instances are tagged with; empty: the host's name", AT(node_name)},
	{"create-grace", "CREATE_GRACE", "15m",
		"a sandbox that was created and not started for this long is removed",
		AT(create_grace_ns), OPTION_DURATION},
	{"shim-grace", "SHIM_GRACE", "2m",
		"a running sandbox that no shim is connected to for this long is removed; 0: never",
		AT(shim_grace_ns), OPTION_DURATION},
	{"orphan-grace", "ORPHAN_GRACE", "15m",
		"an instance of this node that no record knows is deleted when it is older than this; 0: never",
		AT(orphan_grace_ns), OPTION_DURATION},
	{"orphan-interval", "ORPHAN_INTERVAL", "10m", "how often such instances are looked for",
		AT(orphan_interval_ns), OPTION_DURATION},
	{"log-level", "LOG_LEVEL", "info", "lowest level that is logged", AT(log_level),
		OPTION_ENUM, .choices = log_levels},
	{"log-format", "LOG_FORMAT", "text", "form of a log line", AT(log_format), OPTION_ENUM,
		.choices = log_formats},
	{NULL, "PROBE_PORT", "-1",
		"port of /startup, /livez and /readyz on 127.0.0.1; 0: none; -1: 8000 where the variable NODE_NAME is set, as in Kubernetes, else none",
		AT(probe_port), OPTION_INT, .min = -1, .max = 65535},
};
const size_t settings_option_count = array_size(settings_options);

struct option_set settings_option_set(struct settings *settings)
{
	return (struct option_set){.title = "Options",
		.options = settings_options,
		.count = settings_option_count,
		.values = settings};
}

static int check_initdata(const struct settings *settings, struct error *err)
{
	if (!*settings->initdata)
		return 0;
	cleanup(initdata_free) struct initdata initdata = {0};
	if (initdata_decode(settings->initdata, strlen(settings->initdata), &initdata, err) < 0)
		return error_prefix(err, "option -initdata (INITDATA)");
	/* Attestation agent, data hub, agent and forwarder of an upstream image wait for this file. */
	if (!initdata_find(&initdata, "aa.toml"))
		return error_set(err, ERROR_INVALID,
			"option -initdata (INITDATA): [data] has no \"aa.toml\", without which nothing starts in "
			"the pod VM: add it, an empty text will do");
	return 0;
}

static int read_pem(const char *option, const char *file, struct buf *out, struct error *err)
{
	if (!*file)
		return 0;
	if (file_read(file, CERTIFICATE_FILE_MAX, out, err) < 0)
		return error_prefix(err, "option -%s", option);
	return out->len ? 0
			: error_set(err, ERROR_INVALID, "option -%s: %s is empty", option, file);
}

/* What is wrong with them is said now, and not when the first pod is made. */
static int try_certificates(const struct settings *settings, struct error *err)
{
	cleanup(buf_free) struct buf ca = BUF_INIT, cert = BUF_INIT;
	cleanup(buf_wipe) struct buf key_text = BUF_INIT;
	cleanup_secret key = SECRET_INIT;
	if (read_pem("ca-cert-file", settings->ca_cert_file, &ca, err) < 0 ||
		read_pem("cert-file", settings->cert_file, &cert, err) < 0 ||
		read_pem("cert-key", settings->cert_key, &key_text, err) < 0)
		return -1;
	if (!secret_set(&key, buf_text(&key_text), key_text.len))
		return error_set(err, ERROR_CAPACITY, "out of memory");
	const struct tls_client_settings trial = {
		.ca_pem = buf_text(&ca),
		.cert_pem = buf_text(&cert),
		.key_pem = &key,
		.skip_verify = !*settings->ca_cert_file,
		.profile = &settings->profile,
	};
	struct tls_client *client = tls_client_new(&trial, err);
	tls_client_free(client);
	return client ? 0 : error_prefix(err, "options -ca-cert-file, -cert-file and -cert-key");
}

static int check_custom_tls(const struct settings *settings, struct error *err)
{
	if (!*settings->cert_file != !*settings->cert_key)
		return error_set(err, ERROR_INVALID,
			"options -cert-file (CERT_FILE) and -cert-key (CERT_KEY) go together: %s is not set",
			*settings->cert_file ? "-cert-key" : "-cert-file");
	if (*settings->ca_cert_file && settings->tls_skip_verify)
		return error_set(err, ERROR_INVALID,
			"options -ca-cert-file (CACERT_FILE) and -tls-skip-verify (TLS_SKIP_VERIFY) exclude each "
			"other");
	return *settings->ca_cert_file || *settings->cert_file ? try_certificates(settings, err)
							       : 0;
}

static bool is_cidr(const char *text)
{
	char address[INET6_ADDRSTRLEN + 1];
	const char *slash = strchr(text, '/');
	if (!slash || (size_t)(slash - text) >= sizeof(address))
		return false;
	memcpy(address, text, (size_t)(slash - text));
	address[slash - text] = 0;
	unsigned char bytes[16];
	long most = inet_pton(AF_INET, address, bytes) == 1    ? 32
		    : inet_pton(AF_INET6, address, bytes) == 1 ? 128
							       : -1;
	size_t digits = strspn(slash + 1, "0123456789");
	return most >= 0 && digits > 0 && digits <= 3 && !slash[1 + digits] &&
	       strtol(slash + 1, NULL, 10) <= most;
}

static int check_cidrs(const struct settings *settings, struct error *err)
{
	cleanup(free_ptr) char *copy = strdup(settings->pod_subnet_cidrs);
	if (!copy)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	char *rest = copy;
	for (char *item; (item = strsep(&rest, ","));) {
		item += strspn(item, " \t");
		item[strcspn(item, " \t")] = 0;
		if (*item && !is_cidr(item))
			return error_set(err, ERROR_INVALID,
				"option -pod-subnet-cidrs (POD_SUBNET_CIDRS): \"%s\" is no prefix: write it like "
				"10.0.0.0/8",
				item);
	}
	return 0;
}

/* The paths end up in tags of a Unix socket and in a URL that the shim makes of it. */
static int check_path(const char *option, const char *path, struct error *err)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-";
	if (*path != '/' || path[strspn(path, allowed)])
		return error_set(err, ERROR_INVALID,
			"option -%s: \"%s\" must be an absolute path of letters, digits, '.', '_' and '-'",
			option, path);
	return 0;
}

static int default_node_name(struct settings *settings, struct error *err)
{
	if (*settings->node_name)
		return 0;
	char name[HOST_NAME_MAX + 1];
	if (gethostname(name, sizeof(name)) < 0)
		return error_set_errno(err, errno, "name of this host");
	free(settings->node_name);
	settings->node_name = strdup(name);
	return settings->node_name ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}

int settings_check(struct settings *settings, struct error *err)
{
	if (log_level_parse(settings->log_level, &settings->level, err) < 0 ||
		log_format_parse(settings->log_format, &settings->format, err) < 0)
		return -1;
	if (check_path("socket", settings->socket, err) < 0 ||
		check_path("pods-dir", settings->pods_dir, err) < 0 ||
		check_path("agent-proxy-socket", settings->agent_proxy_socket, err) < 0 ||
		check_path("state-dir", settings->state_dir, err) < 0)
		return -1;
	if (settings->proxy_timeout_ns == 0)
		return error_set(err, ERROR_INVALID,
			"option -proxy-timeout (PROXY_TIMEOUT) must be longer than 0");
	if (settings->create_grace_ns == 0)
		return error_set(err, ERROR_INVALID,
			"option -create-grace (CREATE_GRACE) must be longer than 0: no sandbox could be started");
	if (settings->orphan_interval_ns == 0)
		return error_set(err, ERROR_INVALID,
			"option -orphan-interval (ORPHAN_INTERVAL) must be longer than 0");
	if (tls_profile_parse(settings->tls_min_version, settings->tls_cipher_suites,
		    &settings->profile, err) < 0)
		return error_prefix(err, "options -tls-min-version and -tls-cipher-suites");
	if (check_custom_tls(settings, err) < 0 || check_cidrs(settings, err) < 0 ||
		check_initdata(settings, err) < 0)
		return -1;
	return default_node_name(settings, err);
}

void settings_free(struct settings *settings)
{
	struct option_set set = settings_option_set(settings);
	options_free(&set, 1);
	tls_profile_free(&settings->profile);
}
