/* SPDX-License-Identifier: Apache-2.0 */
/*
 * podnetwork_test.c - the pod network's decisions: order of routes, MTU, primary interface, the
 * kernel's words
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include "podnetwork/filter.h"
#include "podnetwork/model.h"
#include "podnetwork/mtu.h"
#include "podnetwork/netlink.h"
#include "podnetwork/reserve.h"
#include "podnetwork/snapshot.h"

/* ---- addresses ---- */

static void test_prefixes_are_read_as_go_reads_them(void **state)
{
	(void)state;
	static const struct {
		const char *text, *canonical; /* NULL: refused */
	} cases[] = {
		{"10.0.0.7/24", "10.0.0.7/24"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"::ffff:0.0.0.0/0", "0.0.0.0/0"},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8"},
		{"::ffff:10.0.0.0/33", NULL},
		{"FD00::1/64", "fd00::1/64"},
		{"::/0", "::/0"},
		{"10.0.0.7", NULL},
		{"10.0.0.7/", NULL},
		{"10.0.0.7/33", NULL},
		{"10.0.0.7/024", NULL},
		{"10.0.0.7/-1", NULL},
		{"10.0.0.7/24 ", NULL},
		{"10.0.07.1/24", NULL},
		{"default", NULL},
		{"fd00::1/129", NULL},
		{"fe80::1%eth0/64", NULL},
		{"", NULL},
		{"/", NULL},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct ip_prefix prefix;
		char text[IP_TEXT_MAX];
		bool read = ip_prefix_parse(cases[i].text, &prefix);
		assert_int_equal(read, cases[i].canonical != NULL);
		if (read)
			assert_string_equal(ip_prefix_format(&prefix, text), cases[i].canonical);
	}
}

static void test_contains_compares_bits(void **state)
{
	(void)state;
	static const struct {
		const char *prefix, *address;
		bool contains;
	} cases[] = {
		{"10.0.0.0/8", "10.255.0.1", true},
		{"10.0.0.0/9", "10.128.0.1", false},
		{"10.0.0.7/31", "10.0.0.6", true},
		{"0.0.0.0/0", "1.2.3.4", true},
		{"0.0.0.0/0", "fd00::1", false},
		{"fd00::/7", "fc00::1", true},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct ip_prefix prefix, address;
		assert_true(ip_prefix_parse(cases[i].prefix, &prefix));
		assert_true(ip_address_parse(cases[i].address, &address));
		assert_int_equal(ip_prefix_contains(&prefix, &address), cases[i].contains);
	}
}

static void test_macs_and_names(void **state)
{
	(void)state;
	uint8_t mac[MAC_SIZE];
	char text[MAC_TEXT_MAX];
	assert_true(mac_parse("0A:58:0a:f4:01:07", mac));
	assert_string_equal(mac_format(mac, text), "0a:58:0a:f4:01:07");
	static const char *const bad[] = {"", "0a:58:0a:f4:01", "0a:58:0a:f4:01:7",
		"0a-58-0a-f4-01-07", "0a:58:0a:f4:01:0g", "0a:58:0a:f4:01:07:08",
		" a:58:0a:f4:01:07"};
	for (size_t i = 0; i < array_size(bad); i++)
		assert_false(mac_parse(bad[i], mac));
	assert_true(interface_name_valid("eth0.100"));
	static const char *const names[] = {"", ".", "..", "a/b", "a b", "a:1", "sixteen-letters-"};
	for (size_t i = 0; i < array_size(names); i++)
		assert_false(interface_name_valid(names[i]));
}

/* ---- routes ---- */

static void add(struct podnetwork *network, const char *dst, const char *gw, int64_t metric)
{
	struct podnetwork_route *route = podnetwork_route_add(network, NULL);
	assert_non_null(route);
	text_set(&route->dst, dst, NULL);
	text_set(&route->gw, gw, NULL);
	route->metric = metric;
}

static void assert_order(const struct podnetwork *network, const char *const *dst, size_t count)
{
	assert_int_equal(network->route_count, count);
	for (size_t i = 0; i < count; i++)
		assert_string_equal(network->routes[i].dst, dst[i]);
}

static void test_routes_are_listed_in_upstreams_order(void **state)
{
	(void)state;
	struct podnetwork network = {0};
	add(&network, "fd00::/64", "", 0);
	add(&network, "10.0.0.0/16", "", 0);
	add(&network, "10.0.0.0/8", "", 0);
	add(&network, "9.0.0.0/8", "", 0);
	add(&network, "0.0.0.0/0", "10.0.0.2", 9);
	add(&network, "0.0.0.0/0", "10.0.0.1", 0);
	assert_int_equal(podnetwork_routes_sort(&network, NULL), 0);
	static const char *const order[] = {"0.0.0.0/0", "0.0.0.0/0", "9.0.0.0/8", "10.0.0.0/8",
		"10.0.0.0/16", "fd00::/64"};
	assert_order(&network, order, array_size(order));
	assert_string_equal(network.routes[0].gw, "10.0.0.1");
	podnetwork_free(&network);
}

static void test_routes_are_added_so_that_gateways_are_reachable(void **state)
{
	(void)state;
	struct podnetwork network = {0};
	add(&network, "0.0.0.0/0", "169.254.1.1", 0);
	add(&network, "10.0.0.0/8", "169.254.1.1", 5);
	add(&network, "10.0.0.0/24", "", 0);
	add(&network, "10.9.0.0/16", "10.0.0.1", 0);
	add(&network, "169.254.1.1/32", "", 0);
	assert_int_equal(podnetwork_routes_sort_for_setup(&network, NULL), 0);
	static const char *const order[] = {"169.254.1.1/32", "10.0.0.0/24", "10.9.0.0/16",
		"10.0.0.0/8", "0.0.0.0/0"};
	assert_order(&network, order, array_size(order));
	podnetwork_free(&network);
}

/* ---- which interface, which address ---- */

static struct link links[] = {
	{.index = 1, .name = "lo", .flags = IFF_LOOPBACK},
	{.index = 2, .name = "ens10"},
	{.index = 3, .name = "ens5"},
	{.index = 4, .name = "wan0"},
	{.index = 5, .name = "enp0s3"},
};

static struct route default_by(int index, uint32_t metric, int family)
{
	return (struct route){.dst = ip_prefix_default(family),
		.index = index,
		.metric = metric,
		.table = RT_TABLE_MAIN,
		.type = RTN_UNICAST};
}

static const char *primary(struct route *routes, size_t count)
{
	const struct snapshot snapshot = {.links = links,
		.link_count = array_size(links),
		.routes = routes,
		.route_count = count};
	const struct route *route = snapshot_default_route(&snapshot, AF_UNSPEC, NULL);
	return route ? snapshot_link_index(&snapshot, route->index)->name : NULL;
}

static void test_the_primary_interface(void **state)
{
	(void)state;
	struct route metrics[] = {default_by(3, 100, AF_INET), default_by(2, 50, AF_INET)};
	assert_string_equal(primary(metrics, 2), "ens10"); /* the metric before the number */
	struct route numbers[] = {default_by(2, 50, AF_INET), default_by(3, 50, AF_INET)};
	assert_string_equal(primary(numbers, 2), "ens5"); /* 5 is before 10 */
	struct route kinds[] = {default_by(2, 50, AF_INET), default_by(4, 50, AF_INET)};
	assert_string_equal(primary(kinds, 2), "ens10"); /* two kinds of names: the first */
	struct route odd[] = {default_by(2, 50, AF_INET), default_by(5, 50, AF_INET)};
	assert_string_equal(primary(odd, 2), "ens10"); /* enp0s3 has no number at its end alone */
	struct route families[] = {default_by(2, 1, AF_INET6), default_by(3, 9, AF_INET)};
	assert_string_equal(primary(families, 2), "ens5"); /* IPv4, if there is any */
	assert_string_equal(primary(families, 1), "ens10");
	struct route other = default_by(2, 0, AF_INET);
	other.table = 200;
	assert_null(primary(&other, 1));
	other = default_by(77, 0, AF_INET); /* its device is gone */
	assert_null(primary(&other, 1));
	assert_null(primary(NULL, 0));
}

static struct address address(const char *text, uint32_t flags)
{
	struct address made = {.index = 3, .flags = flags};
	assert_true(ip_prefix_parse(text, &made.ip));
	return made;
}

static void test_the_address_of_an_interface(void **state)
{
	(void)state;
	struct address addresses[] = {address("10.0.0.99/32", 0),
		address("10.0.0.5/24", IFA_F_SECONDARY), address("10.0.0.6/24", 0),
		address("fe80::1/64", 0), address("fd00::2/64", IFA_F_TENTATIVE),
		address("fd00::3/64", 0)};
	const struct snapshot snapshot = {.addresses = addresses,
		.address_count = array_size(addresses)};
	assert_ptr_equal(snapshot_address(&snapshot, &links[2], AF_UNSPEC), &addresses[2]);
	assert_ptr_equal(snapshot_address(&snapshot, &links[2], AF_INET6), &addresses[5]);
	assert_null(snapshot_address(&snapshot, &links[1], AF_UNSPEC));
	/* A cloud that gives /32 by DHCP: better than nothing. */
	const struct snapshot single = {.addresses = addresses, .address_count = 1};
	assert_ptr_equal(snapshot_address(&single, &links[2], AF_UNSPEC), &addresses[0]);
}

/* ---- MTU ---- */

static void test_mtu_is_what_fits(void **state)
{
	(void)state;
	static const struct {
		int64_t cni, worker, vm;
		int family;
		uint32_t expected;
	} cases[] = {
		{1500, 1500, 1500, AF_INET, 1450},
		{1500, 1500, 1500, AF_INET6, 1430},
		{1400, 1500, 1500, AF_INET, 1400},
		{9001, 9001, 9001, AF_INET, 8951},
		{9001, 9001, 1500, AF_INET, 1450},
		{9001, 1500, 9001, AF_INET, 1450},
		{9001, 0, 9001, AF_INET, 1450}, /* an upstream worker says nothing */
		{9001, 9001, 0, AF_INET, 8951}, /* the worker does not know the VM's */
		{0, 1500, 1500, AF_INET, 1450},
		{1500, 0, 0, AF_INET, 1450},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		uint32_t mtu = 0;
		assert_int_equal(tunnel_mtu(cases[i].cni, cases[i].worker, cases[i].vm,
					 cases[i].family, false, &mtu, NULL),
			0);
		assert_int_equal(mtu, cases[i].expected);
	}
}

static void test_too_small_an_mtu_is_an_error(void **state)
{
	(void)state;
	struct error err = ERROR_INIT;
	uint32_t mtu;
	assert_int_equal(tunnel_mtu(1500, 1300, 1300, AF_INET, true, &mtu, &err), -1);
	assert_string_equal(error_message(&err),
		"the tunnel's MTU would be 1250, and IPv6 needs 1280: the path between worker and pod VM "
		"has an MTU of 1300, the tunnel takes 50 of it, and the pod's interface has 1500");
	assert_int_equal(tunnel_mtu(1500, 100, 100, AF_INET, false, &mtu, &err), -1);
	error_clear(&err);
}

/* ---- names and comments ---- */

static void test_temporary_names_are_known_again(void **state)
{
	(void)state;
	char name[IFNAMSIZ], other[IFNAMSIZ];
	reservation_temporary_name("0a1b2c3d", name);
	reservation_temporary_name("0a1b2c3e", other);
	assert_string_not_equal(name, other);
	assert_true(interface_name_valid(name));
	assert_true(reservation_name_temporary(name));
	static const char *const others[] = {"vxlan1", "pp", "ppvxlan0", "pp0123456789a",
		"pp01234567g9"};
	for (size_t i = 0; i < array_size(others); i++)
		assert_false(reservation_name_temporary(others[i]));
}

static void test_a_comment_cannot_end_its_quotes(void **state)
{
	(void)state;
	assert_true(filter_comment_valid("0a1b-2c_3.d:e"));
	static const char *const bad[] = {"", "a\"b", "a b", "a;b", "a\nb", "a}b"};
	for (size_t i = 0; i < array_size(bad); i++)
		assert_false(filter_comment_valid(bad[i]));
	char longest[130];
	memset(longest, 'a', sizeof(longest));
	longest[129] = 0;
	assert_false(filter_comment_valid(longest));
	longest[128] = 0;
	assert_true(filter_comment_valid(longest));
}

/* ---- the kernel's words ---- */

/* NLMSG_ERROR with a capped or a whole request in front of the words. */
static void make_refusal(uint8_t *bytes, size_t request, bool capped, const char *words)
{
	struct nlmsghdr *message = (struct nlmsghdr *)bytes;
	size_t skip =
		NLMSG_HDRLEN + sizeof(struct nlmsgerr) + (capped ? 0 : request - NLMSG_HDRLEN);
	struct nlattr *attribute = (struct nlattr *)(bytes + NLMSG_ALIGN(skip));
	*message = (struct nlmsghdr){.nlmsg_type = NLMSG_ERROR,
		.nlmsg_flags = NLM_F_ACK_TLVS | (capped ? NLM_F_CAPPED : 0)};
	*(struct nlmsgerr *)NLMSG_DATA(message) =
		(struct nlmsgerr){.error = -EEXIST, .msg = {.nlmsg_len = (uint32_t)request}};
	attribute->nla_type = NLMSGERR_ATTR_MSG;
	attribute->nla_len = (uint16_t)(NLA_HDRLEN + strlen(words) + 1);
	memcpy(attribute + 1, words, strlen(words) + 1);
	message->nlmsg_len = (uint32_t)(NLMSG_ALIGN(skip) + attribute->nla_len);
}

static void test_the_kernels_words_are_found(void **state)
{
	(void)state;
	_Alignas(8) uint8_t bytes[1024];
	char text[NETLINK_TEXT_MAX];
	const struct nlmsghdr *message = (const struct nlmsghdr *)bytes;
	for (int capped = 0; capped < 2; capped++) {
		memset(bytes, 0, sizeof(bytes));
		make_refusal(bytes, 44, capped, "already exists");
		netlink_read_text(message, text);
		assert_string_equal(text, "already exists");
	}
	char longest[400];
	memset(longest, 'x', sizeof(longest));
	longest[399] = 0;
	make_refusal(bytes, 44, true, longest);
	netlink_read_text(message, text);
	assert_int_equal(strlen(text), NETLINK_TEXT_MAX - 1);
	/* The request claims to be longer than the message. */
	make_refusal(bytes, 44, false, "already exists");
	((struct nlmsgerr *)NLMSG_DATA(message))->msg.nlmsg_len = 4000;
	netlink_read_text(message, text);
	assert_string_equal(text, "");
}

static void test_cut_messages_end_the_run(void **state)
{
	(void)state;
	_Alignas(8) uint8_t bytes[64] = {0};
	struct nlmsghdr *message = (struct nlmsghdr *)bytes;
	struct buf run = {.data = bytes, .len = sizeof(bytes)};
	static const uint32_t bad[] = {0, 15, 65, UINT32_MAX};
	for (size_t i = 0; i < array_size(bad); i++) {
		size_t offset = 0;
		message->nlmsg_len = bad[i];
		assert_null(netlink_next(&run, &offset));
	}
	size_t offset = 0;
	message->nlmsg_len = 63;
	assert_non_null(netlink_next(&run, &offset));
	assert_int_equal(offset, 64);
	assert_null(netlink_next(&run, &offset));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefixes_are_read_as_go_reads_them),
		cmocka_unit_test(test_contains_compares_bits),
		cmocka_unit_test(test_macs_and_names),
		cmocka_unit_test(test_routes_are_listed_in_upstreams_order),
		cmocka_unit_test(test_routes_are_added_so_that_gateways_are_reachable),
		cmocka_unit_test(test_the_primary_interface),
		cmocka_unit_test(test_the_address_of_an_interface),
		cmocka_unit_test(test_mtu_is_what_fits),
		cmocka_unit_test(test_too_small_an_mtu_is_an_error),
		cmocka_unit_test(test_temporary_names_are_known_again),
		cmocka_unit_test(test_a_comment_cannot_end_its_quotes),
		cmocka_unit_test(test_the_kernels_words_are_found),
		cmocka_unit_test(test_cut_messages_end_the_run),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
