/* SPDX-License-Identifier: Apache-2.0 */
/* podvm_init_test.c - what podvm-init reads: kernel command line, module list, labels, options */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "podvm-image/init/cmdline.h"
#include "podvm-image/init/medium.h"
#include "podvm-image/init/modules.h"
#include "podvm-image/init/pod.h"
#include "podvm-image/init/service.h"
#include "podvm-image/init/settings.h"

static void test_ip_on_the_command_line(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		enum cmdline_network_mode mode;
		const char *address, *gateway, *device, *dns0, *dns1;
	} cases[] = {
		{"", CMDLINE_NETWORK_DHCP, "", "", "", "", ""},
		{"console=ttyS0 quiet\n", CMDLINE_NETWORK_DHCP, "", "", "", "", ""},
		{"ip=dhcp", CMDLINE_NETWORK_DHCP, "", "", "", "", ""},
		{"quiet ip=OFF panic=1", CMDLINE_NETWORK_OFF, "", "", "", "", ""},
		{"ip=none", CMDLINE_NETWORK_OFF, "", "", "", "", ""},
		{"ip=:::::eth1:dhcp", CMDLINE_NETWORK_DHCP, "", "", "eth1", "", ""},
		{"ip=192.168.150.10::192.168.150.1:255.255.255.0::eth0:off:10.0.0.1:10.0.0.2",
			CMDLINE_NETWORK_STATIC, "192.168.150.10/24", "192.168.150.1", "eth0",
			"10.0.0.1", "10.0.0.2"},
		{"ip=10.1.2.3:::16", CMDLINE_NETWORK_STATIC, "10.1.2.3/16", "", "", "", ""},
		{"ip=10.1.2.3", CMDLINE_NETWORK_STATIC, "10.1.2.3/32", "", "", "", ""},
		{"ip=[fd00::5]::[fd00::1]:64::eth0:none:[fd00::53]", CMDLINE_NETWORK_STATIC,
			"fd00::5/64", "fd00::1", "eth0", "fd00::53", ""},
		{"ip=dhcp ip=10.1.2.3:::0.0.0.0", CMDLINE_NETWORK_STATIC, "10.1.2.3/0", "", "", "",
			""},
		{"quiet -- ip=off", CMDLINE_NETWORK_DHCP, "", "", "", "", ""},
		{"zip=off skip=none", CMDLINE_NETWORK_DHCP, "", "", "", "", ""},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct cmdline_network network;
		cleanup_error err = ERROR_INIT;
		assert_int_equal(cmdline_network(cases[i].line, &network, &err), 0);
		assert_int_equal(network.mode, cases[i].mode);
		assert_string_equal(network.address, cases[i].address);
		assert_string_equal(network.gateway, cases[i].gateway);
		assert_string_equal(network.device, cases[i].device);
		assert_string_equal(network.dns[0], cases[i].dns0);
		assert_string_equal(network.dns[1], cases[i].dns1);
	}
}

static void test_bad_ip_on_the_command_line_says_what_is_wrong(void **state)
{
	(void)state;
	static const struct {
		const char *line, *message;
	} cases[] = {
		{"ip=10.1.2:::24", "kernel command line: ip=: \"10.1.2\" is not an address"},
		{"ip=10.1.2.3:::33", "kernel command line: ip=: \"33\" is not a netmask"},
		{"ip=10.1.2.3:::255.0.255.0",
			"kernel command line: ip=: \"255.0.255.0\" is not a netmask"},
		{"ip=10.1.2.3:::-1", "kernel command line: ip=: \"-1\" is not a netmask"},
		{"ip=10.1.2.3::[fd00::1]:24",
			"kernel command line: ip=: \"fd00::1\" is not a gateway of the address's family"},
		{"ip=10.1.2.3:::24::eth0::dns.example",
			"kernel command line: ip=: \"dns.example\" is not a name server's address"},
		{"ip=::::::::::", "kernel command line: ip=::::::::::: more than 9 fields"},
		{"ip=:::::interface-with-a-long-name",
			"kernel command line: ip=: \"interface-with-a-long-name\" is not an interface"},
		{"ip=1111111111111111111111111111111111111111111111111111111111111111",
			"kernel command line: ip=1111111111111111111111111111111111111111111111111111111111111111: "
			"field 1 is too long"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct cmdline_network network;
		cleanup_error err = ERROR_INIT;
		assert_int_equal(cmdline_network(cases[i].line, &network, &err), -1);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_string_equal(error_message(&err), cases[i].message);
	}
}

static void test_module_list_keeps_order_groups_and_parameters(void **state)
{
	(void)state;
	static const char text[] =
		"# first\n\n[network]\nvirtio.ko\n  virtio_net.ko \n"
		"[media]\r\nscsi_mod.ko  scan=sync max=2 # now\n[pod]\noverlay.ko";
	static const struct module expected[] = {
		{MODULES_NETWORK, "virtio.ko", ""},
		{MODULES_NETWORK, "virtio_net.ko", ""},
		{MODULES_MEDIUM, "scsi_mod.ko", "scan=sync max=2"},
		{MODULES_POD, "overlay.ko", ""},
	};
	cleanup(modules_free) struct module_list list = {0};
	cleanup_error err = ERROR_INIT;
	assert_int_equal(modules_parse("list", text, &list, &err), 0);
	assert_int_equal(list.count, array_size(expected));
	for (size_t i = 0; i < list.count; i++) {
		assert_int_equal(list.modules[i].group, expected[i].group);
		assert_string_equal(list.modules[i].file, expected[i].file);
		assert_string_equal(list.modules[i].parameters, expected[i].parameters);
	}
}

static void test_bad_module_list_names_the_line(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
	} cases[] = {
		{"virtio.ko\n", "list, line 1: \"virtio.ko\" stands before the first group"},
		{"[network]\n[disk]\n",
			"list, line 2: unknown group [disk]; there are [network], [media] and [pod]"},
		{"[pod]\n\n/etc/evil.ko\n",
			"list, line 3: \"/etc/evil.ko\" must be relative to the list's folder"},
		{"[pod]\n../evil.ko\n",
			"list, line 2: \"../evil.ko\" must be relative to the list's folder"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct module_list list;
		cleanup_error err = ERROR_INIT;
		assert_int_equal(modules_parse("list", cases[i].text, &list, &err), -1);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_string_equal(error_message(&err), cases[i].message);
		assert_int_equal(list.count, 0);
	}
}

static void test_module_list_has_a_limit(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf text = BUF_INIT;
	buf_append_text(&text, "[pod]\n");
	for (int i = 0; i < 513; i++)
		buf_append_text(&text, "m.ko\n");
	struct module_list list;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(modules_parse("list", buf_text(&text), &list, &err), -1);
	assert_string_equal(error_message(&err), "list, line 514: more than 512 modules");
}

/* The characters without the NUL, as they stand on a disk. */
static void put(unsigned char *head, size_t at, const char *text)
{
	for (; *text; text++)
		head[at++] = (unsigned char)*text;
}

static void test_labels_are_read_from_the_head_of_a_file_system(void **state)
{
	(void)state;
	cleanup(free_ptr) unsigned char *head = calloc(1, MEDIUM_HEAD_SIZE);
	assert_non_null(head);
	char label[33];
	assert_int_equal(medium_label(MEDIUM_ISO9660, head, MEDIUM_HEAD_SIZE, label), -1);
	put(head, 32769, "CD001");
	put(head, 32808, "cidata                          ");
	assert_int_equal(medium_label(MEDIUM_ISO9660, head, MEDIUM_HEAD_SIZE, label), 0);
	assert_string_equal(label, "cidata");
	memset(head + 32808, 'x', 32);
	assert_int_equal(medium_label(MEDIUM_ISO9660, head, MEDIUM_HEAD_SIZE, label), 0);
	assert_int_equal(strlen(label), 32);
	assert_int_equal(medium_label(MEDIUM_ISO9660, head, 32808 + 31, label), -1);
	assert_int_equal(medium_label(MEDIUM_ISO9660, head, 0, label), -1);

	assert_int_equal(medium_label(MEDIUM_EXT4, head, MEDIUM_HEAD_SIZE, label), -1);
	head[1024 + 0x38] = 0x53;
	head[1024 + 0x39] = 0xef;
	put(head, 1024 + 0x78, "podvm-scratch");
	assert_int_equal(medium_label(MEDIUM_EXT4, head, MEDIUM_HEAD_SIZE, label), 0);
	assert_string_equal(label, "podvm-scratch");
	assert_int_equal(medium_label(MEDIUM_EXT4, head, 1024, label), -1);
}

/* A folder with programs of these names, until remove_folder. */
static void make_folder(char folder[32], const char *const *names)
{
	memcpy(folder, "/tmp/podvm-init-XXXXXX", sizeof("/tmp/podvm-init-XXXXXX"));
	assert_non_null(mkdtemp(folder));
	for (; *names; names++) {
		char path[128];
		snprintf(path, sizeof(path), "%s/%s", folder, *names);
		FILE *f = fopen(path, "w");
		assert_non_null(f);
		fclose(f);
		assert_int_equal(chmod(path, 0755), 0);
	}
}

static void remove_folder(const char *folder, const char *const *names)
{
	for (; *names; names++) {
		char path[128];
		snprintf(path, sizeof(path), "%s/%s", folder, *names);
		unlink(path);
	}
	rmdir(folder);
}

static void test_kata_agent_is_preferred_to_mini_agent(void **state)
{
	(void)state;
	static const char *const both[] = {"kata-agent", "mini-agent", NULL};
	char folder[32], expected[64];
	make_folder(folder, both);
	/* "quiet" is what a kernel hands on that did not know the word. */
	char *argv[] = {(char *)"init", (char *)"quiet", (char *)"-container", (char *)"-bin-dir",
		folder};
	for (size_t i = 0; i < 2; i++) {
		struct settings settings;
		bool help;
		cleanup_error err = ERROR_INIT;
		assert_int_equal(settings_parse((int)array_size(argv), argv, &settings, &help,
					 &err),
			0);
		snprintf(expected, sizeof(expected), "%s/%s", folder, both[i]);
		assert_string_equal(settings.agent, expected);
		assert_true(settings.container);
		settings_free(&settings);
		unlink(expected);
	}
	remove_folder(folder, both);
}

static void test_a_missing_agent_is_told_with_the_folder(void **state)
{
	(void)state;
	static const struct {
		const char *option, *message;
	} cases[] = {
		{"-bin-dir=/nowhere",
			"no agent: neither kata-agent nor mini-agent is in /nowhere; give one "
			"with -agent"},
		{"-agent=/nowhere/agent", "-agent: no program at /nowhere/agent"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		char *argv[] = {(char *)"init", (char *)cases[i].option};
		struct settings settings;
		bool help;
		cleanup_error err = ERROR_INIT;
		assert_int_equal(settings_parse(2, argv, &settings, &help, &err), -1);
		assert_string_equal(error_message(&err), cases[i].message);
	}
}

static void check_command(const struct service *service, const char *expected)
{
	cleanup(buf_free) struct buf text = BUF_INIT;
	for (int i = 0; i < service->argc; i++)
		buf_printf(&text, "%s%s", i ? " " : "", service->argv[i]);
	assert_string_equal(buf_text(&text), expected);
}

static void test_each_agent_gets_its_own_options(void **state)
{
	(void)state;
	static const struct {
		const char *agent, *command;
	} cases[] = {
		{"/usr/bin/kata-agent", "/usr/bin/kata-agent --config /etc/agent-config.toml"},
		{"/opt/mini-agent",
			"/opt/mini-agent -socket /run/kata-containers/agent.sock -bundles /b"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct settings settings = {
			.bin_dir = (char *)"/bin",
			.bundles = (char *)"/b",
			.agent = (char *)cases[i].agent,
			.forwarder_options = (char *)" -listen  0.0.0.0:1 ",
		};
		struct pod pod;
		cleanup_error err = ERROR_INIT;
		assert_int_equal(pod_init(&pod, &settings, &err), 0);
		check_command(&pod.services[POD_AGENT], cases[i].command);
		check_command(&pod.services[POD_USER_DATA],
			"/bin/process-user-data provision-files");
		check_command(&pod.services[POD_FORWARDER],
			"/bin/agent-protocol-forwarder -pod-namespace /run/netns/podns "
			"-kata-agent-socket /run/kata-containers/agent.sock -listen 0.0.0.0:1");
		pod_free(&pod);
	}
}

static void test_a_program_that_cannot_be_started_is_an_error_at_once(void **state)
{
	(void)state;
	struct service service = {.name = "ghost"};
	cleanup_error err = ERROR_INIT;
	assert_int_equal(service_add(&service, "/nowhere/ghost", &err), 0);
	assert_int_equal(service_start(&service, &err), -1);
	assert_int_equal(service.pid, 0);
	assert_string_equal(error_message(&err),
		"start ghost: /nowhere/ghost: No such file or directory");
	service_free(&service);
}

static void test_too_many_arguments_are_refused(void **state)
{
	(void)state;
	struct service service = {.name = "chatty"};
	cleanup_error err = ERROR_INIT;
	assert_int_equal(
		service_add_words(&service,
			"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 "
			"28 29 30 31",
			&err),
		0);
	assert_int_equal(service_add(&service, "32", &err), -1);
	assert_string_equal(error_message(&err), "chatty: more than 31 arguments");
	service_free(&service);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ip_on_the_command_line),
		cmocka_unit_test(test_bad_ip_on_the_command_line_says_what_is_wrong),
		cmocka_unit_test(test_module_list_keeps_order_groups_and_parameters),
		cmocka_unit_test(test_bad_module_list_names_the_line),
		cmocka_unit_test(test_module_list_has_a_limit),
		cmocka_unit_test(test_labels_are_read_from_the_head_of_a_file_system),
		cmocka_unit_test(test_kata_agent_is_preferred_to_mini_agent),
		cmocka_unit_test(test_a_missing_agent_is_told_with_the_folder),
		cmocka_unit_test(test_each_agent_gets_its_own_options),
		cmocka_unit_test(test_a_program_that_cannot_be_started_is_an_error_at_once),
		cmocka_unit_test(test_too_many_arguments_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
