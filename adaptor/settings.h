/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - what the command line and the environment say, one table
 *
 * Names, variables, defaults and meaning of the first group are upstream's, so that existing
 * ConfigMaps and manifests drive this program; the second group is ours.
 */
#ifndef PEERPOD_ADAPTOR_SETTINGS_H
#define PEERPOD_ADAPTOR_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "base/log.h"
#include "base/option.h"
#include "tls/tls.h"

struct settings {
	/* upstream's */
	char *socket;
	char *pods_dir;
	char *pause_image;
	int64_t forwarder_port;
	char *ca_cert_file;
	char *cert_file;
	char *cert_key;
	bool tls_skip_verify;
	char *tls_min_version;
	char *tls_cipher_suites;
	uint64_t proxy_timeout_ns;
	char *tunnel_type;
	int64_t vxlan_port;
	int64_t vxlan_min_id;
	char *host_interface;
	char *tunnel_csum, *nic_tx_csum; /* "on", "off" */
	char *initdata;                  /* base64(gzip(TOML)) or "" */
	bool cloud_config_verify;
	bool check;
	int64_t peerpods_limit;
	bool scratch_space;
	bool ext_network_via_podvm;
	char *pod_subnet_cidrs;
	bool disable_tls;
	/* ours */
	char *state_dir;
	char *agent_proxy_socket;
	char *agent_proxy; /* program to start, or "" */
	char *provider_dir;
	char *cluster_name;
	char *node_name;
	uint64_t create_grace_ns;
	uint64_t shim_grace_ns;
	uint64_t orphan_grace_ns;
	uint64_t orphan_interval_ns;
	char *log_level;
	char *log_format;
	int64_t probe_port; /* 0: no probes; -1: nobody said */

	/* made of the above by settings_check */
	struct tls_profile profile;
	enum log_level level;
	enum log_format format;
};

extern const struct option settings_options[];
extern const size_t settings_option_count;

/* The table with its values, for options_parse and the help. */
struct option_set settings_option_set(struct settings *settings);

/*
 * Checks what single values cannot tell, and fills the derived members and the defaults that depend
 * on the machine (node name). Reads the files named. Errors name the option.
 */
int settings_check(struct settings *settings, struct error *err);

void settings_free(struct settings *settings);

#endif
