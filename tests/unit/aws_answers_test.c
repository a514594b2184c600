/* SPDX-License-Identifier: Apache-2.0 */
/* aws_answers_test.c - what the AWS driver reads: instances, types, images, resources, quotas, errors, credentials */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "providers/aws/catalogue.h"
#include "providers/aws/credentials.h"
#include "providers/aws/failure.h"
#include "providers/aws/image.h"
#include "providers/aws/quota.h"
#include "providers/aws/resource.h"
#include "providers/aws/vm.h"
#include "tests/unit/assert_contains.h"

#define ANSWER_TIME 1773569730 /* 2026-03-15T10:15:30Z, as the answers have it */

/* ---- answers ------------------------------------------------------------------------------------- */

static const char run_answer[] =
	"<?xml version=\"1.0\"?><RunInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r</requestId>"
	"<groupSet/><instancesSet><item><instanceId>i-0aa1bb2cc3dd4ee5f</instanceId>"
	"<instanceState><code>0</code><name>pending</name></instanceState><privateIpAddress>10.0.1.23</privateIpAddress>"
	"<instanceType>m6a.large</instanceType><placement><availabilityZone>us-east-2a</availabilityZone></placement>"
	"<instanceLifecycle>spot</instanceLifecycle>"
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
		assert_string_equal(vm.type, "m6a.large");
		assert_string_equal(vm.zone, "us-east-2a");
		assert_true(vm.spot);
		assert_false(vm_is_dead(&vm));
		cleanup(instance_free) struct instance instance = {0};
		assert_int_equal(vm_give(&vm, public_ip, &instance, &err), 0);
		assert_string_equal(instance.id, "i-0aa1bb2cc3dd4ee5f");
		assert_string_equal(instance.name, "podvm-web");
		assert_string_equal(instance.token, "00ff");
		assert_string_equal(instance.pod, "web");
		assert_string_equal(instance.node, "");
		assert_int_equal(instance.created, ANSWER_TIME);
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

static void test_only_an_image_that_boots_by_uefi_is_taken_for_sev_snp(void **state)
{
	(void)state;
	static const struct {
		const char *boot_mode;
		bool snp;
		const char *error; /* NULL: it is taken */
	} cases[] = {
		{"uefi", true, NULL},
		{"uefi-preferred", true, NULL},
		{"legacy-bios", true, "image ami-1 boots by BIOS: SEV-SNP needs UEFI"},
		{"", true,
			"image ami-1 has no boot mode: SEV-SNP needs UEFI (register it with "
			"--boot-mode uefi), or set DISABLECVM=true"},
		{"legacy-bios", false, NULL},
		{"", false, NULL},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		struct image_facts facts = IMAGE_FACTS_NONE;
		facts.boot_mode = cases[i].boot_mode;
		assert_int_equal(image_check(&facts, "ami-1", cases[i].snp, &err),
			cases[i].error ? -1 : 0);
		if (cases[i].error)
			assert_contains(error_message(&err), cases[i].error);
	}
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
			assert_int_equal(c.expires, ANSWER_TIME);
	}
	static const char sts[] =
		"<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
		"<AccessKeyId>A</AccessKeyId><SecretAccessKey>S</SecretAccessKey><SessionToken>T</SessionToken>"
		"<Expiration>2026-03-15T10:15:30.123Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
		"</AssumeRoleWithWebIdentityResponse>";
	cleanup_credentials c = {0};
	assert_int_equal(credentials_of_sts(sts, sizeof(sts) - 1, &c, NULL), 0);
	assert_string_equal(secret_reveal(&c.session_token), "T");
	assert_int_equal(c.expires, ANSWER_TIME);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resources_are_read_and_known_by_their_ids),
		cmocka_unit_test(test_metadata_texts_are_read),
		cmocka_unit_test(test_quotas_are_known_by_family_and_read),
		cmocka_unit_test(test_instances_are_read),
		cmocka_unit_test(test_answers_that_are_no_xml_are_refused),
		cmocka_unit_test(test_types_and_images_are_read),
		cmocka_unit_test(test_only_an_image_that_boots_by_uefi_is_taken_for_sev_snp),
		cmocka_unit_test(test_every_error_code_has_its_kind),
		cmocka_unit_test(test_errors_without_a_code_go_by_the_status),
		cmocka_unit_test(test_profiles_are_read),
		cmocka_unit_test(test_credential_answers_are_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
