/* SPDX-License-Identifier: Apache-2.0 */
/* driver.c - the netns driver's options, opening and check, and what it would cost; see driver.h */
#include "driver.h"

#include <dlfcn.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

void driver_close(struct provider *p)
{
	if (!p)
		return;
	free(p->bin_dir);
	free(p->bundles);
	free(p);
}

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

struct provider *driver_open(const void *values, const struct bound *bound, struct error *err)
{
	(void)bound;
	const struct values *v = values;
	cleanup(driver_close_ptr) struct provider *p = calloc(1, sizeof(*p));
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

int driver_check(struct provider *p, struct check_report *report, const struct bound *bound,
	struct error *err)
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

/* What there would be to choose from, if namespaces had sizes and cost anything. */
int driver_offerings(struct provider *provider, struct offerings *out, const struct bound *bound,
	struct error *err)
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
	DRIVER_VERBS,
	.offerings = driver_offerings,
	.name = "netns",
	.title = "namespaces of this machine (for tests)",
	.options = options,
	.option_count = array_size(options),
	.values_size = sizeof(struct values),
};
