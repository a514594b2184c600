/* SPDX-License-Identifier: Apache-2.0 */
/* aws_test.c - what the AWS driver is given and writes: signatures, requests, markets, endpoints, options */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "providers/aws/endpoint.h"
#include "providers/aws/candidates.h"
#include "providers/aws/extras.h"
#include "providers/aws/launch.h"
#include "providers/aws/query.h"
#include "providers/aws/sign.h"
#include "tests/unit/assert_contains.h"

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
		cmocka_unit_test(test_endpoints),
		cmocka_unit_test(test_wrong_options_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
