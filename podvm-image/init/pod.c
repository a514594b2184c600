/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pod.c - see pod.h
 *
 * Agent and forwarder start together: the forwarder makes the pod network and listens while the agent
 * comes up, and dials the agent when the first call arrives. The agent is not started twice: its end is
 * the end of the pod, as it ends itself after DestroySandbox. The forwarder is: a new one finds the
 * agent and its containers still there.
 */
#include "pod.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "base/bound.h"
#include "base/file.h"
#include "base/log.h"
#include "stage.h"

/* New starts of a forwarder that fails: the first almost at once, then ever more slowly. */
#define FORWARDER_PAUSE_MIN_NS (100 * NS_PER_MS)
#define FORWARDER_PAUSE_MAX_NS (5 * NS_PER_S)
/* A forwarder that ran this long was healthy: the next failure counts as a first one. */
#define FORWARDER_HEALTHY_NS (30 * NS_PER_S)

/* How long programs may take to end after SIGTERM before they are killed. */
#define FORWARDER_STOP_NS (5 * NS_PER_S)
#define AGENT_STOP_NS (3 * NS_PER_S)

static int add_all(struct service *service, const char *const *args, struct error *err)
{
	for (; *args; args++) {
		if (service_add(service, *args, err) < 0)
			return -1;
	}
	return 0;
}

static int add_program(struct service *service, const struct settings *settings, const char *name,
	struct error *err)
{
	service->name = name;
	cleanup(free_ptr) char *path = settings_program(settings, name);
	if (!path)
		return error_set(err, ERROR_CAPACITY, "%s: out of memory", name);
	return service_add(service, path, err);
}

static int add_agent(struct service *service, const struct settings *settings, struct error *err)
{
	const char *slash = strrchr(settings->agent, '/');
	service->name = slash ? slash + 1 : settings->agent;
	if (service_add(service, settings->agent, err) < 0)
		return -1;
	/* Only our own agent takes our options; every other one is taken for a kata-agent. */
	const char *const ours[] = {"-socket", INIT_AGENT_SOCKET, "-bundles", settings->bundles,
		NULL};
	const char *const kata[] = {"--config", INIT_AGENT_CONFIG, NULL};
	return add_all(service, strcmp(service->name, "mini-agent") ? kata : ours, err);
}

int pod_init(struct pod *pod, const struct settings *settings, struct error *err)
{
	*pod = (struct pod){
		.forwarder_again_ns = DEADLINE_NEVER,
		.forwarder_pause_ns = FORWARDER_PAUSE_MIN_NS,
	};
	struct service *user_data = &pod->services[POD_USER_DATA];
	if (add_program(user_data, settings, "process-user-data", err) < 0 ||
		service_add(user_data, "provision-files", err) < 0)
		return -1;
	if (add_agent(&pod->services[POD_AGENT], settings, err) < 0)
		return -1;
	struct service *forwarder = &pod->services[POD_FORWARDER];
	const char *const args[] = {"-pod-namespace", INIT_POD_NETNS, "-kata-agent-socket",
		INIT_AGENT_SOCKET, NULL};
	if (add_program(forwarder, settings, "agent-protocol-forwarder", err) < 0 ||
		add_all(forwarder, args, err) < 0 ||
		service_add_words(forwarder, settings->forwarder_options, err) < 0)
		return -1;
	return 0;
}

void pod_free(struct pod *pod)
{
	for (size_t i = 0; i < POD_SERVICES; i++)
		service_free(&pod->services[i]);
}

/* One event, with what every caller wants done about it done. */
static enum service_event wait_event(struct pod *pod, uint64_t deadline_ns, struct error *err)
{
	enum service_event event = services_wait(pod->services, POD_SERVICES, deadline_ns, err);
	if (event == SERVICE_STOP)
		pod->stopping = true;
	if (event == SERVICE_NETWORK)
		pod->network = true;
	struct service *dhcp = &pod->services[POD_DHCP];
	if (dhcp->ended) {
		char fate[64];
		service_fate(dhcp, fate, sizeof(fate));
		log_error("%s %s: the address is not renewed any more", dhcp->name, fate);
		dhcp->ended = false;
	}
	return event;
}

int pod_user_data_start(struct pod *pod, struct error *err)
{
	return service_start(&pod->services[POD_USER_DATA], err);
}

int pod_user_data_finish(struct pod *pod, struct error *err)
{
	struct service *user_data = &pod->services[POD_USER_DATA];
	while (!user_data->ended && !pod->stopping) {
		if (wait_event(pod, DEADLINE_NEVER, err) == SERVICE_FAILED)
			return -1;
	}
	if (pod->stopping)
		return 1;
	user_data->ended = false;
	if (user_data->status != 0) {
		char fate[64];
		service_fate(user_data, fate, sizeof(fate));
		return error_set(err, ERROR_INVALID,
			"process-user-data %s: the pod VM has no usable user data", fate);
	}
	stage_line("user-data");
	return 0;
}

int pod_wait_network(struct pod *pod, uint64_t timeout_ns, struct error *err)
{
	uint64_t deadline_ns = deadline_in(timeout_ns);
	while (!pod->network && !pod->stopping && pod->services[POD_DHCP].pid) {
		enum service_event event = wait_event(pod, deadline_ns, err);
		if (event == SERVICE_FAILED)
			return -1;
		if (event == SERVICE_TIMEOUT)
			break;
	}
	return 0;
}

static int start_forwarder(struct pod *pod, struct error *err)
{
	pod->forwarder_again_ns = DEADLINE_NEVER;
	if (service_start(&pod->services[POD_FORWARDER], err) < 0)
		return -1;
	stage_line("forwarder started");
	return 0;
}

int pod_start(struct pod *pod, struct error *err)
{
	struct service *agent = &pod->services[POD_AGENT];
	if (dir_make("/run/kata-containers", 0755, err) < 0)
		return -1;
	/* An agent that finds its socket there refuses to start; nothing else can own it here. */
	if (file_remove(INIT_AGENT_SOCKET, err) < 0)
		return -1;
	if (service_start(agent, err) < 0)
		return -1;
	stage_line("agent %s started", agent->name);
	return start_forwarder(pod, err);
}

static void forwarder_ended(struct pod *pod)
{
	struct service *forwarder = &pod->services[POD_FORWARDER];
	forwarder->ended = false;
	if (clock_ns() - forwarder->started_ns >= FORWARDER_HEALTHY_NS)
		pod->forwarder_pause_ns = FORWARDER_PAUSE_MIN_NS;
	char fate[64];
	service_fate(forwarder, fate, sizeof(fate));
	log_warn("%s %s: it is started again in %llu ms", forwarder->name, fate,
		(unsigned long long)(pod->forwarder_pause_ns / NS_PER_MS));
	pod->forwarder_again_ns = deadline_in(pod->forwarder_pause_ns);
	pod->forwarder_pause_ns *= 2;
	if (pod->forwarder_pause_ns > FORWARDER_PAUSE_MAX_NS)
		pod->forwarder_pause_ns = FORWARDER_PAUSE_MAX_NS;
}

/* SIGTERM, and SIGKILL if that was not enough in time. */
static void stop_service(struct pod *pod, struct service *service, uint64_t patience_ns)
{
	service_signal(service, SIGTERM);
	uint64_t deadline_ns = deadline_in(patience_ns);
	while (service->pid) {
		enum service_event event = wait_event(pod, deadline_ns, NULL);
		if (event == SERVICE_TIMEOUT && deadline_ns != DEADLINE_NEVER) {
			log_warn("%s did not end in time: it is killed", service->name);
			service_signal(service, SIGKILL);
			deadline_ns = DEADLINE_NEVER;
		}
		if (event == SERVICE_FAILED)
			return;
	}
}

int pod_run(struct pod *pod, struct error *err)
{
	struct service *agent = &pod->services[POD_AGENT];
	struct service *forwarder = &pod->services[POD_FORWARDER];
	while (!agent->ended && !pod->stopping) {
		switch (wait_event(pod, pod->forwarder_again_ns, err)) {
		case SERVICE_FAILED:
			return -1;
		case SERVICE_TIMEOUT:
			if (start_forwarder(pod, err) < 0)
				return -1;
			break;
		case SERVICE_ENDED:
			if (forwarder->ended)
				forwarder_ended(pod);
			break;
		case SERVICE_NETWORK:
		case SERVICE_STOP:
			break;
		}
	}
	bool by_itself = agent->ended;
	int status = agent->status;
	char fate[64];
	service_fate(agent, fate, sizeof(fate));
	if (by_itself)
		stage_line("agent %s", fate);
	else
		stage_line("told to stop");
	/* First the forwarder: it delivers the replies that the agent has given, then the network goes. */
	stop_service(pod, forwarder, FORWARDER_STOP_NS);
	stop_service(pod, agent, AGENT_STOP_NS);
	if (by_itself && status != 0)
		return error_set(err, ERROR_INTERNAL, "%s %s", agent->name, fate);
	return 0;
}
