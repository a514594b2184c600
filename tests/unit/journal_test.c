/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: states and their transitions, what goes in comes out, and what is damaged is put aside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "adaptor/journal.h"
#include "adaptor/journal_look.h"
#include "adaptor/orphan_rule.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"

static char folder[] = "/tmp/peerpod-journal-XXXXXX";

static void test_transitions_are_these_and_no_others(void **state)
{
	(void)state;
	static const struct {
		enum sandbox_state from, to;
	} allowed[] = {
		{SANDBOX_CREATED, SANDBOX_STARTING},
		{SANDBOX_CREATED, SANDBOX_STOPPING},
		{SANDBOX_STARTING, SANDBOX_RUNNING},
		{SANDBOX_STARTING, SANDBOX_FAILED},
		{SANDBOX_STARTING, SANDBOX_STOPPING},
		{SANDBOX_RUNNING, SANDBOX_STOPPING},
		{SANDBOX_FAILED, SANDBOX_STOPPING},
	};
	size_t count = 0;
	for (int from = 0; from < SANDBOX_STATES; from++) {
		for (int to = 0; to < SANDBOX_STATES; to++)
			count +=
				sandbox_state_may((enum sandbox_state)from, (enum sandbox_state)to);
	}
	assert_int_equal(count, array_size(allowed));
	for (size_t i = 0; i < array_size(allowed); i++)
		assert_true(sandbox_state_may(allowed[i].from, allowed[i].to));
}

static void test_names_of_states_and_stages_are_read_back(void **state)
{
	(void)state;
	for (int i = 0; i < SANDBOX_STATES; i++) {
		enum sandbox_state s;
		assert_int_equal(sandbox_state_parse(sandbox_state_name((enum sandbox_state)i), &s,
					 NULL),
			0);
		assert_int_equal(s, i);
	}
	for (int i = 0; i < START_STAGES; i++) {
		enum start_stage s;
		assert_int_equal(start_stage_parse(start_stage_name((enum start_stage)i), &s, NULL),
			0);
		assert_int_equal(s, i);
	}
}

static char *copy(const char *text)
{
	char *s = strdup(text);
	assert_non_null(s);
	return s;
}

static struct record full_record(const char *id)
{
	static char *suites[] = {(char *)"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", NULL};
	static char *addresses[] = {(char *)"192.0.2.7", (char *)"2001:db8::7", NULL};
	struct record r = {
		.sandbox = copy(id),
		.pod = copy("web"),
		.pod_namespace = copy("shop"),
		.pod_uid = copy("u-1"),
		.state = SANDBOX_RUNNING,
		.stage = STAGE_SERVED,
		.failure = copy(""),
		.created_at = 1700000000,
		.netns_path = copy("/run/netns/cni-1"),
		.netns_device = 4,
		.netns_inode = 4026531840,
		.agent_socket = copy("/run/peerpod/pods/x/agent.ttrpc"),
		.has_network = true,
		.network = {.podip = copy("10.42.7.19/24"),
			.pod_hw_addr = copy("02:1f:9a:00:07:13"),
			.interface = copy("eth0"),
			.worker_node_ip = copy("192.0.2.1/24"),
			.tunnel_type = copy("vxlan"),
			.mtu = 1500,
			.index = 4,
			.vxlan_port = 4789,
			.vxlan_id = 555004},
		.tunnel = {.tls = true,
			.port = 15150,
			.server_name = copy("podvm-web-abc"),
			.ca_pem = copy("CA\n"),
			.client_cert_pem = copy("CERT\n"),
			.pinned_cert_pem = copy("PIN\n"),
			.min_version = copy("VersionTLS12")},
		.token = copy("0123456789abcdef0123456789abcdef"),
		.instance_name = copy("podvm-web-abc"),
		.instance_type = copy(""),
		.image = copy("img\"\\\xc3\xa9"),
		.vcpus = 2,
		.memory_mib = 2048,
		.gpus = 1,
		.second_nic = true,
		.initdata_digest = copy("AAAA"),
		.instance_id = copy("i-1"),
	};
	assert_true(secret_set(&r.tunnel.client_key_pem, "KEY\n", 4));
	assert_true(secret_set(&r.user_data, "#cloud-config\n\t\x01", 16));
	assert_true(strings_copy(suites, &r.tunnel.cipher_suites));
	assert_true(strings_copy(addresses, &r.addresses));
	return r;
}

static void test_a_record_is_read_as_it_was_written(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	cleanup(record_free) struct record a = full_record("s1");
	cleanup(record_free) struct record b = {0};
	cleanup(buf_wipe) struct buf first = BUF_INIT;
	cleanup(buf_wipe) struct buf second = BUF_INIT;
	assert_int_equal(record_write(&a, &first, &err), 0);
	assert_int_equal(record_read("record", first.data, first.len, &b, &err), 0);
	assert_int_equal(record_write(&b, &second, &err), 0);
	assert_string_equal(buf_text(&first), buf_text(&second));
	assert_string_equal(b.image, a.image);
	assert_int_equal(b.state, SANDBOX_RUNNING);
	assert_int_equal(b.netns_inode, 4026531840);
	assert_string_equal(b.addresses[1], "2001:db8::7");
	assert_null(b.addresses[2]);
	assert_int_equal(b.network.vxlan_id, 555004);
	assert_string_equal(secret_reveal(&b.tunnel.client_key_pem), "KEY\n");
	assert_string_equal(secret_reveal(&b.user_data), secret_reveal(&a.user_data));
}

/* The text of a good record with one member set to other JSON (NULL: left out). */
static char *damaged_text(const char *key, const char *json)
{
	cleanup(record_free) struct record r = full_record("s1");
	cleanup(buf_wipe) struct buf text = BUF_INIT;
	assert_int_equal(record_write(&r, &text, NULL), 0);
	json_t *object = json_loadb((char *)text.data, text.len, 0, NULL);
	if (json)
		json_object_set_new(object, key, json_loads(json, JSON_DECODE_ANY, NULL));
	else
		json_object_del(object, key);
	char *result = json_dumps(object, 0);
	json_decref(object);
	return result;
}

static void test_what_is_wrong_in_a_record_is_named(void **state)
{
	(void)state;
	static const struct {
		const char *key, *json, *message;
	} rows[] = {
		{"version", "2", "r: \"version\" is 2, not between 1 and 1"},
		{"version", NULL, "r: \"version\" is missing"},
		{"version", "\"1\"", "r: \"version\" must be an integer"},
		{"state", "\"asleep\"", "r: \"asleep\" is no state of a sandbox"},
		{"state", "null", "r: \"state\" is missing"},
		{"stage", "\"far\"", "r: \"far\" is no stage of a start"},
		{"stage", "\"network\"", "r: state \"running\" in stage \"network\""},
		{"sandbox", NULL, "r: \"sandbox\" is missing"},
		{"pod", "\"\"", "r: \"sandbox\", \"pod\", \"token\" or \"agent-socket\" is empty"},
		{"agent-socket", "\"run/x\"",
			"r: \"sandbox\", \"pod\", \"token\" or \"agent-socket\" is empty"},
		{"instance-id", "\"\"", "r: stage \"served\" without \"instance-id\""},
		{"addresses", "[]", "r: stage \"served\" without \"addresses\""},
		{"addresses", "{}", "r: \"addresses\" must be an array"},
		{"addresses", "[\"192.0.2.7\",7]", "r: \"addresses\"[1] must be a string"},
		{"tunnel-port", "0", "r: \"tunnel-port\" is 0, not between 1 and 65535"},
		{"tunnel-tls", "1", "r: \"tunnel-tls\" must be true or false"},
		{"vcpus", "-1", "r: \"vcpus\" is -1, not between 0 and 2147483647"},
		{"tunnel-client-key", "7", "r: \"tunnel-client-key\" must be a string"},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		cleanup_error err = ERROR_INIT;
		struct record r;
		cleanup(free_ptr) char *text = damaged_text(rows[i].key, rows[i].json);
		assert_int_equal(record_read("r", text, strlen(text), &r, &err), -1);
		assert_string_equal(error_message(&err), rows[i].message);
		assert_int_equal(err.kind, ERROR_INVALID);
	}
}

static void test_members_of_a_later_version_are_passed_over(void **state)
{
	(void)state;
	struct record r;
	cleanup(free_ptr) char *text = damaged_text("volumes", "[1, 2]");
	assert_int_equal(record_read("r", text, strlen(text), &r, NULL), 0);
	record_free(&r);
}

static void write_text(const struct journal *journal, const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", journal->folder, name);
	assert_int_equal(file_write(path, 0600, text, strlen(text), NULL), 0);
}

static bool exists(const struct journal *journal, const char *name)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", journal->folder, name);
	return access(path, F_OK) == 0;
}

/* A look beside the owner: it sees the same, and leaves the bad and the half-written where they are. */
static void look_and_change_nothing(const struct journal *journal)
{
	cleanup(journal_look_free) struct journal_look look = {0};
	assert_int_equal(journal_look(folder, &look, NULL), 0);
	assert_int_equal(look.count, 1);
	assert_non_null(journal_look_find(&look, "good"));
	assert_null(journal_look_find(&look, "cut"));
	assert_int_equal(look.damaged_count, 3);
	assert_non_null(journal_look_damage(&look, "cut"));
	assert_false(journal_look_damage(&look, "cut")->moved);
	assert_null(journal_look_damage(&look, "good"));
	assert_non_null(strstr(journal_look_damage(&look, "misnamed")->why,
		"it is the record of another sandbox, \"s1\""));
	assert_true(exists(journal, "cut.json"));
	assert_true(exists(journal, "good.json.Ab12Cd"));
	write_text(journal, "aside.json.damaged", "");
	journal_look_free(&look);
	assert_int_equal(journal_look(folder, &look, NULL), 0);
	assert_true(journal_look_damage(&look, "aside")->moved);
	assert_int_equal(journal_remove_damaged(journal, "aside", NULL), 0);
}

static void test_looking_needs_a_journal(void **state)
{
	(void)state;
	struct journal_look look;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(journal_look("/nonexistent", &look, &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
	assert_string_equal(error_message(&err),
		"journal /nonexistent/sandboxes: No such file or directory");
}

static void test_only_ours_and_old_enough_may_be_an_orphan(void **state)
{
	(void)state;
	const uint64_t grace = 900 * NS_PER_S;
	static const struct {
		const char *id, *cluster, *node;
		int64_t created; /* the present is 10000 */
		uint64_t known_for_ns;
		bool ours, old;
	} cases[] = {
		{"i", "c", "n", 9000, 0, true, true},
		{"i", "c", "n", 9100, 0, true, false}, /* exactly the grace period */
		{"i", "c", "n", 9099, 0, true, true},
		{"i", "c", "n", 0, 0, true, false}, /* its age is not known */
		{"i", "c", "n", 0, 900 * NS_PER_S, true, true},
		{"i", "c", "n", 20000, 0, true, false}, /* a clock that is ahead */
		{"i", "c", "n2", 1, 0, false, true},
		{"i", "c2", "n", 1, 0, false, true},
		{"i", NULL, "n", 1, 0, false, true},
		{"i", "c", NULL, 1, 0, false, true},
		{"", "c", "n", 1, 0, false, true},
		{NULL, "c", "n", 1, 0, false, true},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		const struct instance one = {.id = (char *)cases[i].id,
			.cluster = (char *)cases[i].cluster,
			.node = (char *)cases[i].node,
			.created = cases[i].created};
		assert_int_equal(orphan_is_ours(&one, "c", "n"), cases[i].ours);
		assert_false(orphan_is_ours(&one, "", "n"));
		assert_false(orphan_is_ours(&one, "c", ""));
		assert_int_equal(orphan_is_old(&one, 10000, cases[i].known_for_ns, grace),
			cases[i].old);
	}
}

static void test_the_journal_keeps_good_records_and_puts_bad_ones_aside(void **state)
{
	(void)state;
	cleanup_error err = ERROR_INIT;
	cleanup(record_free) struct record good = full_record("good");
	struct journal journal;
	struct record *records;
	size_t count;
	struct stat st;
	assert_int_equal(journal_open(&journal, folder, &err), 0);
	assert_int_equal(journal_write(&journal, &good, FAULT_CREATE_RECORD, &err), 0);
	assert_true(good.changed_at > 0);
	char path[128];
	snprintf(path, sizeof(path), "%s/good.json", journal.folder);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(journal.folder, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);

	write_text(&journal, "empty.json", "");
	write_text(&journal, "cut.json", "{\"version\": 1, \"sandb");
	cleanup(free_ptr) char *other = damaged_text("gpus", "0");
	write_text(&journal, "misnamed.json", other); /* says that it is of s1 */
	write_text(&journal, "good.json.Ab12Cd",
		"half a record"); /* of a write that was cut short */
	write_text(&journal, "notes.txt", "not ours");
	log_init("test", LOG_ERROR + 1, LOG_TEXT);
	look_and_change_nothing(&journal);
	assert_int_equal(journal_read_all(&journal, &records, &count, &err), 0);
	assert_int_equal(count, 1);
	assert_string_equal(records[0].sandbox, "good");
	record_free(&records[0]);
	free(records);
	static const char *const bad[] = {"empty", "cut", "misnamed"};
	for (size_t i = 0; i < array_size(bad); i++) {
		assert_true(journal_is_damaged(&journal, bad[i]));
		assert_int_equal(journal_remove_damaged(&journal, bad[i], &err), 0);
		assert_false(journal_is_damaged(&journal, bad[i]));
	}
	assert_false(exists(&journal, "good.json.Ab12Cd"));
	assert_true(exists(&journal, "notes.txt"));
	assert_int_equal(journal_remove(&journal, "good", &err), 0);
	assert_int_equal(journal_remove(&journal, "good", &err), 0); /* twice */
	assert_false(exists(&journal, "good.json"));
	snprintf(path, sizeof(path), "%s/notes.txt", journal.folder);
	unlink(path);
	rmdir(journal.folder);
	journal_close(&journal);
}

static void test_every_step_has_two_fault_points_of_its_own(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len = 0, lines = 0;
	FILE *out = open_memstream(&text, &len);
	fault_steps_print(out);
	fclose(out);
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 2 * FAULT_STEP_COUNT);
	free(text);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	char path[64];
	snprintf(path, sizeof(path), "%s/lock", folder);
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transitions_are_these_and_no_others),
		cmocka_unit_test(test_names_of_states_and_stages_are_read_back),
		cmocka_unit_test(test_a_record_is_read_as_it_was_written),
		cmocka_unit_test(test_what_is_wrong_in_a_record_is_named),
		cmocka_unit_test(test_members_of_a_later_version_are_passed_over),
		cmocka_unit_test(test_the_journal_keeps_good_records_and_puts_bad_ones_aside),
		cmocka_unit_test(test_looking_needs_a_journal),
		cmocka_unit_test(test_only_ours_and_old_enough_may_be_an_orphan),
		cmocka_unit_test(test_every_step_has_two_fault_points_of_its_own),
	};
	return cmocka_run_group_tests_name("journal", tests, make_folder, remove_folder);
}
