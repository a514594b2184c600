/* SPDX-License-Identifier: Apache-2.0 */
/* The filter's rules: written once, and again when somebody touched them. In a network namespace of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <string.h>

#include "base/cleanup.h"
#include "podnetwork/filter.h"
#include "podnetwork/nftables.h"

#define PORT 4789
#define VNI_MIN 555000

static bool own_netns;

static int enter_netns(void **state)
{
	(void)state;
	own_netns = unshare(CLONE_NEWNET) == 0;
	return 0;
}

static int prepare(const char *sandbox, uint32_t vni, uint16_t port, uint32_t vni_min)
{
	const struct filter_tunnel tunnel = {.sandbox = sandbox,
		.vni = vni,
		.vni_min = vni_min,
		.port = port};
	return filter_prepare(&tunnel, NULL);
}

/* Every test begins with a new table and one reserved tunnel. */
static int begin(void **state)
{
	(void)state;
	if (!own_netns)
		return 0;
	nftables_run("add table inet peerpod\ndelete table inet peerpod\n", NULL);
	return prepare("a", 555001, PORT, VNI_MIN);
}

#define NEED_NETNS              \
	do {                    \
		(void)state;    \
		if (!own_netns) \
			skip(); \
	} while (0)

static void allow(const char *sandbox, const char *remote, uint32_t vni)
{
	cleanup_error err = ERROR_INIT;
	struct filter_tunnel tunnel = {.sandbox = sandbox,
		.vni = vni,
		.vni_min = VNI_MIN,
		.port = PORT};
	assert_true(ip_address_parse(remote, &tunnel.remote));
	filter_allow(&tunnel, &err);
	assert_string_equal(error_message(&err), "no error");
}

static char *listing(void)
{
	struct buf text = BUF_INIT;
	bool gone = false;
	assert_int_equal(nftables_list("peerpod", &text, &gone, NULL), 0);
	return gone ? NULL : buf_take(&text);
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;
	for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
		n++;
	return n;
}

/* A rule of the chain is a member "rule" of the listing. */
static size_t rules(void)
{
	cleanup(free_ptr) char *text = listing();
	return text ? count(text, "{\"rule\": ") : 0;
}

/* pre 2, out 2, in 1, the port's 4 */
#define RULES 9

static void test_rules_are_written_once(void **state)
{
	NEED_NETNS;
	uint32_t generation = nftables_generation();
	assert_int_not_equal(generation, 0);
	assert_int_equal(rules(), RULES);
	assert_int_equal(prepare("a", 555001, PORT, VNI_MIN), 0);
	assert_int_equal(nftables_generation(), generation);
	cleanup(free_ptr) char *before = listing();
	allow("a", "192.0.2.1", 555001);
	assert_int_equal(nftables_generation(), generation + 1);
	/* The same rules, by their handles: they were not written again. */
	cleanup(free_ptr) char *after = listing();
	assert_string_equal(strstr(after, "{\"chain\": "), strstr(before, "{\"chain\": "));
	assert_int_equal(count(after, "192.0.2.1"), 1);
}

static void test_a_later_tunnel_of_the_sandbox_or_number_supersedes(void **state)
{
	NEED_NETNS;
	allow("a", "192.0.2.1", 555001);
	allow("a", "192.0.2.2", 555001);
	allow("b", "2001:db8::1", 555001);
	cleanup(free_ptr) char *text = listing();
	assert_int_equal(count(text, "\"comment\""), 1);
	assert_int_equal(count(text, "2001:db8::1"), 1);
	assert_int_equal(rules(), RULES);
}

static void test_what_somebody_did_to_the_rules_is_mended(void **state)
{
	NEED_NETNS;
	static const char *const deeds[] = {
		"flush chain inet peerpod in\n",
		"insert rule inet peerpod in accept\n",
		"insert rule inet peerpod port4789 accept\n",
		"delete element inet peerpod ports { 4789 }\n",
		"flush ruleset\n",
		/* All is as it looked, but these are not the rules that were written. */
		"flush chain inet peerpod in\nadd rule inet peerpod in udp dport vmap @ports\n",
	};
	for (size_t i = 0; i < array_size(deeds); i++) {
		cleanup_error err = ERROR_INIT;
		assert_int_equal(nftables_run(deeds[i], &err), 0);
		allow("a", "192.0.2.1", 555001);
		cleanup(free_ptr) char *text = listing();
		assert_non_null(text);
		assert_int_equal(rules(), RULES);
		assert_int_equal(count(text, "{\"accept\": null}"), 2);
		assert_int_equal(count(text, "\"jump\""), 1);
		assert_int_equal(count(text, "\"comment\""), 1);
	}
	assert_int_equal(nftables_run("flush chain inet peerpod pre\n", NULL), 0);
	assert_int_equal(prepare("a", 555001, PORT, VNI_MIN), 0);
	assert_int_equal(rules(), RULES);
}

static void test_other_tables_are_nobodys_business(void **state)
{
	NEED_NETNS;
	assert_int_equal(nftables_run("add table inet other\n", NULL), 0);
	uint32_t generation = nftables_generation();
	assert_int_equal(prepare("a", 555001, PORT, VNI_MIN), 0);
	assert_int_equal(nftables_generation(), generation);
	assert_int_equal(nftables_run("delete table inet other\n", NULL), 0);
}

static void test_other_ports_have_rules_of_their_own(void **state)
{
	NEED_NETNS;
	assert_int_equal(prepare("b", 600001, 4790, 600000), 0);
	assert_int_equal(rules(), RULES + 4);
	cleanup(free_ptr) char *text = listing();
	assert_int_equal(count(text, "600000"), 1);
	assert_int_equal(count(text, "555000"), 1);
}

static void test_tunnels_below_a_lowest_number_that_was_raised_stay_guarded(void **state)
{
	NEED_NETNS;
	allow("a", "192.0.2.1", 555001);
	assert_int_equal(prepare("b", 600001, PORT, 600000), 0);
	cleanup(free_ptr) char *text = listing();
	assert_int_equal(count(text, "600000"), 0);
	assert_int_equal(count(text, "\"right\": 555001"), 1);
	assert_int_equal(filter_forbid("a", NULL), 0);
	assert_int_equal(prepare("b", 600001, PORT, 600000), 0);
	cleanup(free_ptr) char *later = listing();
	assert_int_equal(count(later, "\"right\": 600000"), 1);
	assert_int_equal(rules(), RULES);
}

static void test_a_reserved_tunnel_keeps_the_rules_when_the_last_connected_one_goes(void **state)
{
	NEED_NETNS;
	allow("b", "192.0.2.2", 555002);
	assert_int_equal(filter_forbid("b", NULL), 0);
	assert_int_equal(rules(), RULES);
	assert_int_equal(filter_forbid("a", NULL), 0);
	assert_true(nftables_table_missing("peerpod"));
}

static void test_reserving_again_leaves_a_connected_tunnel_as_it_is(void **state)
{
	NEED_NETNS;
	allow("a", "192.0.2.1", 555001);
	assert_int_equal(prepare("a", 555001, PORT, VNI_MIN), 0);
	cleanup(free_ptr) char *text = listing();
	assert_int_equal(count(text, "192.0.2.1"), 1);
	assert_int_equal(count(text, "\"comment\""), 1);
	/* Another sandbox has the number now. */
	assert_int_equal(prepare("b", 555001, PORT, VNI_MIN), 0);
	cleanup(free_ptr) char *later = listing();
	assert_int_equal(count(later, "192.0.2.1"), 0);
	assert_int_equal(count(later, "\"comment\": \"b\""), 1);
}

static void test_the_last_tunnel_takes_the_table_with_it(void **state)
{
	NEED_NETNS;
	allow("a", "192.0.2.1", 555001);
	assert_false(nftables_table_missing("peerpod"));
	assert_int_equal(filter_forbid("a", NULL), 0);
	assert_true(nftables_table_missing("peerpod"));
	assert_int_equal(filter_forbid("a", NULL), 0);
	allow("a", "192.0.2.1", 555001);
	assert_int_equal(rules(), RULES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_rules_are_written_once, begin),
		cmocka_unit_test_setup(test_a_later_tunnel_of_the_sandbox_or_number_supersedes,
			begin),
		cmocka_unit_test_setup(test_what_somebody_did_to_the_rules_is_mended, begin),
		cmocka_unit_test_setup(test_other_tables_are_nobodys_business, begin),
		cmocka_unit_test_setup(test_other_ports_have_rules_of_their_own, begin),
		cmocka_unit_test_setup(
			test_tunnels_below_a_lowest_number_that_was_raised_stay_guarded, begin),
		cmocka_unit_test_setup(
			test_a_reserved_tunnel_keeps_the_rules_when_the_last_connected_one_goes,
			begin),
		cmocka_unit_test_setup(test_reserving_again_leaves_a_connected_tunnel_as_it_is,
			begin),
		cmocka_unit_test_setup(test_the_last_tunnel_takes_the_table_with_it, begin),
	};
	return cmocka_run_group_tests(tests, enter_netns, NULL);
}
