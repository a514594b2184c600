/* SPDX-License-Identifier: Apache-2.0 */
/* podnetwork_json_test.c - both JSON forms of the pod network: what is written, read and refused */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/json.h"
#include "podnetwork/model.h"

/* "'" stands for '"', so that the tables stay readable. */
static json_t *parse(const char *quoted)
{
	char *text = strdup(quoted);
	for (char *p = text; *p; p++) {
		if (*p == '\'')
			*p = '"';
	}
	json_t *object = json_loads(text, 0, NULL);
	assert_non_null(object);
	free(text);
	return object;
}

static void assert_written(const struct podnetwork *network, const char *expected_quoted)
{
	struct error err = ERROR_INIT;
	json_t *object = podnetwork_to_json(network, &err);
	assert_string_equal(error_message(&err), "no error");
	json_t *expected = parse(expected_quoted);
	char *got_text = json_dumps(object, 0), *expected_text = json_dumps(expected, 0);
	assert_string_equal(got_text, expected_text);
	free(got_text);
	free(expected_text);
	json_decref(object);
	json_decref(expected);
}

static void read_good(const char *quoted, struct podnetwork *network)
{
	struct error err = ERROR_INIT;
	json_t *object = parse(quoted);
	int result = podnetwork_from_json(object, network, &err);
	assert_string_equal(error_message(&err), "no error");
	assert_int_equal(result, 0);
	json_decref(object);
}

/* As upstream writes it, but for the spelling of the default route. */
#define AWS_SHAPE(default_dst)                                                             \
	"{'podip':'10.42.7.19/32','pod-hw-addr':'02:1f:9a:00:07:13','interface':'eth0',"   \
	"'worker-node-ip':'172.20.4.11/22','tunnel-type':'vxlan','routes':["               \
	"{'dst':'" default_dst "','gw':'169.254.1.1','dev':'eth0','protocol':'boot'},"     \
	"{'dst':'169.254.1.1/32','gw':'','dev':'eth0','protocol':'boot','scope':'link'}]," \
	"'neighbors':[{'ip':'169.254.1.1','hw-addr':'3a:11:de:9d:70:4c','dev':'eth0',"     \
	"'state':'permanent'}],'mtu':9001,'index':3,'vxlan-port':4789,'vxlan-id':555003,"  \
	"'dedicated':false,'external-net-via-pod-vm':false}"

static void test_empty_network_is_written_as_upstream_does(void **state)
{
	(void)state;
	struct podnetwork network = {0};
	assert_written(&network,
		"{'podip':'','pod-hw-addr':'','interface':'','worker-node-ip':'',"
		"'tunnel-type':'','routes':null,'neighbors':null,'mtu':0,'index':0,"
		"'dedicated':false,'external-net-via-pod-vm':false}");
}

static void test_empty_network_is_read_back(void **state)
{
	(void)state;
	struct podnetwork network;
	read_good("{'podip':'','pod-hw-addr':null,'routes':null,'neighbors':null,'mtu':0}",
		&network);
	assert_string_equal(network.podip, "");
	assert_string_equal(network.tunnel_type, "");
	assert_int_equal(network.route_count, 0);
	podnetwork_free(&network);
}

static void test_v1_reads_and_writes_back_the_same(void **state)
{
	(void)state;
	struct podnetwork network;
	read_good(AWS_SHAPE("0.0.0.0/0"), &network);
	assert_string_equal(network.podip, "10.42.7.19/32");
	assert_int_equal(network.route_count, 2);
	assert_string_equal(network.routes[1].scope, "link");
	assert_string_equal(network.neighbors[0].state, "permanent");
	assert_int_equal(network.vxlan_id, 555003);
	assert_written(&network, AWS_SHAPE("0.0.0.0/0"));
	podnetwork_free(&network);
}

static void test_three_spellings_of_the_default_route_are_one(void **state)
{
	(void)state;
	static const char *const spellings[] = {AWS_SHAPE("::ffff:0.0.0.0/0"), AWS_SHAPE(""),
		AWS_SHAPE("0.0.0.0/0")};
	for (size_t i = 0; i < array_size(spellings); i++) {
		struct podnetwork network;
		read_good(spellings[i], &network);
		assert_string_equal(network.routes[0].dst, "0.0.0.0/0");
		podnetwork_free(&network);
	}
}

static void test_old_spellings_zones_and_unknown_members_are_read(void **state)
{
	(void)state;
	struct podnetwork network;
	read_good("{'PodIP':'10.0.0.7/24','MTU':1500,'colour':'blue','routes':["
		  "{'Dst':'','GW':'10.0.0.1','Dev':'eth0','extra':1},"
		  "{'dst':null,'gw':'fe80::1%eth0','dev':'eth0'}],"
		  "'Neighbors':[{'IP':'fe80::1%eth0','HW-Addr':'AA:bb:cc:dd:ee:ff'}]}",
		&network);
	assert_string_equal(network.podip, "10.0.0.7/24");
	assert_int_equal(network.mtu, 1500);
	assert_string_equal(network.routes[0].gw, "10.0.0.1");
	assert_string_equal(network.routes[0].dst, "0.0.0.0/0");
	assert_string_equal(network.routes[1].gw, "fe80::1");
	assert_string_equal(network.routes[1].dst, "::/0");
	assert_string_equal(network.neighbors[0].hw_addr, "aa:bb:cc:dd:ee:ff");
	podnetwork_free(&network);
}

static void test_exact_key_wins_over_one_in_another_case(void **state)
{
	(void)state;
	struct podnetwork network;
	read_good("{'mtu':1400,'MTU':1500}", &network);
	assert_int_equal(network.mtu, 1400);
	podnetwork_free(&network);
}

#define FULL_EXT                                                                                   \
	"'ext':{'podips':['10.0.0.7/24','fd00::7/64'],"                                            \
	"'routes':[{'dst':'0.0.0.0/0','gw':'10.0.0.1','dev':'eth0','protocol':'boot'},"            \
	"{'dst':'0.0.0.0/0','gw':'10.0.0.2','dev':'eth0','protocol':'boot','metric':100},"         \
	"{'dst':'10.9.0.0/16','gw':'10.99.0.1','dev':'eth0','protocol':'static','src':'10.0.0.7'," \
	"'mtu':1400,'advmss':1360,'onlink':true},"                                                 \
	"{'dst':'10.8.0.0/16','gw':'','dev':'eth0','protocol':'186','table':200},"                 \
	"{'dst':'10.7.0.0/16','gw':'','type':'blackhole'},"                                        \
	"{'dst':'::/0','gw':'fe80::1','dev':'eth0','protocol':'static'}],"                         \
	"'neighbors':[{'ip':'fe80::1','hw-addr':'aa:bb:cc:dd:ee:ff','dev':'eth0',"                 \
	"'state':'permanent'}],"                                                                   \
	"'rules':[{'priority':1000,'from':'10.0.0.7/32','mark':1,'mask':255,'table':200},"         \
	"{'priority':0,'iif':'eth0','table':201,'ipv6':true}],"                                    \
	"'underlay-mtu':9001,'tunnel-csum-off':true,'nic-tx-csum-off':true,'encryption':'none'}"

/* What v1 makes of the lists above: no second default, a device route in place of onlink. */
#define FULL_V1                                                                           \
	"{'podip':'10.0.0.7/24','pod-hw-addr':'02:00:00:00:00:01','interface':'eth0',"    \
	"'worker-node-ip':'192.168.1.2/24','tunnel-type':'vxlan','routes':["              \
	"{'dst':'0.0.0.0/0','gw':'10.0.0.1','dev':'eth0','protocol':'boot'},"             \
	"{'dst':'10.99.0.1/32','gw':'','dev':'eth0','protocol':'static','scope':'link'}," \
	"{'dst':'10.9.0.0/16','gw':'10.99.0.1','dev':'eth0','protocol':'static'}],"       \
	"'neighbors':null,'mtu':1500,'index':0,'vxlan-port':4789,'vxlan-id':555000,"      \
	"'dedicated':true,'external-net-via-pod-vm':true,"

static void test_ext_replaces_the_v1_lists_and_v1_says_what_it_can(void **state)
{
	(void)state;
	struct podnetwork network;
	read_good(FULL_V1 FULL_EXT "}", &network);
	assert_int_equal(network.route_count, 6);
	assert_int_equal(network.neighbor_count, 1);
	assert_int_equal(network.rule_count, 2);
	assert_int_equal(podnetwork_podip_count(&network), 2);
	assert_int_equal(network.underlay_mtu, 9001);
	assert_true(network.tunnel_csum_off);
	assert_true(network.nic_tx_csum_off);
	assert_true(network.routes[2].onlink);
	assert_string_equal(network.routes[3].protocol, "186");
	assert_written(&network, FULL_V1 FULL_EXT "}");
	podnetwork_free(&network);
}

static void test_universe_is_left_out(void **state)
{
	(void)state;
	struct podnetwork network;
	read_good("{'routes':[{'dst':'10.0.0.0/8','gw':'10.0.0.1','scope':'universe'}]}", &network);
	assert_string_equal(network.routes[0].scope, "");
	podnetwork_free(&network);
}

static const struct {
	const char *text, *message;
} bad[] = {
	{"[]", "pod-network must be an object"},
	{"null", "pod-network must be an object"},
	{"{'mtu':'1500'}", "pod-network: \"mtu\" must be an integer"},
	{"{'mtu':70000}", "pod-network: \"mtu\" is 70000, not between 0 and 65535"},
	{"{'vxlan-id':16777216}",
		"pod-network: \"vxlan-id\" is 16777216, not between 0 and 16777215"},
	{"{'vxlan-port':65536}", "pod-network: \"vxlan-port\" is 65536, not between 0 and 65535"},
	{"{'index':-1}", "pod-network: \"index\" is -1, not between 0 and 2147483647"},
	{"{'podip':7}", "pod-network: \"podip\" must be a string"},
	{"{'podip':'10.0.0.7'}", "pod-network: \"podip\" must be an address with a prefix length "
				 "(10.0.0.7/24), not \"10.0.0.7\""},
	{"{'podip':'10.0.0.7/33'}",
		"pod-network: \"podip\" must be an address with a prefix length "
		"(10.0.0.7/24), not \"10.0.0.7/33\""},
	{"{'podip':'10.0.0.7/08'}",
		"pod-network: \"podip\" must be an address with a prefix length "
		"(10.0.0.7/24), not \"10.0.0.7/08\""},
	{"{'podip':'fe80::1%eth0/64'}",
		"pod-network: \"podip\" must be an address with a prefix length "
		"(10.0.0.7/24), not \"fe80::1%eth0/64\""},
	{"{'pod-hw-addr':'02:00:00:00:00'}", "pod-network: \"pod-hw-addr\" must be a MAC address "
					     "(aa:bb:cc:dd:ee:ff), not \"02:00:00:00:00\""},
	{"{'interface':'../eth0'}",
		"pod-network: \"interface\" must be the name of a network interface, "
		"not \"../eth0\""},
	{"{'interface':'sixteen-letters-'}",
		"pod-network: \"interface\" must be the name of a network "
		"interface, not \"sixteen-letters-\""},
	{"{'tunnel-type':'ipip'}",
		"pod-network: \"tunnel-type\" is \"ipip\"; \"vxlan\" is the only one "
		"there is"},
	{"{'dedicated':'no'}", "pod-network: \"dedicated\" must be true or false"},
	{"{'routes':{}}", "pod-network: \"routes\" must be a list"},
	{"{'routes':[1]}", "pod-network: routes[0] must be an object"},
	{"{'routes':[{'dst':'default'}]}",
		"pod-network: routes[0]: \"dst\" must be an address with a "
		"prefix length (10.0.0.7/24), not \"default\""},
	{"{'routes':[{},{'gw':'10.0.0.1/24'}]}",
		"pod-network: routes[1]: \"gw\" must be an IP address, "
		"not \"10.0.0.1/24\""},
	{"{'routes':[{'gw':'10.0.0.1%eth0'}]}",
		"pod-network: routes[0]: \"gw\" must be an IP address, "
		"not \"10.0.0.1%eth0\""},
	{"{'routes':[{'protocol':'bgp'}]}",
		"pod-network: routes[0]: \"protocol\" must be one of static, "
		"boot, dhcp, kernel, not \"bgp\""},
	{"{'routes':[{'protocol':'186'}]}",
		"pod-network: routes[0]: \"protocol\" must be one of static, "
		"boot, dhcp, kernel, not \"186\""},
	{"{'routes':[{'protocol':3}]}", "pod-network: routes[0]: \"protocol\" must be a string"},
	{"{'routes':[{'scope':''}]}",
		"pod-network: routes[0]: \"scope\" must be one of universe, site, "
		"link, host, nowhere, not \"\""},
	{"{'routes':[{'scope':'unknown'}]}",
		"pod-network: routes[0]: \"scope\" must be one of universe, "
		"site, link, host, nowhere, not \"unknown\""},
	{"{'routes':[{'dst':'fd00::/8','gw':'10.0.0.1'}]}",
		"pod-network: routes[0]: \"gw\" 10.0.0.1 is "
		"IPv4, \"dst\" fd00::/8 is IPv6"},
	{"{'neighbors':[{'ip':'x'}]}",
		"pod-network: neighbors[0]: \"ip\" must be an IP address, not "
		"\"x\""},
	{"{'neighbors':[{'state':'gone'}]}",
		"pod-network: neighbors[0]: \"state\" must be one of none, "
		"incomplete, reachable, stale, delay, probe, failed, noarp, "
		"permanent, not \"gone\""},
	{"{'ext':[]}", "pod-network: ext must be an object"},
	{"{'ext':{'podips':['10.0.0.7']}}",
		"pod-network: ext: podips[0] must be an address with a prefix "
		"length (10.0.0.7/24)"},
	{"{'ext':{'routes':[{'protocol':'256'}]}}",
		"pod-network: ext: routes[0]: \"protocol\" must be one "
		"of static, boot, dhcp, kernel, not \"256\""},
	{"{'ext':{'routes':[{'type':'nat'}]}}",
		"pod-network: ext: routes[0]: \"type\" must be one of "
		"blackhole, unreachable, prohibit, throw, not \"nat\""},
	{"{'ext':{'routes':[{'src':'fd00::1'}]}}",
		"pod-network: ext: routes[0]: \"src\" fd00::1 and "
		"\"dst\" 0.0.0.0/0 are of two families"},
	{"{'ext':{'rules':[{'priority':1}]}}",
		"pod-network: ext: rules[0]: \"table\" must be the number of "
		"a table"},
	{"{'ext':{'rules':[{'table':1,'from':'fd00::/8'}]}}",
		"pod-network: ext: rules[0]: fd00::/8 is IPv6 "
		"and \"ipv6\" is false"},
	{"{'ext':{'tunnel-csum-off':'yes'}}",
		"pod-network: ext: \"tunnel-csum-off\" must be true or false"},
	{"{'ext':{'encryption':'wireguard'}}",
		"pod-network: ext: \"encryption\" is \"wireguard\"; this pod "
		"VM image only knows \"none\""},
};

static void test_bad_json_is_refused_with_the_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < array_size(bad); i++) {
		struct error err = ERROR_INIT;
		struct podnetwork network;
		char *text = strdup(bad[i].text);
		for (char *p = text; *p; p++)
			*p = *p == '\'' ? '"' : *p;
		json_t *object = json_loads(text, JSON_DECODE_ANY, NULL);
		assert_non_null(object);
		assert_int_equal(podnetwork_from_json(object, &network, &err), -1);
		assert_string_equal(error_message(&err), bad[i].message);
		podnetwork_free(&network);
		error_clear(&err);
		json_decref(object);
		free(text);
	}
}

static void test_a_flood_of_routes_is_refused(void **state)
{
	(void)state;
	struct error err = ERROR_INIT;
	struct podnetwork network;
	json_t *object = parse("{'routes':[]}");
	for (int i = 0; i <= PODNETWORK_LIST_MAX; i++)
		json_array_append_new(json_object_get(object, "routes"), json_object());
	assert_int_equal(podnetwork_from_json(object, &network, &err), -1);
	assert_string_equal(error_message(&err),
		"pod-network: \"routes\" has 1025 entries; the limit is 1024");
	podnetwork_free(&network);
	error_clear(&err);
	json_decref(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_network_is_written_as_upstream_does),
		cmocka_unit_test(test_empty_network_is_read_back),
		cmocka_unit_test(test_v1_reads_and_writes_back_the_same),
		cmocka_unit_test(test_three_spellings_of_the_default_route_are_one),
		cmocka_unit_test(test_old_spellings_zones_and_unknown_members_are_read),
		cmocka_unit_test(test_exact_key_wins_over_one_in_another_case),
		cmocka_unit_test(test_ext_replaces_the_v1_lists_and_v1_says_what_it_can),
		cmocka_unit_test(test_universe_is_left_out),
		cmocka_unit_test(test_bad_json_is_refused_with_the_place),
		cmocka_unit_test(test_a_flood_of_routes_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
