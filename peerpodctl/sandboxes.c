/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sandboxes.c - peerpodctl sandboxes: what the journal of this node says
 *
 * Never printed: keys, certificates, user data. What is printed of a record is named here, member by member, so
 * that what a record gains is not printed by itself.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "adaptor/journal_look.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/list.h"
#include "peerpodctl/print.h"
#include "providers/choice/choice.h"
#include "providers/provider.h"
#include "peerpodctl/table.h"
#include "peerpodctl/verb.h"

static const char *tee_text(int64_t tee)
{
	static const char *const names[] = {[TEE_DEFAULT] = "as configured",
		[TEE_NONE] = "none",
		[TEE_SNP] = "snp",
		[TEE_TDX] = "tdx",
		[TEE_SEV] = "sev"};
	return tee >= 0 && (size_t)tee < array_size(names) ? names[tee] : "unknown";
}

static const char *market_text(int64_t market)
{
	static const char *const names[] = {[MARKET_DEFAULT] = "as configured",
		[MARKET_ON_DEMAND] = "on-demand",
		[MARKET_SPOT] = "spot"};
	return market >= 0 && (size_t)market < array_size(names) ? names[market] : "unknown";
}

static json_t *record_json(const struct record *r)
{
	return json_pack(
		"{s:s, s:o, s:o, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, "
		"s:I, s:I, s:s, s:s, s:b, s:o, s:o, s:I, s:o}",
		"sandbox", r->sandbox, "pod", json_text(r->pod), "namespace",
		json_text(r->pod_namespace), "uid", json_text(r->pod_uid), "state",
		sandbox_state_name(r->state), "stage", start_stage_name(r->stage), "failure",
		json_text(r->failure), "created", json_time(r->created_at), "changed",
		json_time(r->changed_at), "instance", json_text(r->instance_id), "instance_name",
		json_text(r->instance_name), "instance_type", json_text(r->instance_type), "image",
		json_text(r->image), "addresses", json_texts(r->addresses), "vcpus",
		(json_int_t)r->vcpus, "memory_mib", (json_int_t)r->memory_mib, "gpus",
		(json_int_t)r->gpus, "tee", tee_text(r->tee), "market", market_text(r->market),
		"second_nic", r->second_nic, "initdata_digest", json_text(r->initdata_digest),
		"agent_socket", json_text(r->agent_socket), "tunnel_port",
		(json_int_t)r->tunnel.port, "netns", json_text(r->netns_path));
}

static json_t *damage_json(const struct journal_damage *damage)
{
	return json_pack("{s:s, s:s, s:o}", "sandbox", damage->sandbox, "state", "damaged",
		"failure", json_text(damage->why));
}

static int print_all_json(const struct journal_look *look, struct error *err)
{
	json_t *all = json_array();
	for (size_t i = 0; i < look->count; i++)
		json_array_append_new(all, record_json(&look->records[i]));
	for (size_t i = 0; i < look->damaged_count; i++)
		json_array_append_new(all, damage_json(&look->damaged[i]));
	return print_json(all, false, err);
}

static int print_all(const struct journal_look *look, struct error *err)
{
	static const char *const headers[] = {"SANDBOX", "NAMESPACE", "POD", "STATE", "INSTANCE",
		"ADDRESS", "AGE"};
	cleanup(table_free) struct table table;
	table_start(&table, array_size(headers), headers);
	char age[32];
	for (size_t i = 0; i < look->count; i++) {
		const struct record *r = &look->records[i];
		age_print(r->created_at, (int64_t)time(NULL), age, sizeof(age));
		table_cell(&table, "%.12s", r->sandbox);
		table_cell(&table, "%s", r->pod_namespace);
		table_cell(&table, "%s", r->pod);
		table_cell(&table, "%s", sandbox_state_name(r->state));
		table_cell(&table, "%s", r->instance_id);
		table_cell(&table, "%s", r->addresses && r->addresses[0] ? r->addresses[0] : "");
		table_cell(&table, "%s", age);
	}
	for (size_t i = 0; i < look->damaged_count; i++) {
		table_cell(&table, "%.12s", look->damaged[i].sandbox);
		for (size_t c = 1; c < array_size(headers); c++)
			table_cell(&table, "%s", c == 3 ? "damaged" : "");
	}
	if (table_print(&table, stdout) < 0)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	return 0;
}

static int say_what_to_do(struct error *err)
{
	return error_append(err, err->kind == ERROR_DENIED
					 ? ": the records are for root alone"
					 : " (--state-dir names the adaptor's state folder)");
}

static int sandboxes_list(struct invocation *in, struct error *err)
{
	cleanup(journal_look_free) struct journal_look look = {0};
	if (journal_look(in->values.state_dir, &look, err) < 0)
		return say_what_to_do(err);
	return in->values.json ? print_all_json(&look, err) : print_all(&look, err);
}

/* The one whose id begins like this. */
static int pick(const struct journal_look *look, const char *id, const struct record **record,
	struct error *err)
{
	size_t found = 0;
	for (size_t i = 0; i < look->count; i++) {
		if (strncmp(look->records[i].sandbox, id, strlen(id)) != 0)
			continue;
		found++;
		*record = &look->records[i];
	}
	for (size_t i = 0; !found && i < look->damaged_count; i++) {
		if (!strncmp(look->damaged[i].sandbox, id, strlen(id)))
			return error_set(err, ERROR_INVALID,
				"the record of sandbox %s cannot be read: %s",
				look->damaged[i].sandbox, look->damaged[i].why);
	}
	if (found == 1)
		return 0;
	return found ? error_set(err, ERROR_INVALID,
			       "%zu sandboxes begin with \"%s\": write more of the id", found, id)
		     : error_set(err, ERROR_GONE,
			       "there is no sandbox \"%s\": `peerpodctl sandboxes list` shows those of this node",
			       id);
}

static void print_when(const char *label, int64_t when)
{
	char age[32];
	cleanup(buf_free) struct buf text = BUF_INIT;
	cleanup_json *time_json = json_time(when);
	age_print(when, (int64_t)time(NULL), age, sizeof(age));
	if (json_is_string(time_json))
		buf_printf(&text, "%s (%s ago)", json_string_value(time_json), age);
	print_line(label, buf_text(&text));
}

static void print_record(const struct record *r)
{
	cleanup(buf_free) struct buf size = BUF_INIT, addresses = BUF_INIT, state = BUF_INIT;
	if (r->vcpus)
		buf_printf(&size, "%" PRId64 " vCPU ", r->vcpus);
	if (r->memory_mib)
		choice_memory_size(r->memory_mib, &size);
	if (r->gpus)
		buf_printf(&size, " %" PRId64 " GPU", r->gpus);
	for (char **address = r->addresses; address && *address; address++)
		buf_printf(&addresses, "%s%s", addresses.len ? ", " : "", *address);
	buf_printf(&state, "%s (%s)", sandbox_state_name(r->state), start_stage_name(r->stage));
	print_line("sandbox", r->sandbox);
	print_line("namespace", r->pod_namespace);
	print_line("pod", r->pod);
	print_line("uid", r->pod_uid);
	print_line("state", buf_text(&state));
	print_line("failure", r->failure);
	print_when("created", r->created_at);
	print_when("changed", r->changed_at);
	print_line("instance", r->instance_id);
	print_line("name", r->instance_name);
	print_line("addresses", buf_text(&addresses));
	print_line("size", buf_text(&size));
	print_line("type", r->instance_type);
	print_line("image", r->image);
	print_line("confidential", tee_text(r->tee));
	print_line("market", market_text(r->market));
	print_line("initdata", r->initdata_digest);
	print_line("agent socket", r->agent_socket);
	print_line("network", r->netns_path);
}

static int sandboxes_show(struct invocation *in, struct error *err)
{
	cleanup(journal_look_free) struct journal_look look = {0};
	const struct record *record = NULL;
	if (journal_look(in->values.state_dir, &look, err) < 0)
		return say_what_to_do(err);
	if (pick(&look, in->words[0], &record, err) < 0)
		return -1;
	if (in->values.json)
		return print_json(record_json(record), false, err);
	print_record(record);
	return 0;
}

static const struct option options[] = {OPTION_ROW_STATE, OPTION_ROW_JSON};

const struct verb sandbox_verbs[] = {
	{"sandboxes", "list", "", 0, 0, "the sandboxes of this node, from the adaptor's journal",
		options, array_size(options), false, sandboxes_list},
	{"sandboxes", "show", "SANDBOX", 1, 1,
		"all that may be shown of one; the beginning of its id will do", options,
		array_size(options), false, sandboxes_show},
	{0},
};
