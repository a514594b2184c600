/* SPDX-License-Identifier: Apache-2.0 */
/* azure_test.c - what the Azure driver is given and writes: options, ids, names, bodies, tags, keys */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/base64.h"
#include "providers/azure/arm.h"
#include "providers/azure/arm_id.h"
#include "providers/azure/cloud.h"
#include "providers/azure/driver.h"
#include "providers/azure/launch.h"
#include "providers/azure/name.h"
#include "providers/azure/ssh_key.h"
#include "providers/azure/tags.h"
#include "providers/azure/vm.h"
#include "tests/unit/assert_contains.h"

#define GROUP "/subscriptions/s-1/resourceGroups/Group_1/providers/"

/* ---- ids, names, clouds -------------------------------------------------------------------------- */

static void test_ids_are_taken_in_any_case_and_nothing_else(void **state)
{
	(void)state;
	struct arm_id id;
	enum image_form form;
	assert_int_equal(arm_id_parse("x", GROUP "microsoft.compute/VIRTUALMACHINES/vm-1", KIND_VM,
				 &id, NULL),
		0);
	assert_string_equal(id.subscription, "s-1");
	assert_string_equal(id.group, "Group_1");
	assert_string_equal(id.name, "vm-1");
	static const char *const bad[] = {"", "vm-1", GROUP "Microsoft.Compute/virtualMachines/",
		GROUP "Microsoft.Compute/virtualMachines/a/b", GROUP "Microsoft.Compute/disks/vm-1",
		GROUP "Microsoft.Compute/virtualMachines/..",
		GROUP "Microsoft.Compute/virtualMachines/a%2fb",
		GROUP "Microsoft.Compute/virtualMachines/a?b",
		"x" GROUP "Microsoft.Compute/virtualMachines/a"};
	for (size_t i = 0; i < array_size(bad); i++) {
		cleanup_error err = ERROR_INIT;
		assert_int_equal(arm_id_parse("the id", bad[i], KIND_VM, &id, &err), -1);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_contains(error_message(&err), "the id: \"");
	}
	static const struct {
		const char *text;
		int form;
	} images[] = {
		{GROUP "Microsoft.Compute/images/i", IMAGE_MANAGED},
		{GROUP "Microsoft.Compute/galleries/g/images/i", IMAGE_GALLERY},
		{GROUP "microsoft.compute/Galleries/g/Images/i/Versions/1.0.0", IMAGE_GALLERY},
		{"/communitygalleries/g/images/i/versions/1.0.0", IMAGE_COMMUNITY},
		{"/CommunityGalleries/g/Images/i", IMAGE_COMMUNITY},
		{"/SHAREDGALLERIES/g/Images/i/Versions/latest", IMAGE_SHARED},
		{"/CommunityGalleries/g", -1},
		{"/CommunityGalleries/g/Images/i/Versions/../x", -1},
		{"ami-0123", -1},
	};
	for (size_t i = 0; i < array_size(images); i++) {
		int result = image_form_of("i", images[i].text, &form, NULL);
		assert_int_equal(result, images[i].form < 0 ? -1 : 0);
		if (result == 0)
			assert_int_equal(form, images[i].form);
	}
	char part[ARM_PART_MAX];
	assert_string_equal(path_part("/a/bc/d", 1, part, sizeof(part)), "bc");
	assert_string_equal(path_part("/a/bc/d", 3, part, sizeof(part)), "");
	assert_int_equal(arm_subnet_check("s",
				 GROUP "Microsoft.Network/virtualNetworks/v/subnets/n", NULL),
		0);
	assert_int_equal(arm_subnet_check("s", GROUP "Microsoft.Network/virtualNetworks/v", NULL),
		-1);
}

static struct instance_request request_of(const char *name, const char *token)
{
	return (struct instance_request){.owner = {"c1", "n1", "ns", "web", "s1"},
		.token = token,
		.name = name,
		.user_data = "#cloud-config\n",
		.user_data_len = 14,
		.instance_type = "",
		.image = ""};
}

static void test_names_are_what_azure_takes_and_the_same_for_the_same_token(void **state)
{
	(void)state;
	static const struct {
		const char *wish, *name;
	} names[] = {
		{"podvm-nginx-4f2c9b7a", "podvm-nginx-4f2c9b7a"},
		{"PodVM_Nginx.x-4F", "podvm-nginx-x-4f"},
		{"--a--", "a"},
		{"podvm-0123456789012345678901234567890123456789012345678901234567890123456789",
			"podvm-012345678901234567890123456789012345678901234567890123456"},
	};
	char a[VM_NAME_SIZE], b[VM_NAME_SIZE], disk[DISK_NAME_SIZE];
	for (size_t i = 0; i < array_size(names); i++) {
		struct instance_request r = request_of(names[i].wish, "00ff");
		assert_int_equal(vm_name_make(&r, 0, a, NULL), 0);
		assert_string_equal(a, names[i].name);
		assert_int_equal(vm_name_make(&r, 1, a, NULL), 0);
		assert_true(strlen(a) < VM_NAME_SIZE);
		assert_int_equal(vm_name_make(&r, 1, b, NULL), 0);
		assert_string_equal(a, b);
		struct instance_request other = request_of(names[i].wish, "00fe");
		assert_int_equal(vm_name_make(&other, 1, b, NULL), 0);
		assert_string_not_equal(a, b);
		assert_int_equal(disk_name_make(a, "c1", "n1", disk, NULL), 0);
		assert_true(strlen(disk) < DISK_NAME_SIZE);
		assert_true(disk_name_is_of(disk, a));
		assert_true(disk_name_split(disk, b));
		assert_string_equal(a, b);
	}
	struct instance_request none = request_of("---", "00ff");
	assert_int_equal(vm_name_make(&none, 0, a, NULL), -1);
	assert_true(disk_name_matches(disk, "c1", "n1") && disk_name_matches(disk, "", "n1") &&
		    disk_name_matches(disk, "c1", ""));
	assert_false(disk_name_matches(disk, "c2", "n1") || disk_name_matches(disk, "c1", "n2"));
	static const char *const others[] = {"podvm-web-01234567-disk", "-os-0123456789ab",
		"a-os-0123456789", "a-os-0123456789xy", "os-0123456789ab", ""};
	for (size_t i = 0; i < array_size(others); i++)
		assert_false(disk_name_split(others[i], b));
}

static struct azure_options options_of(void)
{
	return (struct azure_options){.subscription = (char *)"s-1",
		.region = (char *)"eastus",
		.resource_group = (char *)"Group_1",
		.size = (char *)"Standard_DC2as_v5",
		.sizes = (char *)"",
		.zones = (char *)"",
		.subnets = (char *)GROUP "Microsoft.Network/virtualNetworks/v/subnets/n",
		.security_group = (char *)"",
		.image = (char *)"/CommunityGalleries/g/Images/i/Versions/1.0.0",
		.ssh_key_path = (char *)"",
		.ssh_user = (char *)"peerpod",
		.tags = (char *)"",
		.token_file = (char *)"",
		.authority = (char *)"",
		.imds = (char *)"http://169.254.169.254",
		.spot = (char *)"false",
		.credential = (char *)"",
		.arm_endpoint = (char *)"",
		.arm_audience = (char *)"",
		.ca_bundle = (char *)"",
		.os_disk_type = (char *)"Premium_LRS",
		.os_disk_ephemeral = (char *)"",
		.disk_encryption = (char *)ENCRYPT_GUEST_STATE,
		.disk_encryption_set = (char *)"",
		.identities = (char *)"",
		.second_subnet = (char *)"",
		.catalogue_folder = (char *)"",
		.prices = (char *)""};
}

static void test_the_authority_tells_the_cloud(void **state)
{
	(void)state;
	static const struct {
		const char *authority, *arm, *audience;
	} clouds[] = {
		{"", "https://management.azure.com", "https://management.azure.com"},
		{"https://login.microsoftonline.com/", "https://management.azure.com",
			"https://management.azure.com"},
		{"https://LOGIN.microsoftonline.us", "https://management.usgovcloudapi.net",
			"https://management.core.usgovcloudapi.net"},
		{"https://login.chinacloudapi.cn/", "https://management.chinacloudapi.cn",
			"https://management.core.chinacloudapi.cn"},
		{"https://login.partner.microsoftonline.cn", "https://management.chinacloudapi.cn",
			"https://management.core.chinacloudapi.cn"},
	};
	struct azure_options o = options_of();
	struct cloud cloud;
	for (size_t i = 0; i < array_size(clouds); i++) {
		o.authority = (char *)clouds[i].authority;
		assert_int_equal(cloud_of(&o, &cloud, NULL), 0);
		assert_string_equal(cloud.arm, clouds[i].arm);
		assert_string_equal(cloud.audience, clouds[i].audience);
	}
	cleanup_error err = ERROR_INIT;
	o.authority = (char *)"https://login.example.org";
	assert_int_equal(cloud_of(&o, &cloud, &err), -1);
	assert_contains(error_message(&err), "AZURE_RESOURCE_MANAGER_ENDPOINT");
	o.arm_endpoint = (char *)"https://arm.example.org/";
	assert_int_equal(cloud_of(&o, &cloud, NULL), 0);
	assert_string_equal(cloud.arm, "https://arm.example.org");
	assert_string_equal(cloud.audience, "https://arm.example.org");
	static const char *const bad[] = {"http://arm.example.org", "http://127.0.0.1.example.org",
		"https://", "ftp://x", "https://a b", "https://user@host", "http://localhostx"};
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(url_check(bad[i], "V", NULL), -1);
	assert_int_equal(url_check("http://127.0.0.1:80/x", "V", NULL), 0);
	assert_int_equal(url_check("http://[::1]:80", "V", NULL), 0);
	assert_true(same_origin("https://A.net:443/x", "https://a.net"));
	assert_false(same_origin("https://a.net.evil/x", "https://a.net"));
	assert_false(same_origin("http://a.net/x", "https://a.net"));
	assert_false(same_origin("a.net", "a.net"));
}

/* ---- the body, tags ------------------------------------------------------------------------------- */

static void test_the_body_of_a_plain_request(void **state)
{
	(void)state;
	struct azure_options o = options_of();
	struct instance_request r = request_of("podvm-web-s1", "00ff");
	const struct offering offering = {.type = "Standard_DC2as_v5", .zone = "2", .spot = true};
	struct launch l = {.options = &o,
		.request = &r,
		.vm_name = "podvm-web-s1",
		.disk_name = "podvm-web-s1-os-0",
		.subnet = o.subnets,
		.image = o.image,
		.ssh_key = "ssh-rsa AAAA",
		.offering = &offering,
		.tees = CHOICE_TEE_SNP};
	cleanup_json *body = launch_body(&l, NULL);
	assert_non_null(body);
	const json_t *p = json_object_get(body, "properties");
	assert_string_equal(text_of(p, "priority", NULL), "Spot");
	assert_string_equal(text_of(p, "storageProfile", "osDisk", "name", NULL),
		"podvm-web-s1-os-0");
	assert_string_equal(text_of(p, "userData", NULL), "I2Nsb3VkLWNvbmZpZwo=");
	assert_string_equal(tag_of(body, "PEERPOD-TOKEN"), "00ff");
	assert_string_equal(tag_of(body, "none"), "");
	r.name = "\xff";
	l.vm_name = "\xff";
	cleanup_error err = ERROR_INIT;
	cleanup_json *none = launch_body(&l, &err);
	assert_null(none);
	assert_int_equal(err.kind, ERROR_INVALID);
}

static void test_requests_that_cannot_be_made_are_refused(void **state)
{
	(void)state;
	struct azure_options o = options_of();
	struct instance_request r = request_of("podvm-web-s1", "00ff");
	cleanup_error err = ERROR_INIT;
	assert_int_equal(launch_check(&o, &r, NULL), 0);
	r.user_data_len = USER_DATA_MAX + 5;
	assert_int_equal(launch_check(&o, &r, &err), -1);
	assert_contains(error_message(&err), "49157 bytes, 5 more than the 49152 that Azure takes");
	r.user_data_len = USER_DATA_MAX;
	assert_int_equal(launch_check(&o, &r, NULL), 0);
	r.tee = TEE_SEV;
	assert_int_equal(launch_check(&o, &r, &err), -1);
	assert_int_equal(err.kind, ERROR_UNSUPPORTED);
	r.tee = TEE_DEFAULT;
	r.image = "x";
	assert_int_equal(launch_check(&o, &r, NULL), -1);
	r.image = "";
	r.token = "not hex";
	assert_int_equal(launch_check(&o, &r, NULL), -1);
	unsigned tees;
	r.tee = TEE_DEFAULT;
	assert_int_equal(launch_tees(&o, &r, &tees, NULL), 0);
	assert_int_equal(tees, CHOICE_TEE_SNP | CHOICE_TEE_TDX);
	o.disable_cvm = true;
	assert_int_equal(launch_tees(&o, &r, &tees, NULL), 0);
	assert_int_equal(tees, 0);
}

static void test_tags_are_cut_at_a_character_and_checked(void **state)
{
	(void)state;
	struct azure_options o = options_of();
	char pod[TAG_VALUE_MAX + 10];
	memset(pod, 'a', sizeof(pod) - 1);
	pod[sizeof(pod) - 1] = '\0';
	memcpy(pod + TAG_VALUE_MAX - 1, "\xc3\xa9", 2); /* one character over the edge */
	struct instance_request r = request_of("x", "00ff");
	r.owner.pod = pod;
	o.tags = (char *)"team=a,note=b c";
	cleanup_json *tags = tags_make(&o, &r, "vm", NULL);
	assert_int_equal(strlen(text_of(tags, TAG_POD, NULL)), TAG_VALUE_MAX - 1);
	assert_string_equal(text_of(tags, "note", NULL), "b c");
	static const char *const bad[] = {"peerpod-x=1", "a/b=1", "=1", "novalue", "azure-x=1",
		"a<=1"};
	for (size_t i = 0; i < array_size(bad); i++) {
		o.tags = (char *)bad[i];
		assert_int_equal(azure_options_check(&o, NULL), -1);
	}
}

/* ---- options ---------------------------------------------------------------------------------------- */

static void test_options_that_cannot_be_are_named(void **state)
{
	(void)state;
	const struct {
		size_t offset;
		const char *value, *named;
	} cases[] = {
		{offsetof(struct azure_options, subscription), "a/b", "AZURE_SUBSCRIPTION_ID"},
		{offsetof(struct azure_options, region), "East US", "AZURE_REGION"},
		{offsetof(struct azure_options, resource_group), ".", "AZURE_RESOURCE_GROUP"},
		{offsetof(struct azure_options, size), "..", "AZURE_INSTANCE_SIZE"},
		{offsetof(struct azure_options, subnets), ",", "AZURE_SUBNET_ID"},
		{offsetof(struct azure_options, second_subnet), "x", "AZURE_SECOND_SUBNET_ID"},
		{offsetof(struct azure_options, security_group), "x", "AZURE_NSG_ID"},
		{offsetof(struct azure_options, image), "x", "AZURE_IMAGE_ID"},
		{offsetof(struct azure_options, zones), "1,two", "-zone"},
		{offsetof(struct azure_options, ssh_user), "Admin", "SSH_USERNAME"},
		{offsetof(struct azure_options, ssh_user), "1st", "SSH_USERNAME"},
		{offsetof(struct azure_options, identities), "x", "AZURE_VM_IDENTITY_IDS"},
		{offsetof(struct azure_options, disk_encryption_set), "x",
			"AZURE_DISK_ENCRYPTION_SET_ID"},
		{offsetof(struct azure_options, disk_encryption), ENCRYPT_DISK,
			"ENABLE_SECURE_BOOT"},
		{offsetof(struct azure_options, imds), "169.254.169.254",
			"AZURE_POD_IDENTITY_AUTHORITY_HOST"},
		{offsetof(struct azure_options, authority), "http://example.org",
			"AZURE_AUTHORITY_HOST"},
		{offsetof(struct azure_options, token_file), "/token", "needs AZURE_CLIENT_ID"},
		{offsetof(struct azure_options, credential), "secret", "needs AZURE_CLIENT_SECRET"},
		{offsetof(struct azure_options, tags), "x", "TAGS"},
	};
	struct azure_options good = options_of();
	assert_int_equal(azure_options_check(&good, NULL), 0);
	for (size_t i = 0; i < array_size(cases); i++) {
		struct azure_options o = options_of();
		cleanup_error err = ERROR_INIT;
		*(const char **)((char *)&o + cases[i].offset) = cases[i].value;
		assert_int_equal(azure_options_check(&o, &err), -1);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_contains(error_message(&err), cases[i].named);
	}
}

/* Names, variables and defaults of upstream: existing ConfigMaps and Secrets work as they are. */
static void test_upstreams_options_are_there_with_their_defaults(void **state)
{
	(void)state;
	static const struct {
		const char *flag, *env, *def;
	} upstream[] = {
		{"clientid", "AZURE_CLIENT_ID", ""},
		{"secret", "AZURE_CLIENT_SECRET", ""},
		{"tenantid", "AZURE_TENANT_ID", ""},
		{"subscriptionid", "AZURE_SUBSCRIPTION_ID", ""},
		{"region", "AZURE_REGION", ""},
		{"resourcegroup", "AZURE_RESOURCE_GROUP", ""},
		{"instance-size", "AZURE_INSTANCE_SIZE", "Standard_DC2as_v5"},
		{"instance-sizes", "AZURE_INSTANCE_SIZES", ""},
		{"zone", NULL, ""},
		{"subnetid", "AZURE_SUBNET_ID", ""},
		{"securitygroupid", "AZURE_NSG_ID", ""},
		{"imageid", "AZURE_IMAGE_ID", ""},
		{"ssh-key-path", NULL, ""},
		{"ssh-username", "SSH_USERNAME", "peerpod"},
		{"disable-cvm", "DISABLECVM", "false"},
		{"enable-secure-boot", "ENABLE_SECURE_BOOT", "false"},
		{"use-public-ip", "USE_PUBLIC_IP", "false"},
		{"root-volume-size", "ROOT_VOLUME_SIZE", "0"},
		{"tags", "TAGS", ""},
		{NULL, "AZURE_FEDERATED_TOKEN_FILE", ""},
		{NULL, "AZURE_AUTHORITY_HOST", ""},
	};
	for (size_t i = 0; i < array_size(upstream); i++) {
		const struct option *found = NULL;
		for (size_t k = 0; k < AZURE_OPTION_COUNT; k++) {
			const struct option *o = &azure_option_table[k];
			if (upstream[i].flag ? o->name && !strcmp(o->name, upstream[i].flag)
					     : o->env && !strcmp(o->env, upstream[i].env))
				found = o;
		}
		if (!found)
			fail_msg("there is no %s", upstream[i].flag);
		if (upstream[i].env)
			assert_string_equal(found->env, upstream[i].env);
		assert_string_equal(found->def, upstream[i].def);
	}
}

/* ---- the key --------------------------------------------------------------------------------------- */

static void test_a_key_is_made_and_taken(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf key = BUF_INIT, blob = BUF_INIT;
	assert_int_equal(ssh_key_make(&key, NULL, NULL), 0);
	assert_int_equal(ssh_key_check(buf_text(&key), NULL), 0);
	assert_int_equal(base64_decode(buf_text(&key) + 8, key.len - 8, 4096, &blob, NULL), 0);
	/* type, 65537, and a modulus of 2048 bits with a zero before its first bit. */
	assert_int_equal(blob.len, 4 + 7 + 4 + 3 + 4 + 1 + 256);
	assert_memory_equal(blob.data, "\0\0\0\7ssh-rsa\0\0\0\3\1\0\1\0\0\1\1\0", 23);
	static const char *const bad[] = {"", "ssh-rsa", "ssh-rsa ", "ssh-rsa AAAA", "ssh-dss AAAA",
		"ssh-rsa !!!!", "ssh-ed25519 AAAAB3NzaC1yc2EAAAADAQAB",
		"-----BEGIN OPENSSH PRIVATE KEY-----"};
	for (size_t i = 0; i < array_size(bad); i++)
		assert_int_equal(ssh_key_check(bad[i], NULL), -1);
	atomic_bool stop = true;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(ssh_key_make(&key, &stop, &err), -1);
}

static void test_variables_in_a_path_are_expanded(void **state)
{
	(void)state;
	static const struct {
		const char *path, *expanded;
	} cases[] = {
		{"/a/b", "/a/b"},
		{"$AZURE_TEST_A/b", "x/b"},
		{"/a/${AZURE_TEST_A}b$AZURE_TEST_NONE", "/a/xb"},
		{"a$", "a$"},
		{"$$", "$$"},
		{"${", NULL},
		{"${}", NULL},
		{"${A-B}", NULL},
	};
	setenv("AZURE_TEST_A", "x", 1);
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup(buf_free) struct buf out = BUF_INIT;
		int result = path_expand(cases[i].path, &out, NULL);
		assert_int_equal(result, cases[i].expanded ? 0 : -1);
		if (result == 0)
			assert_string_equal(buf_text(&out), cases[i].expanded);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids_are_taken_in_any_case_and_nothing_else),
		cmocka_unit_test(test_names_are_what_azure_takes_and_the_same_for_the_same_token),
		cmocka_unit_test(test_the_authority_tells_the_cloud),
		cmocka_unit_test(test_the_body_of_a_plain_request),
		cmocka_unit_test(test_requests_that_cannot_be_made_are_refused),
		cmocka_unit_test(test_tags_are_cut_at_a_character_and_checked),
		cmocka_unit_test(test_options_that_cannot_be_are_named),
		cmocka_unit_test(test_upstreams_options_are_there_with_their_defaults),
		cmocka_unit_test(test_a_key_is_made_and_taken),
		cmocka_unit_test(test_variables_in_a_path_are_expanded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
