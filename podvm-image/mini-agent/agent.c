/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent.c - see agent.h
 *
 * Each method decodes its request, works, and packs its reply. Codes are kata-agent's: 3 for an
 * unknown container, 5 for an unknown process, 12 for what is not implemented here, 13 for every
 * other failure.
 */
#include "agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/log.h"
#include "copy_file.h"
#include "proto/agent.pb-c.h"
#include "ttrpc/message.h"

/* More than any shim asks for at once (32 KiB). */
#define READ_MAX ((size_t)1 << 20)

#define scoped_message cleanup(message_ptr)

/* Decodes the request as `request`, or returns. */
#define decode(type, name)                                                                        \
	scoped_message Agent__##type *request =                                                   \
		(Agent__##type *)message_unpack(&agent__##name##__descriptor, call->payload.data, \
			call->payload.len, err);                                                  \
	if (!request)                                                                             \
	return -1

static int reply_with(struct ttrpc_call *call, const void *message, struct error *err)
{
	return message_pack(message, &call->reply, err);
}

/* Failures that do not carry a code of the protocol are internal ones. */
static int coded(int result, struct error *err)
{
	if (result < 0 && !err->status) {
		switch (err->kind) {
		case ERROR_UNSUPPORTED:
			err->status = TTRPC_UNIMPLEMENTED;
			break;
		case ERROR_TIMEOUT:
			err->status = TTRPC_DEADLINE_EXCEEDED;
			break;
		case ERROR_CANCELED:
			err->status = TTRPC_CANCELED;
			break;
		default:
			err->status = TTRPC_INTERNAL;
		}
	}
	return result;
}

/*
 * ---- health and what the agent is -------------------------------------------------------------
 */

/* protobuf-c has no strings of constants; packing does not change them. */
static char agent_version[] = "mini-agent-" PEERPOD_VERSION;

static int check(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	Agent__HealthCheckResponse reply = AGENT__HEALTH_CHECK_RESPONSE__INIT;
	reply.status = 1;
	return coded(reply_with(call, &reply, err), err);
}

static int version(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	Agent__VersionCheckResponse reply = AGENT__VERSION_CHECK_RESPONSE__INIT;
	static char grpc_version[] = "0.0.1";
	reply.grpc_version = grpc_version;
	reply.agent_version = agent_version;
	return coded(reply_with(call, &reply, err), err);
}

static int guest_details(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	static char ephemeral[] = "ephemeral", image[] = "image_guest_pull", local[] = "local";
	char *handlers[] = {ephemeral, image, local};
	Agent__AgentDetails details = AGENT__AGENT_DETAILS__INIT;
	details.version = agent_version;
	details.storage_handlers = handlers;
	details.n_storage_handlers = array_size(handlers);
	Agent__GuestDetailsResponse reply = AGENT__GUEST_DETAILS_RESPONSE__INIT;
	reply.agent_details = &details;
	return coded(reply_with(call, &reply, err), err);
}

/* ---- the sandbox ----------------------------------------------------------------------------- */

static int create_sandbox(void *context, struct ttrpc_call *call, struct error *err)
{
	decode(CreateSandboxRequest, create_sandbox_request);
	log_info("sandbox %s: host %s", request->sandbox_id, request->hostname);
	return coded(sandbox_create(context, request, err), err);
}

static int destroy_sandbox(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)call;
	(void)err;
	log_info("the sandbox ends");
	sandbox_destroy(context);
	return 0;
}

/* A policy that is accepted and not enforced would be a lie. */
static int set_policy(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	(void)call;
	error_set(err, ERROR_UNSUPPORTED,
		"mini-agent enforces no policy: leave the policy out, or use kata-agent");
	return coded(-1, err);
}

static int do_copy_file(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	decode(CopyFileRequest, copy_file_request);
	return coded(copy_file(request, err), err);
}

static int get_oom_event(void *context, struct ttrpc_call *call, struct error *err)
{
	cleanup(free_ptr) char *id = NULL;
	if (sandbox_wait_oom(context, &id, &call->bound, err) < 0)
		return coded(-1, err);
	Agent__OOMEvent reply = AGENT__OOMEVENT__INIT;
	reply.container_id = id;
	return coded(reply_with(call, &reply, err), err);
}

/* ---- containers ------------------------------------------------------------------------------ */

static int create_container(void *context, struct ttrpc_call *call, struct error *err)
{
	decode(CreateContainerRequest, create_container_request);
	if (sandbox_create_container(context, request, &call->bound, err) < 0) {
		log_warn("create container %.128s: %s", request->container_id, error_message(err));
		return coded(-1, err);
	}
	log_info("container %s created", request->container_id);
	return 0;
}

static int start_container(void *context, struct ttrpc_call *call, struct error *err)
{
	decode(ContainerRequest, container_request);
	cleanup(container_unref_ptr) struct container *c =
		sandbox_container(context, request->container_id, err);
	/* Kata's agent answers 13 here: only process look-ups tell a wrong container apart. */
	if (!c)
		err->status = TTRPC_INTERNAL;
	return coded(c ? container_start(c, &call->bound, err) : -1, err);
}

static int remove_container(void *context, struct ttrpc_call *call, struct error *err)
{
	decode(RemoveContainerRequest, remove_container_request);
	/* Half removed helps nobody: a caller that goes away does not stop it, its timeout does. */
	struct bound bound = {.deadline_ns = DEADLINE_NEVER};
	if (request->timeout)
		bound.deadline_ns = deadline_in(request->timeout * NS_PER_S);
	int result = sandbox_remove_container(context, request->container_id, &bound, err);
	if (result < 0)
		err->status = 0;
	return coded(result, err);
}

static int stats_container(void *context, struct ttrpc_call *call, struct error *err)
{
	decode(ContainerRequest, container_request);
	cleanup(container_unref_ptr) struct container *c =
		sandbox_container(context, request->container_id, err);
	if (!c)
		return -1;
	struct cgroup_stats stats;
	cgroup_read_stats(&c->cgroup, &stats);
	Agent__StatsContainerResponse reply = AGENT__STATS_CONTAINER_RESPONSE__INIT;
	reply.cgroup_stats = &stats.stats;
	return coded(reply_with(call, &reply, err), err);
}

static int freeze(void *context, struct ttrpc_call *call, bool frozen, struct error *err)
{
	decode(ContainerRequest, container_request);
	cleanup(container_unref_ptr) struct container *c =
		sandbox_container(context, request->container_id, err);
	return coded(c ? cgroup_freeze(&c->cgroup, frozen, err) : -1, err);
}

static int pause_container(void *context, struct ttrpc_call *call, struct error *err)
{
	return freeze(context, call, true, err);
}

static int resume_container(void *context, struct ttrpc_call *call, struct error *err)
{
	return freeze(context, call, false, err);
}

static int update_container(void *context, struct ttrpc_call *call, struct error *err)
{
	decode(UpdateContainerRequest, update_container_request);
	cleanup(container_unref_ptr) struct container *c =
		sandbox_container(context, request->container_id, err);
	if (!c)
		return -1;
	struct cgroup_limits limits = cgroup_limits_of(request->resources);
	return coded(cgroup_limit(&c->cgroup, &limits, err), err);
}

static int get_diagnostic_data(void *context, struct ttrpc_call *call, struct error *err)
{
	decode(GetDiagnosticDataRequest, get_diagnostic_data_request);
	if (strcmp(request->log_type, "termination_log")) {
		error_set(err, ERROR_UNSUPPORTED, "there is no log \"%.64s\"", request->log_type);
		return coded(-1, err);
	}
	cleanup(container_unref_ptr) struct container *c =
		sandbox_container(context, request->container_id, err);
	if (!c)
		return coded(-1, err);
	cleanup(buf_free) struct buf text = BUF_INIT;
	if (container_read_termination_log(c, &text, err) < 0)
		return coded(-1, err);
	Agent__GetDiagnosticDataResponse reply = AGENT__GET_DIAGNOSTIC_DATA_RESPONSE__INIT;
	reply.data = (char *)buf_text(&text);
	return coded(reply_with(call, &reply, err), err);
}

/* ---- processes ------------------------------------------------------------------------------- */

static struct process *find(void *context, const char *container_id, const char *exec_id,
	struct container **container, struct error *err)
{
	*container = sandbox_container(context, container_id, err);
	return *container ? container_process(*container, exec_id, err) : NULL;
}

/* Decodes the request and finds its process, or returns. */
#define decode_process(type, name)                                               \
	decode(type, name);                                                      \
	cleanup(container_unref_ptr) struct container *c = NULL;                 \
	cleanup(process_unref_ptr) struct process *p =                           \
		find(context, request->container_id, request->exec_id, &c, err); \
	if (!p)                                                                  \
	return -1

static int exec_process(void *context, struct ttrpc_call *call, struct error *err)
{
	decode(ExecProcessRequest, exec_process_request);
	if (!request->process) {
		error_set(err, ERROR_INVALID, "exec: no process");
		return coded(-1, err);
	}
	cleanup(container_unref_ptr) struct container *c =
		sandbox_container(context, request->container_id, err);
	if (!c)
		err->status = TTRPC_INTERNAL;
	return coded(c ? container_exec(c, request->exec_id, request->process, &call->bound, err)
		       : -1,
		err);
}

static int signal_process(void *context, struct ttrpc_call *call, struct error *err)
{
	decode_process(SignalProcessRequest, signal_process_request);
	return coded(container_signal(c, p, !*request->exec_id, (int)request->signal, err), err);
}

static int wait_process(void *context, struct ttrpc_call *call, struct error *err)
{
	decode_process(WaitProcessRequest, wait_process_request);
	/* A caller that has gone meanwhile must not be the one that took the exit status away. */
	if (child_wait(&p->child, &call->bound, "wait", err) < 0 ||
		(cancel_fired(call->bound.cancel) && bound_check(&call->bound, "wait", err) < 0))
		return coded(-1, err);
	Agent__WaitProcessResponse reply = AGENT__WAIT_PROCESS_RESPONSE__INIT;
	child_exited(&p->child, &reply.status);
	container_forget(c, p);
	log_info("process %s of container %s ended with %d", p->exec_id, c->id, reply.status);
	return coded(reply_with(call, &reply, err), err);
}

static int write_stdin(void *context, struct ttrpc_call *call, struct error *err)
{
	decode(WriteStreamRequest, write_stream_request);
	cleanup(container_unref_ptr) struct container *c = NULL;
	cleanup(process_unref_ptr) struct process *p =
		find(context, request->container_id, request->exec_id, &c, err);
	if (!p) {
		err->status = TTRPC_INTERNAL;
		return -1;
	}
	/* The Rust shim says the end of the input with an empty write. */
	if (!request->data.len)
		process_close_stdin(p);
	else if (process_write(p, request->data.data, request->data.len, &call->bound, err) < 0)
		return coded(-1, err);
	Agent__WriteStreamResponse reply = AGENT__WRITE_STREAM_RESPONSE__INIT;
	reply.len = (uint32_t)request->data.len;
	return coded(reply_with(call, &reply, err), err);
}

static int read_output(void *context, struct ttrpc_call *call, enum process_output which,
	struct error *err)
{
	decode_process(ReadStreamRequest, read_stream_request);
	size_t max = request->len < READ_MAX ? request->len : READ_MAX;
	/*
	 * The end is an error, in kata-agent's words: of an empty reply Kata's Go shim makes nothing
	 * and reads on for ever.
	 */
	if (!max) {
		error_set(err, ERROR_INVALID, "read of 0 bytes");
		return coded(-1, err);
	}
	cleanup(buf_free) struct buf data = BUF_INIT;
	if (process_read(p, which, max, &data, &call->bound, err) < 0)
		return coded(-1, err);
	if (!data.len) {
		error_set(err, ERROR_INTERNAL, "read meet eof");
		return coded(-1, err);
	}
	Agent__ReadStreamResponse reply = AGENT__READ_STREAM_RESPONSE__INIT;
	reply.data.data = data.data;
	reply.data.len = data.len;
	return coded(reply_with(call, &reply, err), err);
}

static int read_stdout(void *context, struct ttrpc_call *call, struct error *err)
{
	return read_output(context, call, PROCESS_STDOUT, err);
}

static int read_stderr(void *context, struct ttrpc_call *call, struct error *err)
{
	return read_output(context, call, PROCESS_STDERR, err);
}

static int close_stdin(void *context, struct ttrpc_call *call, struct error *err)
{
	decode_process(CloseStdinRequest, close_stdin_request);
	process_close_stdin(p);
	return 0;
}

static int tty_win_resize(void *context, struct ttrpc_call *call, struct error *err)
{
	decode_process(TtyWinResizeRequest, tty_win_resize_request);
	return coded(process_resize(p, request->row, request->column, err), err);
}

/* ---- tables ---------------------------------------------------------------------------------- */

static int not_implemented(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	error_set(err, ERROR_UNSUPPORTED, "%s is not implemented by mini-agent", call->method);
	return coded(-1, err);
}

static const struct ttrpc_method agent_methods[] = {
	{"CreateSandbox", create_sandbox},
	{"DestroySandbox", destroy_sandbox},
	{"SetPolicy", set_policy},
	{"GetGuestDetails", guest_details},
	{"GetOOMEvent", get_oom_event},
	{"GetDiagnosticData", get_diagnostic_data},
	{"CopyFile", do_copy_file},
	{"CreateContainer", create_container},
	{"StartContainer", start_container},
	{"RemoveContainer", remove_container},
	{"UpdateContainer", update_container},
	{"StatsContainer", stats_container},
	{"PauseContainer", pause_container},
	{"ResumeContainer", resume_container},
	{"ExecProcess", exec_process},
	{"SignalProcess", signal_process},
	{"WaitProcess", wait_process},
	{"WriteStdin", write_stdin},
	{"ReadStdout", read_stdout},
	{"ReadStderr", read_stderr},
	{"CloseStdin", close_stdin},
	{"TtyWinResize", tty_win_resize},
	{"SetGuestDateTime", not_implemented},
	{"ReseedRandomDev", not_implemented},
	{"GetMetrics", not_implemented},
	{"UpdateInterface", not_implemented},
	{"UpdateRoutes", not_implemented},
	{"ListInterfaces", not_implemented},
	{"ListRoutes", not_implemented},
	{"AddARPNeighbors", not_implemented},
	{"GetIPTables", not_implemented},
	{"SetIPTables", not_implemented},
	{"UpdateEphemeralMounts", not_implemented},
	{"RemoveStaleVirtiofsShareMounts", not_implemented},
	{"GetVolumeStats", not_implemented},
	{"ResizeVolume", not_implemented},
	{"AddSwap", not_implemented},
	{"AddSwapPath", not_implemented},
	{"OnlineCPUMem", not_implemented},
	{"MemHotplugByProbe", not_implemented},
	{"MemAgentMemcgSet", not_implemented},
	{"MemAgentCompactSet", not_implemented},
};

static const struct ttrpc_method health_methods[] = {
	{"Check", check},
	{"Version", version},
};

void agent_services(struct ttrpc_service services[AGENT_SERVICES], struct sandbox *sandbox)
{
	services[0] = (struct ttrpc_service){"grpc.AgentService", agent_methods,
		array_size(agent_methods), sandbox};
	services[1] = (struct ttrpc_service){"grpc.Health", health_methods,
		array_size(health_methods), sandbox};
}
