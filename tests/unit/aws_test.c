/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aws_test.c - what the AWS driver writes and reads: signatures, requests, answers, errors, profiles, options
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "providers/aws/catalogue.h"
#include "providers/aws/credentials.h"
#include "providers/aws/endpoint.h"
#include "providers/aws/candidates.h"
#include "providers/aws/extras.h"
#include "providers/aws/failure.h"
#include "providers/aws/image.h"
#include "providers/aws/launch.h"
#include "providers/aws/query.h"
#include "providers/aws/quota.h"
#include "providers/aws/resource.h"
#include "providers/aws/sign.h"
#include "providers/aws/vm.h"

#define assert_contains(text, part)                                      \
	do {                                                             \
		if (!strstr(text, part))                                 \
			fail_msg("\"%s\" is not in \"%s\"", part, text); \
	} while (0)

/* ---- signatures: vectors that botocore and libcurl agree on ------------------------------------ */

#define VECTOR_TIME 1773569730 /* 2026-03-15T10:15:30Z */

static const char find_body[] =
	"Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3AName&Filter.1.Value.1=podvm-nginx%20test~1-4f2c9b7a"
	"&Filter.2.Name=instance-state-name&Filter.2.Value.1=pending&Filter.2.Value.2=running&MaxResults=5";
static const char run_body[] =
	"Action=RunInstances&Version=2016-11-15&ImageId=ami-0123456789abcdef0&InstanceType=m6a.large&MinCount=1&MaxCount=1"
	"&ClientToken=3d7800d84ee081581e5469ce5c9bc70fbb3de3ab49ae1f4b&SubnetId=subnet-0a1b2c3d4e5f60718"
	"&SecurityGroupId.1=sg-0a1b2c3d4e5f60718&UserData=I2Nsb3VkLWNvbmZpZwo%3D&TagSpecification.1.ResourceType=instance"
	"&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=podvm-nginx-4f2c9b7a"
	"&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fxvda&BlockDeviceMapping.1.Ebs.VolumeSize=30&CpuOptions.AmdSevSnp=enabled";

static void test_signatures_equal_the_vectors(void **state)
{
	(void)state;
	static const struct {
		const char *body, *token, *signature;
	} vectors[] = {
		{find_body, "", "316205d13e71dafbc6cb17f5ab2426525cdced184810edd78c3add749d737ac9"},
		{find_body, "FwoGZXIvYXdzEXAMPLETOKEN//////////wEaDO8=",
			"f85c45f1f1868b011f11ef6051454a63883f09e220704187fed32d0511702967"},
		{run_body, "", "b282f0ddf4eadeb03ad6b927a0d2ac0c273722d18d49562e0c408c90da46ef52"},
	};
	for (size_t i = 0; i < array_size(vectors); i++) {
		cleanup_secret key = SECRET_INIT, token = SECRET_INIT;
		cleanup(buf_free) struct buf header = BUF_INIT;
		cleanup_error err = ERROR_INIT;
		secret_set(&key, "specSecretKey/0123456789+abcdefghijklmnop", 41);
		secret_set(&token, vectors[i].token, strlen(vectors[i].token));
		struct sign_input in = {.key_id = "AKIDSPECEXAMPLE00001",
			.secret_key = &key,
			.session_token = &token,
			.host = "ec2.us-east-2.amazonaws.com",
			.region = "us-east-2",
			.service = "ec2",
			.now = VECTOR_TIME,
			.body = vectors[i].body,
			.body_len = strlen(vectors[i].body)};
		assert_int_equal(sign_request(&in, &header, &err), 0);
		assert_contains(buf_text(&header), vectors[i].signature);
		assert_contains(buf_text(&header),
			"AWS4-HMAC-SHA256 Credential=AKIDSPECEXAMPLE00001/20260315/us-east-2/ec2/aws4_request, ");
		assert_contains(buf_text(&header),
			*vectors[i].token
				? "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, "
				: "SignedHeaders=content-type;host;x-amz-date, ");
	}
}

/* ---- requests ------------------------------------------------------------------------------------ */

static void test_queries_are_encoded(void **state)
{
	(void)state;
	static const char *const states[] = {"pending", "running", NULL};
	cleanup_query q = {0};
	query_start(&q, "DescribeInstances", EC2_VERSION);
	query_filter_one(&q, 1, "tag:Name", "podvm-nginx test~1-4f2c9b7a");
	query_filter(&q, 2, "instance-state-name", states);
	query_add_int(&q, 5, "MaxResults");
	assert_string_equal(buf_text(&q.body), find_body);
	query_free(&q);
	query_start(&q, "A", STS_VERSION);
	query_add(&q, "+/=&\xc3\xa9\n", "B.%d", 1);
	assert_string_equal(buf_text(&q.body),
		"Action=A&Version=2011-06-15&B.1=%2B%2F%3D%26%C3%A9%0A");
}

static struct aws_options options_of(void)
{
	return (struct aws_options){.region = (char *)"us-east-2",
		.instance_type = (char *)"m6a.large",
		.profile = (char *)"",
		.instance_types = (char *)"",
		.image = (char *)"ami-0123456789abcdef0",
		.key_name = (char *)"",
		.subnet = (char *)"",
		.security_groups = (char *)"",
		.launch_template = (char *)"kata",
		.tags = (char *)"",
		.role_arn = (char *)"",
		.token_file = (char *)"",
		.role_session = (char *)"",
		.default_region = (char *)"",
		.default_profile = (char *)"",
		.credentials_file = (char *)"",
		.config_file = (char *)"",
		.ca_bundle = (char *)"",
		.endpoint = (char *)"",
		.endpoint_ec2 = (char *)"",
		.endpoint_sts = (char *)"",
		.imds_endpoint = (char *)"http://169.254.169.254",
		.container_full = (char *)"",
		.container_relative = (char *)"",
		.container_token_file = (char *)"",
		.root_volume_type = (char *)"",
		.kms_key = (char *)"",
		.spot = (char *)"false",
		.instance_profile = (char *)"",
		.prices = (char *)"",
		.catalogue_folder = (char *)""};
}

static struct instance_request request_of(void)
{
	return (struct instance_request){.owner = {"c1", "n1", "ns", "web", "s1"},
		.token = "00ff",
		.name = "podvm-web-s1",
		.user_data = "#cloud-config\n",
		.user_data_len = 14,
		.instance_type = "",
		.image = ""};
}

static char *subnet_groups[] = {(char *)"sg-1", (char *)"sg-2", NULL};
static const struct offering m6a = {.type = "m6a.large", .family = "m6a", .zone = "subnet-1"};

static char *launch_text(const struct aws_options *o, const struct instance_request *r,
	const struct offering *offering, bool snp)
{
	struct launch l = {.options = o,
		.request = r,
		.network = {NULL, subnet_groups, "key"},
		.image = o->image,
		.image_facts = {"/dev/xvda", "uefi", "x86_64", "available", "", 40, false},
		.extras = extras_wanted(o, r),
		.offering = offering,
		.snp = snp,
		.client_token = r->token};
	struct query q = {0};
	assert_int_equal(launch_query(&l, false, &q, NULL), 0);
	char *text = strdup(buf_text(&q.body));
	query_free(&q);
	return text;
}

static void test_launch_says_all_there_is_to_say(void **state)
{
	(void)state;
	struct aws_options o = options_of();
	struct instance_request r = request_of();
	o.root_volume_gib = 30;
	o.root_volume_encrypted = true;
	o.root_volume_type = (char *)"gp3";
	o.kms_key = (char *)"alias/k";
	o.imdsv2_only = true;
	o.tags = (char *)"team=a b, cost = 1";
	cleanup(free_ptr) char *text = launch_text(&o, &r, &m6a, true);
	static const char *const parts[] = {
		"&MinCount=1&MaxCount=1&ClientToken=00ff&ImageId=ami-0123456789abcdef0&InstanceType=m6a.large&",
		"&SubnetId=subnet-1&SecurityGroupId.1=sg-1&SecurityGroupId.2=sg-2&KeyName=key&",
		"&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fxvda&BlockDeviceMapping.1.Ebs.VolumeSize=40&",
		"&BlockDeviceMapping.1.Ebs.VolumeType=gp3&BlockDeviceMapping.1.Ebs.Encrypted=true&"
		"BlockDeviceMapping.1.Ebs.KmsKeyId=alias%2Fk&BlockDeviceMapping.1.Ebs.DeleteOnTermination=true&",
		"&CpuOptions.AmdSevSnp=enabled&UserData=I2Nsb3VkLWNvbmZpZwo%3D&",
		"&InstanceInitiatedShutdownBehavior=terminate&MetadataOptions.HttpTokens=required&"
		"MetadataOptions.HttpPutResponseHopLimit=1&",
		"&TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&"
		"TagSpecification.1.Tag.1.Value=podvm-web-s1&TagSpecification.1.Tag.2.Key=peerpod-token&"
		"TagSpecification.1.Tag.2.Value=00ff&",
		"&TagSpecification.2.ResourceType=volume&",
		"&TagSpecification.3.ResourceType=network-interface&",
		"&TagSpecification.3.Tag.8.Key=team&TagSpecification.3.Tag.8.Value=a%20b&"
		"TagSpecification.3.Tag.9.Key=cost&TagSpecification.3.Tag.9.Value=1",
	};
	for (size_t i = 0; i < array_size(parts); i++)
		assert_contains(text, parts[i]);
}

static void test_launch_variants(void **state)
{
	(void)state;
	struct aws_options o = options_of();
	struct instance_request r = request_of();
	o.use_public_ip = true;
	cleanup(free_ptr) char *public_text = launch_text(&o, &r, &m6a, false);
	assert_contains(public_text,
		"&NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.SubnetId=subnet-1&"
		"NetworkInterface.1.SecurityGroupId.1=sg-1&NetworkInterface.1.SecurityGroupId.2=sg-2&"
		"NetworkInterface.1.AssociatePublicIpAddress=true&NetworkInterface.1.DeleteOnTermination=true&");
	assert_null(strstr(public_text, "AmdSevSnp"));
	assert_null(strstr(public_text, "BlockDeviceMapping"));
	r.second_nic = true;
	cleanup(free_ptr) char *public_two = launch_text(&o, &r, &m6a, false);
	assert_null(strstr(public_two, "AssociatePublicIpAddress"));
	assert_contains(public_two, "Key=peerpod-extras&TagSpecification.1.Tag.8.Value=address&");
	assert_null(strstr(public_two, "TagSpecification.2.Tag.8"));
	o.use_public_ip = false;
	struct offering spot = m6a;
	spot.spot = true;
	cleanup(free_ptr) char *two = launch_text(&o, &r, &spot, false);
	assert_contains(two,
		"&NetworkInterface.2.DeviceIndex=1&NetworkInterface.2.SubnetId=subnet-1&");
	assert_contains(two, "&InstanceMarketOptions.MarketType=spot&");
	assert_null(strstr(two, "AssociatePublicIpAddress"));
	r.second_nic = false;
	o.use_launch_template = true;
	struct offering c6a = {.type = "c6a.large", .family = "c6a", .zone = ""};
	cleanup(free_ptr) char *template = launch_text(&o, &r, &c6a, false);
	assert_contains(template,
		"&LaunchTemplate.LaunchTemplateName=kata&InstanceType=c6a.large&UserData=");
	assert_null(strstr(template, "SubnetId"));
	assert_null(strstr(template, "AmdSevSnp"));
}

static void test_requests_that_cannot_be_made_are_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"the creation token must have 1 to 48 hexadecimal digits",
		"the user data has 16385 bytes, 1 more than the 16384 that EC2 takes: shorten the initdata, or deliver "
		"registry credentials through the KBS instead of auth.json",
		"EC2 has no Intel TDX: it has AMD SEV-SNP",
		"EC2 has no AMD SEV without SNP: ask for SEV-SNP",
	};
	static const enum instance_tee tees[] = {TEE_SNP, TEE_NONE, TEE_TDX, TEE_SEV};
	for (size_t i = 0; i < array_size(texts); i++) {
		cleanup_error err = ERROR_INIT;
		struct instance_request r = request_of();
		assert_int_equal(launch_check(&r, &err), 0);
		r.token = i == 0 ? "x&y" : r.token;
		r.user_data_len = i == 1 ? 16385 : r.user_data_len;
		r.tee = tees[i];
		assert_int_equal(launch_check(&r, &err), -1);
		assert_string_equal(error_message(&err), texts[i]);
	}
}

static void test_markets_follow_the_pod_then_the_option(void **state)
{
	(void)state;
	static const struct {
		const char *option;
		size_t count;
		enum instance_market pod;
		bool first;
	} cases[] = {
		{"false", 1, MARKET_DEFAULT, false},
		{"true", 1, MARKET_DEFAULT, true},
		{"prefer", 2, MARKET_DEFAULT, true},
		{"prefer", 1, MARKET_SPOT, true},
		{"true", 1, MARKET_ON_DEMAND, false},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct aws_options o = options_of();
		struct instance_request r = request_of();
		o.spot = (char *)cases[i].option;
		r.market = cases[i].pod;
		struct markets markets = markets_of(&o, &r);
		assert_int_equal(markets.count, cases[i].count);
		assert_int_equal(markets.spot[0], cases[i].first);
		assert_false(markets.spot[1]);
	}
}

/* ---- answers ------------------------------------------------------------------------------------- */

static const char run_answer[] =
	"<?xml version=\"1.0\"?><RunInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r</requestId>"
	"<groupSet/><instancesSet><item><instanceId>i-0aa1bb2cc3dd4ee5f</instanceId>"
	"<instanceState><code>0</code><name>pending</name></instanceState><privateIpAddress>10.0.1.23</privateIpAddress>"
	"<launchTime>2026-03-15T10:15:30.000Z</launchTime><stateReason><code>c</code><message>m</message></stateReason>"
	"<networkInterfaceSet><item><privateIpAddress>10.0.2.9</privateIpAddress><attachment><deviceIndex>1</deviceIndex>"
	"</attachment></item><item><privateIpAddress>10.0.1.23</privateIpAddress><association><publicIp>203.0.113.5</publicIp>"
	"</association><attachment><deviceIndex>0</deviceIndex></attachment></item></networkInterfaceSet>"
	"<tagSet><item><key>Name</key><value>podvm-web</value></item><item><key>peerpod-token</key><value>00ff</value></item>"
	"<item><key>peerpod-pod</key><value>web</value></item></tagSet>"
	"<cpuOptions><amdSevSnp>enabled</amdSevSnp></cpuOptions></item></instancesSet></RunInstancesResponse>";

static void test_instances_are_read(void **state)
{
	(void)state;
	for (int public_ip = 0; public_ip < 2; public_ip++) {
		cleanup_error err = ERROR_INIT;
		cleanup_xml *doc = xml_parse("x", run_answer, sizeof(run_answer) - 1, &err);
		assert_non_null(doc);
		cleanup_vm vm = {0};
		assert_int_equal(vm_read(xml_first_item(xmlDocGetRootElement(doc), "instancesSet"),
					 &vm, &err),
			0);
		assert_string_equal(vm.snp, "enabled");
		assert_string_equal(vm.reason_code, "c");
		assert_false(vm_is_dead(&vm));
		cleanup(instance_free) struct instance instance = {0};
		assert_int_equal(vm_give(&vm, public_ip, &instance, &err), 0);
		assert_string_equal(instance.id, "i-0aa1bb2cc3dd4ee5f");
		assert_string_equal(instance.name, "podvm-web");
		assert_string_equal(instance.token, "00ff");
		assert_string_equal(instance.pod, "web");
		assert_string_equal(instance.node, "");
		assert_int_equal(instance.created, VECTOR_TIME);
		assert_string_equal(instance.addresses[0], public_ip ? "203.0.113.5" : "10.0.1.23");
		assert_string_equal(instance.addresses[1], "10.0.2.9");
		assert_null(instance.addresses[2]);
	}
}

static void test_answers_that_are_no_xml_are_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {"", "no", "<a><b></a>",
		"<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"};
	for (size_t i = 0; i < array_size(texts); i++) {
		cleanup_error err = ERROR_INIT;
		assert_null(xml_parse("DescribeImages", texts[i], strlen(texts[i]), &err));
		assert_int_equal(err.kind, ERROR_RETRY);
		assert_string_equal(error_message(&err),
			"DescribeImages: the answer is no XML that EC2 would send");
	}
}

static void test_types_and_images_are_read(void **state)
{
	(void)state;
	static const char text[] =
		"<r><t><item><instanceType>g4dn.12xlarge</instanceType><vCpuInfo><defaultVCpus>48</defaultVCpus></vCpuInfo>"
		"<memoryInfo><sizeInMiB>196608</sizeInMiB></memoryInfo><gpuInfo><gpus><item><count>3</count></item><item>"
		"<count>1</count></item></gpus></gpuInfo><supportedUsageClasses><item>on-demand</item></supportedUsageClasses><processorInfo>"
		"<supportedArchitectures><item>x86_64</item></supportedArchitectures><supportedFeatures><item>x</item>"
		"<item>amd-sev-snp</item></supportedFeatures></processorInfo><networkInfo><maximumNetworkInterfaces>8"
		"</maximumNetworkInterfaces></networkInfo><ebsInfo><maximumEbsAttachments>27</maximumEbsAttachments></ebsInfo>"
		"</item></t><i><item><imageId>ami-1</imageId><rootDeviceName>/dev/xvda</rootDeviceName>"
		"<blockDeviceMapping><item><deviceName>/dev/sdb</deviceName></item><item><deviceName>/dev/xvda</deviceName>"
		"<ebs><volumeSize>12</volumeSize><deleteOnTermination>false</deleteOnTermination></ebs></item><item>"
		"<deviceName>/dev/sdc</deviceName><ebs><deleteOnTermination>false</deleteOnTermination></ebs></item>"
		"</blockDeviceMapping></item></i></r>";
	cleanup_xml *doc = xml_parse("x", text, sizeof(text) - 1, NULL);
	xmlNode *root = xmlDocGetRootElement(doc);
	struct type_entry type;
	assert_true(type_read(xml_first_item(root, "t"), &type));
	assert_int_equal(type.architectures, TYPE_X86);
	assert_int_equal(type.boots, TYPE_BIOS | TYPE_UEFI);
	assert_false(type.spot);
	const struct offering *o = &type.offering;
	assert_string_equal(o->type, "g4dn.12xlarge");
	assert_string_equal(o->family, "g4dn");
	assert_int_equal(o->vcpus, 48);
	assert_int_equal(o->memory_mib, 196608);
	assert_int_equal(o->gpus, 4);
	assert_int_equal(o->max_nics, 8);
	assert_int_equal(o->max_volumes, 27);
	assert_int_equal(o->tees, CHOICE_TEE_SNP);
	type_entry_clear(&type);
	struct image_entry image;
	assert_true(image_read(xml_first_item(root, "i"), &image));
	assert_string_equal(image.root_device, "/dev/xvda");
	assert_int_equal(image.root_gib, 12);
	assert_true(image.keeps_root);
	assert_string_equal(image.kept_devices, "/dev/sdc");
	image_entry_clear(&image);
}

static void test_resources_are_read_and_known_by_their_ids(void **state)
{
	(void)state;
	static const struct {
		const char *id, *item, *user;
		const struct resource_kind *kind;
	} cases[] = {
		{"eni-0123456789abcdef0",
			"<networkInterfaceId>eni-0123456789abcdef0</networkInterfaceId><attachment>"
			"<instanceId>i-1</instanceId></attachment>",
			"i-1", &resource_nic},
		{"eipalloc-0123456789abcdef0",
			"<allocationId>eipalloc-0123456789abcdef0</allocationId><associationId>a</associationId>"
			"<networkInterfaceId>eni-1</networkInterfaceId>",
			"eni-1", &resource_address},
		{"vol-01234567", "<volumeId>vol-01234567</volumeId><attachmentSet/>", NULL,
			&resource_volume},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		char text[512];
		snprintf(text, sizeof(text),
			"<item>%s<tagSet><item><key>peerpod-token</key><value>00ff</value></item></tagSet></item>",
			cases[i].item);
		assert_ptr_equal(resource_kind_of(cases[i].id), cases[i].kind);
		cleanup_xml *doc = xml_parse("x", text, strlen(text), NULL);
		cleanup(resource_free_ptr) struct resource *r =
			resource_read(cases[i].kind, xmlDocGetRootElement(doc));
		assert_string_equal(r->id, cases[i].id);
		assert_string_equal(r->tags.token, "00ff");
		if (cases[i].user)
			assert_string_equal(r->user, cases[i].user);
		else
			assert_null(r->user);
	}
	static const char *const wrong[] = {"", "vol-", "vol-0123456", "vol-0123456789abcdef01",
		"vol-0123456g", "i-0123456789abcdef0", "xvol-01234567"};
	for (size_t i = 0; i < array_size(wrong); i++)
		assert_null(resource_kind_of(wrong[i]));
}

static void test_quotas_are_known_by_family_and_read(void **state)
{
	(void)state;
	static const struct {
		const char *type, *on_demand, *spot;
	} cases[] = {
		{"m6a.large", "L-1216C47A", "L-34B43A08"},
		{"c6a.large", "L-1216C47A", "L-34B43A08"},
		{"t3.micro", "L-1216C47A", "L-34B43A08"},
		{"inf2.xlarge", NULL, NULL},
		{"g4dn.xlarge", "L-DB2E81BA", "L-3819A6DF"},
		{"vt1.3xlarge", "L-DB2E81BA", "L-3819A6DF"},
		{"p4d.24xlarge", "L-417A185B", "L-7212CCBC"},
		{"u-6tb1.metal", NULL, NULL},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		for (int spot = 0; spot < 2; spot++) {
			const char *code = quota_code(cases[i].type, spot),
				   *expected = spot ? cases[i].spot : cases[i].on_demand;
			assert_int_equal(!code, !expected);
			if (code)
				assert_string_equal(code, expected);
		}
	}
	static const char *const texts[] = {"{\"Quota\":{\"QuotaName\":\"n\",\"Value\":32.0}}",
		"{}", "{\"Quota\":{\"QuotaName\":\"n\",\"Value\":-1}}",
		"{\"Quota\":{\"Value\":\"32\"}}", "{\"Quota\":{\"Value\":1}}"};
	for (size_t i = 0; i < array_size(texts); i++) {
		cleanup_json *answer =
			json_parse("x", texts[i], strlen(texts[i]), 4096, false, NULL);
		cleanup(free_ptr) char *name = NULL;
		double value = -1;
		assert_int_equal(quota_read(answer, &value, &name, NULL), i ? -1 : 0);
		if (!i)
			assert_true(value > 31 && value < 33);
	}
}

static void test_metadata_texts_are_read(void **state)
{
	(void)state;
	char **words = imds_words("sg-1\nsg-2 sg-3\n");
	assert_int_equal(list_count(words), 3);
	assert_string_equal(words[2], "sg-3");
	list_free(words);
	static const char *const keys[][2] = {{"0=operator\n1=x\n", "operator"}, {"0=a=b", "a=b"},
		{"nothing\n1=x", ""}, {"", ""}};
	for (size_t i = 0; i < array_size(keys); i++) {
		cleanup(free_ptr) char *name = imds_key_pair(keys[i][0]);
		assert_string_equal(name, keys[i][1]);
	}
}

/* ---- errors -------------------------------------------------------------------------------------- */

static void test_every_error_code_has_its_kind(void **state)
{
	(void)state;
	static const struct {
		enum error_kind kind;
		const char *codes[16];
	} cases[] = {
		{ERROR_THROTTLED, {"RequestLimitExceeded", "EC2ThrottledException", "Throttling",
					  "ThrottlingException", "RequestThrottled", "SlowDown"}},
		{ERROR_RETRY,
			{"InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable",
				"RequestTimeout", "IDPCommunicationError", "InvalidIdentityToken",
				"IncorrectInstanceState", "IncorrectState", "DependencyViolation",
				"InvalidNetworkInterface.InUse", "VolumeInUse"}},
		{ERROR_CAPACITY, {"InsufficientInstanceCapacity", "InsufficientCapacity",
					 "InsufficientHostCapacity", "InsufficientAddressCapacity",
					 "SpotMaxPriceTooLow", "UnfulfillableCapacity",
					 "Unsupported", "InsufficientFreeAddressesInSubnet"}},
		{ERROR_QUOTA, {"VcpuLimitExceeded", "InstanceLimitExceeded",
				      "MaxSpotInstanceCountExceeded", "AddressLimitExceeded",
				      "VolumeLimitExceeded"}},
		{ERROR_DENIED, {"AuthFailure", "UnauthorizedOperation", "InvalidClientTokenId",
				       "ExpiredToken", "ExpiredTokenException", "RequestExpired",
				       "SignatureDoesNotMatch", "OptInRequired", "Blocked",
				       "RequestTimeTooSkewed", "IDPRejectedClaim", "AccessDenied",
				       "RegionDisabledException"}},
		{ERROR_GONE,
			{"InvalidInstanceID.NotFound", "InvalidVolume.NotFound",
				"InvalidNetworkInterfaceID.NotFound",
				"InvalidAllocationID.NotFound", "InvalidAssociationID.NotFound"}},
		{ERROR_INVALID, {"InvalidAMIID.NotFound", "InvalidAMIID.Malformed",
					"InvalidSubnetID.NotFound", "InvalidGroup.NotFound",
					"InvalidKeyPair.NotFound", "InvalidParameterValue",
					"InvalidParameterCombination", "InvalidInstanceType",
					"InvalidLaunchTemplateName.NotFoundException",
					"MissingParameter", "InvalidInstanceID.Malformed",
					"PackedPolicyTooLarge", "MalformedPolicyDocument"}},
		{ERROR_EXISTS, {"IdempotentParameterMismatch"}},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		for (const char *const *code = cases[i].codes; code < cases[i].codes + 16 && *code;
			code++) {
			/* The status says otherwise: the code decides. */
			int status = cases[i].kind == ERROR_RETRY ? 400 : 500;
			char body[512], expected[512], found[FAILURE_CODE_SIZE];
			cleanup_error err = ERROR_INIT;
			snprintf(body, sizeof(body),
				"<Response><Errors><Error><Code>%s</Code><Message>t</Message></Error>"
				"</Errors><RequestID>ea966190</RequestID></Response>",
				*code);
			snprintf(expected, sizeof(expected), "%s: t (HTTP %d, request ea966190)",
				*code, status);
			assert_int_equal(failure_read(status, body, strlen(body), found,
						 sizeof(found), &err),
				-1);
			assert_string_equal(found, *code);
			assert_string_equal(error_message(&err), expected);
			if (err.kind != cases[i].kind)
				fail_msg("%s: %s", *code, error_kind_name(err.kind));
			assert_true(failure_has_code(&err, *code));
		}
	}
}

static void test_errors_without_a_code_go_by_the_status(void **state)
{
	(void)state;
	static const struct {
		int status;
		enum error_kind kind;
	} cases[] = {{429, ERROR_THROTTLED}, {500, ERROR_RETRY}, {503, ERROR_RETRY},
		{403, ERROR_DENIED}, {400, ERROR_INVALID}};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		failure_read(cases[i].status, "<html>", 6, NULL, 0, &err);
		assert_int_equal(err.kind, cases[i].kind);
	}
	cleanup_error err = ERROR_INIT;
	static const char sts[] =
		"<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredTokenException</Code><Message>M"
		"</Message></Error><RequestId>u</RequestId></ErrorResponse>";
	failure_read(400, sts, sizeof(sts) - 1, NULL, 0, &err);
	assert_string_equal(error_message(&err), "ExpiredTokenException: M (HTTP 400, request u)");
}

/* ---- credentials --------------------------------------------------------------------------------- */

static void test_profiles_are_read(void **state)
{
	(void)state;
	static const char text[] =
		"# c\n[default]\naws_access_key_id = AKIA1\naws_secret_access_key=s/1=\nregion = eu-west-1\n"
		"s3 =\n  region = nested\n[profile dev]\naws_access_key_id=AKIA2\naws_secret_access_key=s2\n"
		"aws_session_token=t2\n[profile role]\nrole_arn=arn:x\n[none]\nregion=r\n";
	static const struct {
		const char *profile;
		bool config;
		const char *key, *error;
	} cases[] = {
		{"default", true, "AKIA1", NULL},
		{"default", false, "AKIA1", NULL},
		{"dev", true, "AKIA2", NULL},
		{"dev", false, NULL, "there is no profile \"dev\""},
		{"none", false, NULL, "the profile \"none\" has no key pair"},
		{"role", true, NULL,
			"the profile \"role\" gets its keys by role_arn, which this driver does not do: give it "
			"aws_access_key_id and aws_secret_access_key"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_credentials c = {0};
		cleanup_error err = ERROR_INIT;
		cleanup(free_ptr) char *region = NULL;
		int result = credentials_of_profile(text, cases[i].profile, cases[i].config, &c,
			&region, &err);
		assert_int_equal(result, cases[i].key ? 0 : -1);
		if (cases[i].key)
			assert_string_equal(c.key_id, cases[i].key);
		else
			assert_string_equal(error_message(&err), cases[i].error);
		if (!strcmp(cases[i].profile, "default"))
			assert_string_equal(region, "eu-west-1");
	}
}

static void test_credential_answers_are_read(void **state)
{
	(void)state;
	static const struct {
		const char *text, *error;
	} cases[] = {
		{"{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"T\","
		 "\"Expiration\":\"2026-03-15T10:15:30Z\"}",
			NULL},
		{"{\"Code\":\"AssumeRoleUnauthorizedAccess\"}",
			"x: no credentials: AssumeRoleUnauthorizedAccess"},
		{"{\"AccessKeyId\":\"A\"}", "\"SecretAccessKey\""},
		{"{\"AccessKeyId\":\"A\\n\",\"SecretAccessKey\":\"S\"}",
			"x: the answer holds no key pair"},
		{"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Expiration\":\"soon\"}",
			"x: the key pair ends at \"soon\", which is no time"},
		{"nonsense", "x"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_credentials c = {0};
		cleanup_error err = ERROR_INIT;
		int result =
			credentials_of_json("x", cases[i].text, strlen(cases[i].text), &c, &err);
		assert_int_equal(result, cases[i].error ? -1 : 0);
		if (cases[i].error)
			assert_contains(error_message(&err), cases[i].error);
		else
			assert_int_equal(c.expires, VECTOR_TIME);
	}
	static const char sts[] =
		"<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
		"<AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey><SessionToken>T</SessionToken>"
		"<Expiration>2026-03-15T10:15:30.123Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
		"</AssumeRoleWithWebIdentityResponse>";
	cleanup_credentials c = {0};
	assert_int_equal(credentials_of_sts(sts, sizeof(sts) - 1, &c, NULL), 0);
	assert_string_equal(secret_reveal(&c.session_token), "T");
	assert_int_equal(c.expires, VECTOR_TIME);
}

/* ---- options ------------------------------------------------------------------------------------- */

static void test_endpoints(void **state)
{
	(void)state;
	struct endpoint e;
	struct aws_options o = options_of();
	cleanup_error err = ERROR_INIT;
	assert_int_equal(endpoint_make(&o, "sts", "us-east-2", &e, NULL), 0);
	assert_string_equal(e.url, "https://sts.us-east-2.amazonaws.com/");
	assert_int_equal(endpoint_make(&o, "ec2", "cn-north-1", &e, NULL), 0);
	assert_string_equal(e.host, "ec2.cn-north-1.amazonaws.com.cn");
	o.use_fips = o.use_dualstack = true;
	assert_int_equal(endpoint_make(&o, "ec2", "us-east-2", &e, NULL), 0);
	assert_string_equal(e.host, "ec2-fips.us-east-2.api.aws");
	o.endpoint = (char *)"http://127.0.0.1:5000/";
	assert_int_equal(endpoint_make(&o, "ec2", "us-east-2", &e, NULL), 0);
	assert_string_equal(e.url, "http://127.0.0.1:5000/");
	assert_string_equal(e.host, "127.0.0.1:5000");
	o.endpoint_ec2 = (char *)"https://vpce.example:443";
	assert_int_equal(endpoint_make(&o, "ec2", "us-east-2", &e, NULL), 0);
	assert_string_equal(e.host, "vpce.example");
	o.endpoint_ec2 = (char *)"https://vpce.example/path";
	assert_int_equal(endpoint_make(&o, "ec2", "us-east-2", &e, &err), -1);
	o.ignore_endpoints = true;
	assert_int_equal(endpoint_make(&o, "ec2", "us-east-2", &e, NULL), 0);
	assert_string_equal(e.host, "ec2-fips.us-east-2.api.aws");
}

static void test_wrong_options_are_named(void **state)
{
	(void)state;
	static const struct {
		size_t offset;
		const char *value, *error;
	} cases[] = {
#define AT(member) offsetof(struct aws_options, member)
		{AT(image), "",
			"PODVM_AMI_ID (-imageid) is not set: name the AMI of the pod VMs, or set "
			"USE_PODVM_LAUNCHTEMPLATE"},
		{AT(image), "myimage",
			"PODVM_AMI_ID: \"myimage\" is not of the form ami-0123456789abcdef0"},
		{AT(subnet), "subnet-1,sub",
			"AWS_SUBNET_ID: \"sub\" is not of the form subnet-0123456789abcdef0"},
		{AT(security_groups), "sg-x",
			"AWS_SG_IDS: \"sg-x\" is not of the form sg-0123456789abcdef0"},
		{AT(region), "us/east",
			"AWS_REGION: \"us/east\" is no region: they look like us-east-2"},
		{AT(endpoint), "ftp://x",
			"AWS_ENDPOINT_URL: \"ftp://x\" must start with https:// or http://"},
		{AT(endpoint), "https://x/y",
			"AWS_ENDPOINT_URL: \"https://x/y\" must be a scheme, a host and perhaps a port, no path"},
		{AT(endpoint_sts), "https://",
			"AWS_ENDPOINT_URL: \"https://\" must be a scheme, a host and perhaps a port, no path"},
		{AT(token_file), "/t", "AWS_WEB_IDENTITY_TOKEN_FILE needs AWS_ROLE_ARN"},
		{AT(kms_key), "k", "AWS_ROOT_VOLUME_KMS_KEY needs AWS_ROOT_VOLUME_ENCRYPTED"},
		{AT(tags), "a=b,cd", "TAGS: \"cd\" is not of the form key=value"},
		{AT(tags), "aws:x=b", "TAGS: \"aws:x\": keys that start with aws: are Amazon's"},
		{AT(tags), "Name=b",
			"TAGS: \"Name\" is set by the driver itself: choose another key"},
		{AT(role_session), "a b",
			"AWS_ROLE_SESSION_NAME: \"a b\" must have 2 to 64 letters, digits and _+=,.@-"},
		{AT(container_relative), "x",
			"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: \"x\" must start with /"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		struct aws_options o = options_of();
		assert_int_equal(aws_options_check(&o, &err), 0);
		*(const char **)((char *)&o + cases[i].offset) = cases[i].value;
		assert_int_equal(aws_options_check(&o, &err), -1);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_string_equal(error_message(&err), cases[i].error);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signatures_equal_the_vectors),
		cmocka_unit_test(test_queries_are_encoded),
		cmocka_unit_test(test_launch_says_all_there_is_to_say),
		cmocka_unit_test(test_launch_variants),
		cmocka_unit_test(test_requests_that_cannot_be_made_are_refused),
		cmocka_unit_test(test_markets_follow_the_pod_then_the_option),
		cmocka_unit_test(test_resources_are_read_and_known_by_their_ids),
		cmocka_unit_test(test_metadata_texts_are_read),
		cmocka_unit_test(test_quotas_are_known_by_family_and_read),
		cmocka_unit_test(test_instances_are_read),
		cmocka_unit_test(test_answers_that_are_no_xml_are_refused),
		cmocka_unit_test(test_types_and_images_are_read),
		cmocka_unit_test(test_every_error_code_has_its_kind),
		cmocka_unit_test(test_errors_without_a_code_go_by_the_status),
		cmocka_unit_test(test_profiles_are_read),
		cmocka_unit_test(test_credential_answers_are_read),
		cmocka_unit_test(test_endpoints),
		cmocka_unit_test(test_wrong_options_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
