/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libvirt_answers_test.c - what the libvirt driver reads, without libvirt: error kinds, networks and their free addresses,
 * metadata, volumes, the host, the console
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <libvirt/virterror.h>

#include "providers/libvirt/console.h"
#include "providers/libvirt/failure.h"
#include "providers/libvirt/host.h"
#include "providers/libvirt/names.h"
#include "providers/libvirt/network.h"
#include "providers/libvirt/record.h"
#include "providers/libvirt/volume.h"

#define TOKEN "0123456789abcdef0123456789abcdef"

/* ---- errors of libvirt ------------------------------------------------------------------------------ */

static void test_errors_of_libvirt_become_kinds(void **state)
{
	(void)state;
	static const struct {
		int code, domain;
		const char *text;
		enum error_kind kind;
		bool loss;
	} rows[] = {
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_RPC, "internal error: client socket is closed",
			ERROR_RETRY, true},
		{VIR_ERR_SYSTEM_ERROR, VIR_FROM_RPC,
			"Failed to connect socket to '/run/x': Connection refused", ERROR_RETRY,
			true},
		{VIR_ERR_RPC, VIR_FROM_RPC, "", ERROR_RETRY, true},
		{VIR_ERR_OPERATION_TIMEOUT, VIR_FROM_QEMU, "cannot acquire state change lock",
			ERROR_RETRY, false},
		{VIR_ERR_RESOURCE_BUSY, VIR_FROM_QEMU, "", ERROR_RETRY, false},
		{VIR_ERR_AUTH_FAILED, VIR_FROM_RPC, "authentication failed", ERROR_DENIED, false},
		{VIR_ERR_ACCESS_DENIED, VIR_FROM_ACCESS, "", ERROR_DENIED, false},
		{VIR_ERR_NO_CONNECT, 0, "", ERROR_INVALID, false},
		{VIR_ERR_XML_ERROR, VIR_FROM_DOMAIN, "", ERROR_INVALID, false},
		{VIR_ERR_XML_INVALID_SCHEMA, VIR_FROM_XML, "", ERROR_INVALID, false},
		{VIR_ERR_CONFIG_UNSUPPORTED, VIR_FROM_QEMU, "unable to open vhost-vsock device",
			ERROR_INVALID, false},
		{VIR_ERR_NO_DOMAIN, VIR_FROM_QEMU, "", ERROR_GONE, false},
		{VIR_ERR_NO_STORAGE_VOL, VIR_FROM_STORAGE, "", ERROR_GONE, false},
		{VIR_ERR_NO_NETWORK, VIR_FROM_NETWORK, "", ERROR_GONE, false},
		{VIR_ERR_STORAGE_VOL_EXIST, VIR_FROM_STORAGE, "", ERROR_EXISTS, false},
		{VIR_ERR_OPERATION_FAILED, VIR_FROM_DOMAIN,
			"operation failed: domain 'a' already exists with uuid b", ERROR_EXISTS,
			false},
		{VIR_ERR_SYSTEM_ERROR, VIR_FROM_STORAGE, "cannot write: No space left on device",
			ERROR_CAPACITY, false},
		{VIR_ERR_SYSTEM_ERROR, VIR_FROM_STORAGE, "cannot write: Disk quota exceeded",
			ERROR_CAPACITY, false},
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_NONE,
			"Child process (/sbin/lvcreate) unexpected exit status 5: Volume group \"vg\" has insufficient free space (255 extents): 2560 required.",
			ERROR_CAPACITY, false},
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_STORAGE, "no large enough free extent",
			ERROR_CAPACITY, false},
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_NONE,
			"Child process (zfs create) unexpected exit status 1: cannot create 'a/b': out of space",
			ERROR_CAPACITY, false},
		{VIR_ERR_SYSTEM_ERROR, VIR_FROM_STORAGE, "no file: No such file or directory",
			ERROR_INVALID, false},
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU,
			"qemu unexpectedly closed the monitor: cannot set up guest memory 'pc.ram': Cannot allocate memory",
			ERROR_CAPACITY, false},
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU,
			"process exited: error: failed to set MSR 0x10a, kvm.c", ERROR_INVALID,
			false},
		{VIR_ERR_NO_SUPPORT, VIR_FROM_TEST, "", ERROR_UNSUPPORTED, false},
		{VIR_ERR_ARGUMENT_UNSUPPORTED, VIR_FROM_QEMU, "QEMU guest agent is not configured",
			ERROR_UNSUPPORTED, false},
		{VIR_ERR_NO_DOMAIN_METADATA, VIR_FROM_DOMAIN, "", ERROR_GONE, false},
		{VIR_ERR_INTERNAL_ERROR, VIR_FROM_STORAGE, "something new", ERROR_INTERNAL, false},
	};
	for (size_t i = 0; i < array_size(rows); i++) {
		enum error_kind kind = failure_kind(rows[i].code, rows[i].domain, rows[i].text);
		if (kind != rows[i].kind)
			print_error("row %zu: %s\n", i, error_kind_name(kind));
		assert_int_equal(kind, rows[i].kind);
		assert_int_equal(failure_is_loss(rows[i].code, rows[i].domain), rows[i].loss);
	}
	assert_true(failure_is_kvm(VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU,
		"target/i386/kvm/kvm.c:3000"));
	assert_false(failure_is_kvm(VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU, "no disk"));
}

/* ---- addresses ----------------------------------------------------------------------------------------- */

#define RANGE(a, b) .managed = true, .gateway = 0xc0a89601, .range_start = (a), .range_end = (b)

static void test_address_choice_avoids_what_is_taken(void **state)
{
	(void)state;
	struct dhcp_host hosts[] = {{.mac = "52:54:00:00:00:01", .ip = 0xc0a8960a}};
	struct lease leases[] = {{.mac = "52:54:00:00:00:02", .ip = 0xc0a8960b}};
	struct network_facts facts = {RANGE(0xc0a8960a, 0xc0a8960c), .hosts = hosts,
		.host_count = 1};
	char mac[MAC_TEXT_LEN + 1], usual[MAC_TEXT_LEN + 1];
	uint32_t ip;
	mac_of_token(TOKEN, 0, 0, usual);
	for (unsigned attempt = 0; attempt < 5; attempt++) {
		assert_true(address_choose(&facts, leases, 1, TOKEN, 0, attempt, mac, &ip));
		assert_int_equal(ip, 0xc0a8960c);
		assert_string_equal(mac, usual);
	}
	/* The gateway is never given out, although some ranges contain it. */
	facts = (struct network_facts){RANGE(0xc0a89601, 0xc0a89602)};
	for (unsigned attempt = 0; attempt < 5; attempt++) {
		assert_true(address_choose(&facts, NULL, 0, TOKEN, 0, attempt, mac, &ip));
		assert_int_equal(ip, 0xc0a89602);
	}
}

static void test_address_choice_takes_over_stale_leases_with_their_mac(void **state)
{
	(void)state;
	struct lease leases[] = {
		{.mac = "52:54:00:00:00:02", .ip = 0xc0a8960a},
		{.mac = "52:54:00:00:00:03", .ip = 0xc0a8960b, .stale = true},
	};
	struct network_facts facts = {RANGE(0xc0a8960a, 0xc0a8960b)};
	char mac[MAC_TEXT_LEN + 1];
	uint32_t ip;
	assert_true(address_choose(&facts, leases, 2, TOKEN, 0, 0, mac, &ip));
	assert_int_equal(ip, 0xc0a8960b);
	assert_string_equal(mac, "52:54:00:00:00:03");
	leases[1].stale = false;
	assert_false(address_choose(&facts, leases, 2, TOKEN, 0, 0, mac, &ip));
}

static void test_address_choice_salts_a_mac_that_is_taken(void **state)
{
	(void)state;
	struct dhcp_host host = {.ip = 0xc0a8960a};
	mac_of_token(TOKEN, 0, 0, host.mac);
	struct network_facts facts = {RANGE(0xc0a8960a, 0xc0a896fa), .hosts = &host,
		.host_count = 1};
	char mac[MAC_TEXT_LEN + 1], salted[MAC_TEXT_LEN + 1];
	uint32_t ip;
	mac_of_token(TOKEN, 0, 1, salted);
	assert_true(address_choose(&facts, NULL, 0, TOKEN, 0, 0, mac, &ip));
	assert_string_equal(mac, salted);
}

static void test_network_xml(void **state)
{
	(void)state;
	struct network_facts facts;
	assert_int_equal(
		network_xml_read("n",
			"<network><name>n</name><forward mode='nat'/><bridge name='virbr7'/>"
			"<ip family='ipv6' address='fd00::1' prefix='64'><dhcp><range start='fd00::2' end='fd00::9'/></dhcp></ip>"
			"<ip address='192.168.150.1' netmask='255.255.255.0'><dhcp>"
			"<range start='192.168.150.10' end='192.168.150.20'/>"
			"<host mac='52:54:00:00:00:01' name='printer' ip='192.168.150.10'/>"
			"<host mac='52:54:00:00:00:02' name='podvm0-22c3a34a-acda-5b57-b243-3212b9e99e9b-10' ip='192.168.150.11'/>"
			"<host name='x'/></dhcp></ip></network>",
			&facts, NULL),
		0);
	assert_true(facts.managed);
	assert_string_equal(facts.bridge, "virbr7");
	assert_int_equal(facts.gateway, 0xc0a89601);
	assert_int_equal(facts.range_start, 0xc0a8960a);
	assert_int_equal(facts.range_end, 0xc0a89614);
	assert_int_equal(facts.host_count, 3);
	assert_string_equal(facts.hosts[0].uuid, "");
	assert_string_equal(facts.hosts[1].uuid, "22c3a34a-acda-5b57-b243-3212b9e99e9b");
	assert_int_equal(facts.hosts[1].created, 16);
	network_facts_free(&facts);

	assert_int_equal(
		network_xml_read("n",
			"<network><name>n</name><forward mode='bridge'/><bridge name='br0'/></network>",
			&facts, NULL),
		0);
	assert_false(facts.managed);
	assert_int_equal(facts.range_start, 0);
	network_facts_free(&facts);

	cleanup_error err = ERROR_INIT;
	assert_int_equal(network_xml_read("network n", "<network>", &facts, &err), -1);
	assert_string_equal(err.message, "the XML of network n is not well-formed");
	assert_int_equal(network_xml_read("network n",
				 "<!DOCTYPE a [<!ENTITY b 'c'>]><network>&b;</network>", &facts,
				 &err),
		-1);
	assert_string_equal(err.message, "the XML of network n has a DTD");
}

/* ---- metadata -------------------------------------------------------------------------------------------- */

static void test_metadata_comes_back_as_it_was(void **state)
{
	(void)state;
	struct record record =
			      {
				      .cluster = (char *)"c1",
				      .node = (char *)"n<1>",
				      .pod_namespace = (char *)"a&b",
				      .pod = (char *)"web \"quoted\" 'x' \xc3\xa4\xe2\x82\xac",
				      .sandbox = (char *)"s",
				      .token = (char *)TOKEN,
				      .pool = (char *)"p",
				      .created = 1795317116,
				      .volumes = {(char *)"one", (char *)"two"},
				      .volume_count = 2,
			      },
		      read;
	xmlDoc *doc = xmlNewDoc((const xmlChar *)"1.0");
	xmlNode *domain = xmlNewNode(NULL, (const xmlChar *)"domain");
	xmlDocSetRootElement(doc, domain);
	assert_int_equal(record_write(domain, &record, "pv1", NULL), 0);
	char *text = xml_write(doc);
	assert_int_equal(record_read("d", text, &read, NULL), 0);
	assert_string_equal(read.cluster, record.cluster);
	assert_string_equal(read.node, record.node);
	assert_string_equal(read.pod_namespace, record.pod_namespace);
	assert_string_equal(read.pod, record.pod);
	assert_string_equal(read.sandbox, record.sandbox);
	assert_string_equal(read.token, record.token);
	assert_string_equal(read.pool, record.pool);
	assert_int_equal(read.created, record.created);
	assert_int_equal(read.volume_count, 2);
	assert_string_equal(read.volumes[1], "two");
	record_free(&read);
	free(text);

	cleanup_error err = ERROR_INIT;
	record.pod = (char *)"a\001b";
	assert_int_equal(record_write(domain, &record, NULL, &err), -1);
	assert_string_equal(err.message, "pod holds a control character or is not UTF-8");
	record.pod = (char *)"\xff";
	assert_int_equal(record_write(domain, &record, NULL, &err), -1);
	xmlFreeDoc(doc);

	assert_int_equal(record_read("domain x", "<domain><metadata/></domain>", &read, &err), -1);
	assert_int_equal(err.kind, ERROR_GONE);
	assert_string_equal(err.message, "domain x carries no metadata of ours");
}

static void test_volume_xml(void **state)
{
	(void)state;
	char *path, *format;
	uint64_t capacity, physical;
	int64_t changed;
	assert_int_equal(
		volume_xml_read("v",
			"<volume type='file'><name>v</name><capacity unit='bytes'>104857600</capacity><physical unit='bytes'>77</physical>"
			"<target><path>/p/v</path><format type='qcow2'/><timestamps><mtime>1700000000.123</mtime></timestamps></target>"
			"</volume>",
			&path, &format, &capacity, &physical, &changed, NULL),
		0);
	assert_string_equal(path, "/p/v");
	assert_string_equal(format, "qcow2");
	assert_int_equal(capacity, 104857600);
	assert_int_equal(physical, 77);
	assert_int_equal(changed, 1700000000);
	free(path);
	free(format);
	cleanup_error err = ERROR_INIT;
	assert_int_equal(volume_xml_read("volume v",
				 "<volume><capacity unit='KiB'>1</capacity></volume>", &path,
				 &format, &capacity, &physical, &changed, &err),
		-1);
	assert_string_equal(err.message, "volume v: its capacity is told in KiB, not in bytes");
}

static void put_big(unsigned char *p, int bytes, uint64_t value)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (unsigned char)(value >> (8 * (bytes - 1 - i)));
}

static void test_qcow2_head(void **state)
{
	(void)state;
	static unsigned char head[4 * 65536];
	cleanup_error err = ERROR_INIT;
	memcpy(head, "QFI\xfb", 4);
	put_big(head + 4, 4, 3);
	put_big(head + 20, 4, 16);
	put_big(head + 24, 8, UINT64_C(1) << 30);
	put_big(head + 36, 4, 2);
	put_big(head + 40, 8, 3 * 65536);
	put_big(head + 48, 8, 65536);
	put_big(head + 3 * 65536, 8, UINT64_C(0x8000000000000000) | 4 * 65536);
	assert_int_equal(qcow2_head_check(head, sizeof(head), 5 * 65536, &err), 0);
	assert_int_equal(qcow2_head_check(head, sizeof(head), 4 * 65536, &err), -1);
	assert_string_equal(err.message,
		"it is truncated: 262144 bytes, but a table begins at 262144");
	assert_int_equal(qcow2_head_check(head, sizeof(head), 2 * 65536, &err), -1);
	assert_string_equal(err.message, "it is truncated: 131072 bytes, but its tables go beyond");
	assert_int_equal(qcow2_head_check(head, 20, 20, &err), -1);
	assert_string_equal(err.message, "it does not begin as a qcow2 image does");
	put_big(head + 20, 4, 40);
	assert_int_equal(qcow2_head_check(head, sizeof(head), 5 * 65536, &err), -1);
	assert_string_equal(err.message, "its qcow2 header is damaged");
}

/* ---- the host ------------------------------------------------------------------------------------------------ */

static void test_capabilities(void **state)
{
	(void)state;
	static const char capabilities[] =
		"<capabilities><host><cpu><arch>x86_64</arch></cpu><secmodel><model>apparmor</model></secmodel>"
		"<secmodel><model>dac</model><baselabel type='kvm'>+64055:+107</baselabel>"
		"<baselabel type='qemu'>+64055:+107</baselabel></secmodel></host>"
		"<guest><arch name='x86_64'><emulator>/usr/bin/qemu-system-x86_64</emulator><domain type='qemu'/></arch></guest>"
		"</capabilities>";
	struct libvirt_options options = {.domain_type = (char *)"auto",
		.arch = (char *)"",
		.machine = (char *)""};
	struct host host;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(host_capabilities_read(capabilities, &options, true, &host, &err), 0);
	assert_int_equal(host.type, DOMAIN_QEMU);
	assert_string_equal(host.machine, "q35");
	assert_true(host.qemu_user_known);
	assert_int_equal(host.qemu_uid, 64055);
	assert_int_equal(host.qemu_gid, 107);
	host_free(&host);

	options.arch = (char *)"aarch64";
	assert_int_equal(host_capabilities_read(capabilities, &options, true, &host, &err), -1);
	assert_string_equal(err.message,
		"the libvirt host has no QEMU for aarch64: install qemu-system-arm there");
	host_free(&host);

	/* The same question to a newer and to an older libvirt. */
	host = (struct host){0};
	assert_int_equal(
		host_domain_capabilities_read(
			"<domainCapabilities><vcpu max='288'/><os><enum name='firmware'><value>efi</value></enum>"
			"<loader><value>/a.fd</value><value>/b.fd</value></loader></os><features><sev supported='yes'>"
			"<cbitpos>51</cbitpos><reducedPhysBits>1</reducedPhysBits></sev>"
			"<launchSecurity supported='yes'><enum name='sectype'><value>sev</value><value>sev-snp</value>"
			"<value>tdx</value></enum></launchSecurity></features></domainCapabilities>",
			&host, &err),
		0);
	assert_int_equal(host.max_vcpus, 288);
	assert_true(host.firmware_auto);
	assert_string_equal(host.loaders[1], "/b.fd");
	assert_int_equal(host.launch, 1u << LAUNCH_SEV_SNP | 1u << LAUNCH_TDX);
	assert_int_equal(host.sev_cbitpos, 51);
	assert_int_equal(host.sev_reduced_bits, 1);
	host_free(&host);
	assert_int_equal(
		host_domain_capabilities_read(
			"<domainCapabilities><features><s390-pv supported='yes'/></features></domainCapabilities>",
			&host, &err),
		0);
	assert_int_equal(host.launch, 1u << LAUNCH_S390_PV);
	host_free(&host);
}

static void test_console_text_is_fit_to_print(void **state)
{
	(void)state;
	static const char raw[] = "cut\n\033[1;31mred\033[0m\r\nnul\0\tbell\a end\xff\n";
	char *text = console_tidy(raw, sizeof(raw) - 1, true);
	assert_string_equal(text, "red\nnul\tbell? end?\n");
	free(text);
	text = console_tidy("", 0, false);
	assert_string_equal(text, "");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors_of_libvirt_become_kinds),
		cmocka_unit_test(test_address_choice_avoids_what_is_taken),
		cmocka_unit_test(test_address_choice_takes_over_stale_leases_with_their_mac),
		cmocka_unit_test(test_address_choice_salts_a_mac_that_is_taken),
		cmocka_unit_test(test_network_xml),
		cmocka_unit_test(test_metadata_comes_back_as_it_was),
		cmocka_unit_test(test_volume_xml),
		cmocka_unit_test(test_qcow2_head),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_console_text_is_fit_to_print),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
