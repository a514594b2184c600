/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start.c - StartVM
 *
 * A table of steps, each with words for the message when it fails. Between the steps the record says how
 * far things have come, so that whatever ends the start - an error, the caller's deadline, its closed
 * connection, StopVM, the end of this process - the reaper or the next process knows what to undo.
 *
 * The answer goes out when the agent has answered a Health.Check through agent-proxy: the shim gives its
 * own first call 30 s, after which the pod would be lost.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "adaptor/adaptor.h"
#include "adaptor/console.h"
#include "base/base64.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/list.h"
#include "base/log.h"
#include "base/utf8.h"

/* A caller without a deadline does not wait for ever; the Go shim's own is ten minutes. */
#define START_MOST_NS (UINT64_C(1800) * NS_PER_S)
/* Kept back of the caller's deadline, so that it hears why and not only that it took too long. */
#define ANSWER_MARGIN_NS (2 * NS_PER_S)
/* agent-proxy is started in milliseconds; without it a pod VM would be paid for in vain. */
#define PROXY_READY_NS (15 * NS_PER_S)
#define ROLLBACK_WAIT_NS (60 * NS_PER_S)
#define RETRY_FIRST_NS (500 * NS_PER_MS)
#define RETRY_MOST_NS (10 * NS_PER_S)
#define CONSOLE_NS (5 * NS_PER_S)

struct start {
	struct adaptor *adaptor;
	struct sandbox *sandbox;
	struct bound bound;
	uint64_t began_ns;
};

static int wait_for_proxy(struct start *start, struct error *err)
{
	const struct world *world = start->adaptor->world;
	struct bound soon = bound_within(&start->bound, PROXY_READY_NS);
	return world->proxy_ops->ready(world->proxy, &soon, err);
}

static struct instance_request request_of(const struct start *start, const struct buf *digest)
{
	const struct record *record = &start->sandbox->record;
	return (struct instance_request){
		.owner =
			{
				.cluster = start->adaptor->cluster,
				.node = start->adaptor->settings->node_name,
				.pod_namespace = record->pod_namespace,
				.pod = record->pod,
				.sandbox = record->sandbox,
			},
		.token = record->token,
		.name = record->instance_name,
		.user_data = secret_reveal(&record->user_data),
		.user_data_len = record->user_data.len,
		.vcpus = record->vcpus,
		.memory_mib = record->memory_mib,
		.gpus = record->gpus,
		.instance_type = record->instance_type,
		.image = record->image,
		.tee = (enum instance_tee)record->tee,
		.market = (enum instance_market)record->market,
		.initdata_digest = digest->len ? digest->data : NULL,
		.initdata_digest_len = digest->len,
		.second_nic = record->second_nic,
	};
}

/* Anything up to ns. */
static uint64_t random_up_to(uint64_t ns)
{
	uint32_t random = 0;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
		random = UINT32_MAX;
	return (uint64_t)((double)ns * random / UINT32_MAX);
}

/* The same request again while the fault may pass: the token sees to it that one instance results. */
static int create_with_retries(struct start *start, const struct instance_request *request,
	struct instance *instance, struct error *err)
{
	const struct world *world = start->adaptor->world;
	uint64_t pause = RETRY_FIRST_NS;
	for (;;) {
		if (world->driver->create(world->provider, request, instance, &start->bound, err) ==
			0)
			return 0;
		if (err->kind != ERROR_RETRY && err->kind != ERROR_THROTTLED)
			return -1;
		log_warn("create instance: %s; trying again", error_message(err));
		cleanup_error why = ERROR_INIT;
		if (bound_sleep(&start->bound, pause / 2 + random_up_to(pause), "try again", &why) <
			0) {
			err->kind = why.kind;
			return error_append(err, " (%s)", error_message(&why));
		}
		error_clear(err);
		pause = pause * 2 < RETRY_MOST_NS ? pause * 2 : RETRY_MOST_NS;
	}
}

/* The tunnel goes to the second interface where there is one of its own for it. */
static size_t addresses_needed(const struct record *record)
{
	return record->network.dedicated ? 2 : 1;
}

static int create_instance(struct start *start, struct error *err)
{
	struct adaptor *adaptor = start->adaptor;
	struct record *record = &start->sandbox->record;
	cleanup(buf_free) struct buf digest = BUF_INIT;
	cleanup(instance_free) struct instance instance = {0};
	if (base64_decode(record->initdata_digest, strlen(record->initdata_digest), 64, &digest,
		    err) < 0)
		return -1;
	sandbox_reach(&adaptor->table, start->sandbox, STAGE_CREATING);
	if (journal_write(&adaptor->journal, record, FAULT_START_RECORD_CREATING, err) < 0)
		return -1;
	struct instance_request request = request_of(start, &digest);
	fault_before(FAULT_START_CREATE);
	if (create_with_retries(start, &request, &instance, err) < 0)
		return -1;
	fault_after(FAULT_START_CREATE);
	if (!instance.id || !*instance.id)
		return error_set(err, ERROR_INTERNAL, "the driver returned no instance id");
	log_info("instance %s created", instance.id);
	sandbox_set_instance(&adaptor->table, start->sandbox, take_ptr(instance.id));
	secret_free(&record->user_data);
	strings_free(record->addresses);
	record->addresses = take_ptr(instance.addresses);
	if (list_count(record->addresses) >= addresses_needed(record))
		sandbox_reach(&adaptor->table, start->sandbox, STAGE_ADDRESSED);
	return journal_write(&adaptor->journal, record, FAULT_START_RECORD_INSTANCE, err);
}

static int wait_for_addresses(struct start *start, struct error *err)
{
	struct adaptor *adaptor = start->adaptor;
	struct record *record = &start->sandbox->record;
	size_t needed = addresses_needed(record);
	if (record->stage >= STAGE_ADDRESSED)
		return 0; /* the creation told them */
	cleanup(instance_free) struct instance instance = {0};
	fault_before(FAULT_START_ADDRESSES);
	if (adaptor->world->driver->wait_addresses(adaptor->world->provider, record->instance_id,
		    needed, &instance, &start->bound, err) < 0)
		return -1;
	fault_after(FAULT_START_ADDRESSES);
	if (list_count(instance.addresses) < needed)
		return error_set(err, ERROR_INTERNAL,
			"the driver returned fewer addresses than needed");
	strings_free(record->addresses);
	record->addresses = take_ptr(instance.addresses);
	sandbox_reach(&adaptor->table, start->sandbox, STAGE_ADDRESSED);
	return journal_write(&adaptor->journal, record, FAULT_START_RECORD_ADDRESSES, err);
}

static int set_network_up(struct start *start, struct error *err)
{
	struct adaptor *adaptor = start->adaptor;
	struct record *record = &start->sandbox->record;
	struct podnetwork_worker_settings settings = sandbox_network_settings(adaptor, record);
	fault_before(FAULT_START_NETWORK);
	if (adaptor->world->network->setup(&settings, &record->network, record->addresses,
		    list_count(record->addresses), err) < 0)
		return -1;
	fault_after(FAULT_START_NETWORK);
	/* No write: whoever undoes a start that knows addresses takes down network and tunnel too. */
	sandbox_reach(&adaptor->table, start->sandbox, STAGE_NETWORK);
	return 0;
}

static int reach_agent(struct start *start, struct error *err)
{
	const struct world *world = start->adaptor->world;
	struct record *record = &start->sandbox->record;
	uint32_t underlay_mtu = 0;
	struct bound bound =
		bound_within(&start->bound, start->adaptor->settings->proxy_timeout_ns);
	fault_before(FAULT_START_OPEN);
	if (world->proxy_ops->open(world->proxy, record, bound_left_ns(&bound), &bound,
		    &underlay_mtu, err) < 0)
		return -1;
	fault_after(FAULT_START_OPEN);
	record->vm_underlay_mtu = underlay_mtu;
	return 0;
}

/* The VM sees another way between the two than we do: what is smaller counts at both ends. */
static int fit_network(struct start *start, struct error *err)
{
	const struct record *record = &start->sandbox->record;
	if (!record->vm_underlay_mtu || record->vm_underlay_mtu >= record->network.underlay_mtu)
		return 0;
	log_info("the way from the pod VM has an MTU of %lld, less than %lld: the tunnel is fitted",
		(long long)record->vm_underlay_mtu, (long long)record->network.underlay_mtu);
	return set_network_up(start, err);
}

static int record_running(struct start *start, struct error *err)
{
	struct adaptor *adaptor = start->adaptor;
	struct sandbox *sandbox = start->sandbox;
	/* A caller that has gone will not stop what it does not know to be running. */
	if (bound_check(&start->bound, "start", err) < 0)
		return -1;
	sandbox_reach(&adaptor->table, sandbox, STAGE_SERVED);
	pthread_mutex_lock(&adaptor->table.lock);
	sandbox->shim_seen_ns = clock_ns();
	pthread_mutex_unlock(&adaptor->table.lock);
	if (sandbox_move(&adaptor->table, sandbox, SANDBOX_RUNNING, err) < 0)
		return -1;
	return journal_write(&adaptor->journal, &sandbox->record, FAULT_START_RECORD_RUNNING, err);
}

static const struct {
	const char *doing;
	int (*run)(struct start *start, struct error *err);
	bool console; /* the VM's last words help to understand a failure */
} steps[] = {
	{"reach agent-proxy", wait_for_proxy, false},
	{"create the pod VM", create_instance, false},
	{"wait for the address of the pod VM", wait_for_addresses, true},
	{"set up the pod network", set_network_up, false},
	{"reach the agent in the pod VM", reach_agent, true},
	{"fit the pod network to the VM's", fit_network, false},
	{"record the start", record_running, false},
};

/* The end of the serial console, for a boot that did not get where it should. */
static void append_console(struct start *start, struct error *err)
{
	const struct world *world = start->adaptor->world;
	if (!world->driver->console_tail || err->kind == ERROR_CANCELED)
		return;
	struct bound bound = {.deadline_ns = deadline_in(CONSOLE_NS),
		.cancel = start->adaptor->quit};
	cleanup(free_ptr) char *raw = world->driver->console_tail(world->provider,
		start->sandbox->record.instance_id, CONSOLE_RAW_MAX, &bound);
	cleanup(buf_free) struct buf text = BUF_INIT;
	console_clean(raw ? raw : "", &text);
	if (text.len)
		error_append(err, "; the console of the pod VM ended with: %s", buf_text(&text));
}

/* The caller is the owner. */
static int start_owned(struct start *start, struct error *err)
{
	cleanup(buf_free) struct buf times = BUF_INIT;
	uint64_t before = clock_ns();
	for (size_t i = 0; i < array_size(steps); i++) {
		if (bound_check(&start->bound, "start", err) < 0 || steps[i].run(start, err) < 0) {
			if (steps[i].console)
				append_console(start, err);
			return error_prefix(err, "%s", steps[i].doing);
		}
		uint64_t now = clock_ns();
		buf_printf(&times, "; %s: %llu ms", steps[i].doing,
			(unsigned long long)((now - before) / NS_PER_MS));
		before = now;
	}
	log_info("running after %llu ms%s",
		(unsigned long long)((before - start->began_ns) / NS_PER_MS), buf_text(&times));
	return 0;
}

/*
 * Begins under the table's lock, so that two callers cannot both, and StopVM finds what to cancel.
 * 1: it is running already.
 */
static int begin(struct adaptor *adaptor, struct sandbox *sandbox, struct cancel *cancel,
	struct error *err)
{
	int result = 0;
	pthread_mutex_lock(&adaptor->table.lock);
	enum sandbox_state state = sandbox->record.state;
	if (sandbox->gone || sandbox->reaping || sandbox->stop_wanted)
		state = SANDBOX_STOPPING;
	switch (state) {
	case SANDBOX_CREATED:
		if (!sandbox->created) {
			result = error_set(err, ERROR_RETRY, "sandbox %s is still being created",
				sandbox->record.sandbox);
			break;
		}
		sandbox->record.state = SANDBOX_STARTING;
		sandbox->start_cancel = cancel_ref(cancel);
		break;
	case SANDBOX_RUNNING:
		result = 1;
		break;
	case SANDBOX_STARTING:
		result = error_set(err, ERROR_EXISTS, "sandbox %s is being started already",
			sandbox->record.sandbox);
		break;
	case SANDBOX_STOPPING:
	case SANDBOX_FAILED:
		result = error_set(err, ERROR_CANCELED, "sandbox %s is being taken down",
			sandbox->record.sandbox);
		break;
	}
	pthread_mutex_unlock(&adaptor->table.lock);
	if (result == 0)
		notice_post(adaptor->table.changed);
	return result;
}

static void end(struct adaptor *adaptor, struct sandbox *sandbox)
{
	pthread_mutex_lock(&adaptor->table.lock);
	cancel_unref(sandbox->start_cancel);
	sandbox->start_cancel = NULL;
	pthread_mutex_unlock(&adaptor->table.lock);
}

static struct bound start_bound(const struct bound *caller, struct cancel *cancel)
{
	struct bound bound = bound_within(caller, START_MOST_NS);
	uint64_t left = bound_left_ns(&bound);
	uint64_t margin = left / 10 < ANSWER_MARGIN_NS ? left / 10 : ANSWER_MARGIN_NS;
	return (struct bound){.deadline_ns = bound.deadline_ns - margin, .cancel = cancel};
}

/* What failed is kept with the record for those who look, then taken down. */
static void give_up(struct adaptor *adaptor, struct sandbox *sandbox, const struct error *why)
{
	char *failure = strdup(error_message(why));
	if (failure) {
		utf8_repair(failure); /* the record is JSON */
		free(sandbox->record.failure);
		sandbox->record.failure = failure;
	}
	log_error("start failed: %s", error_message(why));
	sandbox_move(&adaptor->table, sandbox, SANDBOX_FAILED, NULL);
}

int sandbox_start(struct adaptor *adaptor, const char *id, const struct bound *caller,
	struct error *err)
{
	if (sandbox_id_check(id, err) < 0)
		return -1;
	struct sandbox *sandbox = sandbox_find(&adaptor->table, id);
	if (!sandbox)
		return error_set(err, ERROR_GONE, "sandbox %s does not exist", id);
	log_scope(sandbox_log_context(sandbox));
	cleanup(cancel_unref_ptr) struct cancel *cancel = cancel_child(caller->cancel);
	int result = cancel ? begin(adaptor, sandbox, cancel, err)
			    : error_set(err, ERROR_CAPACITY, "out of memory or file descriptors");
	if (result != 0) {
		if (result < 0)
			error_prefix(err, "start pod %s/%s", sandbox->record.pod_namespace,
				sandbox->record.pod);
		sandbox_unref(&adaptor->table, sandbox);
		return result > 0 ? 0 : -1;
	}
	struct start start = {.adaptor = adaptor,
		.sandbox = sandbox,
		.bound = start_bound(caller, cancel),
		.began_ns = clock_ns()};
	cleanup_error why = ERROR_INIT;
	pthread_mutex_lock(&sandbox->owner);
	result = sandbox_is_gone(&adaptor->table, sandbox)
			 ? error_set(&why, ERROR_GONE, "sandbox %s does not exist", id)
			 : start_owned(&start, &why);
	unsigned failed = 0;
	if (result < 0) {
		/* The reaper waits for us; without it the housekeeper would see nobody at work. */
		failed = sandbox_reap(adaptor, sandbox, false);
		give_up(adaptor, sandbox, &why);
	}
	end(adaptor, sandbox);
	pthread_mutex_unlock(&sandbox->owner);
	if (result < 0) {
		struct bound rollback = {.deadline_ns = deadline_in(ROLLBACK_WAIT_NS),
			.cancel = adaptor->quit};
		sandbox_wait_gone(adaptor, sandbox, failed, &rollback, NULL);
		error_prefix(&why, "start pod %s/%s", sandbox->record.pod_namespace,
			sandbox->record.pod);
		error_move(err, &why);
	}
	sandbox_unref(&adaptor->table, sandbox);
	return result;
}
