/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gcp_test.c - what the GCP driver writes: names, assertions, requests; its credentials and options
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "providers/gcp/credentials.h"
#include "providers/gcp/encode.h"
#include "providers/gcp/family.h"
#include "providers/gcp/insert.h"
#include "providers/gcp/names.h"
#include "providers/gcp/token.h"
#include "tests/unit/assert_contains.h"

/* ---- names --------------------------------------------------------------------------------------- */

static void test_images_by_every_form_of_their_names(void **state)
{
	(void)state;
	static const struct {
		const char *image, *path;
	} cases[] = {
		{"podvm-1", "projects/p/global/images/podvm-1"},
		{"projects/q/global/images/n", "projects/q/global/images/n"},
		{"/projects/q/global/images/n", "projects/q/global/images/n"},
		{"https://www.googleapis.com/compute/v1/projects/q/global/images/n",
			"projects/q/global/images/n"},
		{"projects/q/global/images/family/f", "projects/q/global/images/family/f"},
		{"Upper", NULL},
		{"", NULL},
		{"a b", NULL},
		{"projects/q/images/n", NULL},
		{"global/images/n", NULL},
		{"projects/q/global/images/", NULL},
		{"projects/../global/images/n", NULL},
		{"https://example.com/n", NULL},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		cleanup(free_ptr) char *path = image_path("p", cases[i].image, &err);
		if (cases[i].path) {
			assert_string_equal(path, cases[i].path);
			continue;
		}
		assert_null(path);
		assert_int_equal(err.kind, ERROR_INVALID);
	}
}

static void test_networks_subnetworks_and_disks_by_every_form_of_their_names(void **state)
{
	(void)state;
	static const char url[] = "https://www.googleapis.com/compute/v1/";
	static const struct {
		char kind;
		const char *name, *path;
	} cases[] = {
		{'n', "default", "global/networks/default"},
		{'n', "global/networks/default", "global/networks/default"},
		{'n', "projects/1/networks/n", "projects/1/global/networks/n"},
		{'n', "projects/q/global/networks/n", "projects/q/global/networks/n"},
		{'s', "podvm", "projects/p/regions/us-central1/subnetworks/podvm"},
		{'s', "regions/r/subnetworks/s", "projects/p/regions/r/subnetworks/s"},
		{'s', "/projects/q/regions/r/subnetworks/s", "projects/q/regions/r/subnetworks/s"},
		{'d', "data", "projects/p/zones/us-central1-a/disks/data"},
		{'d', "zones/z/disks/d", "projects/p/zones/z/disks/d"},
		{'d', "projects/q/zones/z/disks/d", "projects/q/zones/z/disks/d"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		const char *name = cases[i].name;
		cleanup(free_ptr) char *path = cases[i].kind == 'n' ? network_path(name)
					       : cases[i].kind == 's'
						       ? subnetwork_path("p", "us-central1-a", name)
						       : disk_path("p", "us-central1-a", name);
		assert_string_equal(path, cases[i].path);
	}
	cleanup(free_ptr) char *whole = NULL;
	assert_true(asprintf(&whole, "%sprojects/q/zones/z/disks/d", url) > 0);
	cleanup(free_ptr) char *path = disk_path("p", "z", whole);
	assert_string_equal(path, "projects/q/zones/z/disks/d");
	char part[32];
	assert_true(path_part(path, "zones", part, sizeof(part)));
	assert_string_equal(part, "z");
	assert_false(path_part("xzones/z", "zones", part, sizeof(part)));
}

static void test_instance_names_are_what_compute_engine_takes(void **state)
{
	(void)state;
	static const char *const wished[] = {"podvm-web-01234567", "podvm-Web.x_y-1", "9lives", "-",
		"", "podvm-a-very-long-name-of-a-pod-that-goes-on-and-on-and-on-01234567",
		"podvm-sixty-three-letters-then-a-dash-----------------------------",
		"\xc3\xa9t\xc3\xa9"};
	static const char *const first[] = {"podvm-web-01234567", "podvm-web-x-y-1", "podvm-9lives",
		"podvm", "podvm", "podvm-a-very-long-name-of-a-pod-that-goes-on-and-on-and-on-0123",
		"podvm-sixty-three-letters-then-a-dash", "podvm---t"};
	for (size_t i = 0; i < array_size(wished); i++) {
		char name[NAME_SIZE], tailed[NAME_SIZE], again[NAME_SIZE], other[NAME_SIZE];
		instance_name(wished[i], "00ff", 0, name);
		assert_string_equal(name, first[i]);
		instance_name(wished[i], "00ff", 1, tailed);
		instance_name(wished[i], "00ff", 1, again);
		instance_name(wished[i], "00fe", 1, other);
		assert_true(name_is_plain(name) && name_is_plain(tailed));
		assert_string_equal(tailed, again);
		assert_string_not_equal(tailed, name);
		assert_string_not_equal(tailed, other);
	}
}

static void test_labels_hold_what_they_can_and_stay_apart(void **state)
{
	(void)state;
	char a[NAME_SIZE], b[NAME_SIZE];
	label_value("plain_name-1", a);
	assert_string_equal(a, "plain_name-1");
	label_value("", a);
	assert_string_equal(a, "");
	label_value("node.a", a);
	label_value("node-a", b);
	assert_string_equal(b, "node-a");
	assert_int_equal(strlen(a), strlen("node-a-") + 8);
	label_value("Node.a", b);
	assert_string_not_equal(a, b);
	char longest[200];
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	label_value(longest, a);
	assert_int_equal(strlen(a), 63);
}

static void test_request_ids_are_uuids_that_follow_from_their_words(void **state)
{
	(void)state;
	const char *const one[] = {"insert", "ab", "c", NULL}, *const two[] = {"insert", "a", "bc",
								       NULL};
	char a[UUID_SIZE], b[UUID_SIZE];
	assert_int_equal(request_uuid(one, a, NULL), 0);
	assert_int_equal(request_uuid(one, b, NULL), 0);
	assert_string_equal(a, b);
	assert_int_equal(strlen(a), 36);
	assert_int_equal(a[14], '8');
	assert_non_null(strchr("89ab", a[19]));
	assert_int_equal(request_uuid(two, b, NULL), 0);
	assert_string_not_equal(a, b);
}

static void test_times_are_read(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t when;
	} cases[] = {{"2026-03-15T03:15:30.123-07:00", 1773569730},
		{"2026-03-15T10:15:30Z", 1773569730}, {"2026-03-15T11:45:30+01:30", 1773569730},
		{"", 0}, {NULL, 0}, {"2026-03-15", 0}, {"2026-03-15T10:15:30", 0},
		{"2026-03-15T10:15:30+1:00x", 0}};
	for (size_t i = 0; i < array_size(cases); i++) {
		int64_t when = 0;
		assert_int_equal(time_read(cases[i].text, &when), cases[i].when != 0);
		assert_int_equal(when, cases[i].when);
	}
}

static void test_forms_and_queries_are_encoded(void **state)
{
	(void)state;
	cleanup(buf_free) struct buf form = BUF_INIT, url = BUF_INIT;
	form_add(&form, "a", "urn:x/y z");
	form_add(&form, "b", "1+2=~3");
	assert_string_equal(buf_text(&form), "a=urn%3Ax%2Fy%20z&b=1%2B2%3D~3");
	buf_append_text(&url, "instances");
	query_add(&url, "filter", "labels.a:*");
	query_add(&url, "maxResults", "5");
	assert_string_equal(buf_text(&url), "instances?filter=labels.a%3A%2A&maxResults=5");
}

/* ---- families ------------------------------------------------------------------------------------ */

static void test_families_that_can_be_confidential(void **state)
{
	(void)state;
	static const struct {
		const char *type;
		unsigned tees;
	} cases[] = {
		{"n2d-standard-2", CHOICE_TEE_SEV | CHOICE_TEE_SNP},
		{"n2d-custom-4-16384", CHOICE_TEE_SEV | CHOICE_TEE_SNP},
		{"c2d-highcpu-2", CHOICE_TEE_SEV},
		{"c3d-standard-4", CHOICE_TEE_SEV},
		{"c4d-standard-4", CHOICE_TEE_SEV},
		{"g4-standard-48", CHOICE_TEE_SEV},
		{"g4-standard-96", 0},
		{"c3-standard-4", CHOICE_TEE_TDX},
		{"c3-highcpu-4", 0},
		{"a3-highgpu-1g", CHOICE_TEE_TDX},
		{"a3-highgpu-8g", 0},
		{"e2-medium", 0},
		{"n2-standard-2", 0},
	};
	for (size_t i = 0; i < array_size(cases); i++)
		assert_int_equal(family_tees(cases[i].type), cases[i].tees);
	assert_string_equal(family_disk("c3-standard-4", "pd-standard"), "pd-balanced");
	assert_string_equal(family_disk("n4-standard-4", "pd-standard"), "hyperdisk-balanced");
	assert_string_equal(family_disk("n2d-standard-4", "pd-standard"), "pd-standard");
	assert_string_equal(family_disk("c3-standard-4", "pd-ssd"), "pd-ssd");
}

/* ---- assertions ---------------------------------------------------------------------------------- */

/* The header and claims of the worked example; the signature is checked with the public key. */
static const char vector_input[] =
	"eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6IjBmM2E5YzFlNzdiMjRkNWY4YTZlIn0."
	"eyJpc3MiOiJwZWVycG9kc0BkZW1vLXByb2ouaWFtLmdzZXJ2aWNlYWNjb3VudC5jb20iLCJzY29wZSI6Imh0dHBzOi8vd3d3Lmdvb2dsZWFw"
	"aXMuY29tL2F1dGgvY2xvdWQtcGxhdGZvcm0iLCJhdWQiOiJodHRwczovL29hdXRoMi5nb29nbGVhcGlzLmNvbS90b2tlbiIsImlhdCI6MTc3"
	"MzU2OTcyMCwiZXhwIjoxNzczNTczMzIwfQ";

static void test_assertions_equal_the_vector(void **state)
{
	(void)state;
	struct gcp_credentials c = {.key = EVP_RSA_gen(2048),
		.key_id = (char *)"0f3a9c1e77b24d5f8a6e",
		.email = (char *)"peerpods@demo-proj.iam.gserviceaccount.com",
		.token_url = (char *)"https://oauth2.googleapis.com/token"};
	cleanup(buf_free) struct buf jwt = BUF_INIT;
	unsigned char signature[256];
	size_t len = sizeof(signature);
	buf_append_text(&jwt, "assertion=");
	assert_int_equal(jwt_sign(&c, 1773569730, &jwt, NULL), 0);
	const char *text = buf_text(&jwt) + strlen("assertion=");
	assert_memory_equal(text, vector_input, sizeof(vector_input) - 1);
	assert_int_equal(text[sizeof(vector_input) - 1], '.');
	/* RS256 is deterministic: what OpenSSL signs is what must be there. */
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	assert_int_equal(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, c.key), 1);
	assert_int_equal(EVP_DigestSign(context, signature, &len,
				 (const unsigned char *)vector_input, sizeof(vector_input) - 1),
		1);
	EVP_MD_CTX_free(context);
	unsigned char encoded[512];
	int size = EVP_EncodeBlock(encoded, signature, (int)len);
	for (int i = 0; i < size; i++)
		encoded[i] = encoded[i] == '+' ? '-' : encoded[i] == '/' ? '_' : encoded[i];
	const char *theirs = text + sizeof(vector_input);
	assert_memory_equal(theirs, encoded, strlen(theirs));
	assert_int_equal(strlen(theirs), 342); /* 256 bytes, without padding */
	EVP_PKEY_free(c.key);
}

/* ---- credentials --------------------------------------------------------------------------------- */

static void test_credentials_that_cannot_be_used_are_told_without_showing_them(void **state)
{
	(void)state;
	static const struct {
		const char *text, *error;
	} cases[] = {
		{"", "C: this is no JSON object"},
		{"hunter2", "C: this is no JSON object"},
		{"  /etc/key.json",
			"C must be the JSON text itself; a path belongs into GOOGLE_APPLICATION_CREDENTIALS"},
		{"{\"type\":\"impersonated_service_account\"}",
			"C: the type \"impersonated_service_account\" is none of service_account, external_account, "
			"authorized_user"},
		{"{}", "C: \"type\" is missing"},
		{"{\"type\":\"service_account\",\"client_email\":\"e\"}",
			"C: \"private_key\" is missing"},
		{"{\"type\":\"service_account\",\"client_email\":\"e\",\"private_key\":\"hunter2\"}",
			"C: \"private_key\" is no private key in PEM form: take the file as Google gave it"},
		{"{\"type\":\"external_account\",\"audience\":\"a\",\"subject_token_type\":\"t\",\"token_url\":\"https://s\"}",
			"C: \"credential_source\" is missing"},
		{"{\"type\":\"external_account\",\"audience\":\"a\",\"subject_token_type\":\"t\",\"token_url\":\"http://s\","
		 "\"credential_source\":{\"file\":\"/f\"}}",
			"C: \"http://s\" must start with https:// (http:// is for this machine alone)"},
		{"{\"type\":\"external_account\",\"audience\":\"a\",\"subject_token_type\":\"t\",\"token_url\":\"https://s\","
		 "\"credential_source\":{\"environment_id\":\"aws1\"}}",
			"C: \"credential_source\" must have a \"file\" or a \"url\"; tokens of AWS, of programs and of "
			"certificates are not done here"},
		{"{\"type\":\"external_account\",\"audience\":\"a\",\"subject_token_type\":\"t\",\"token_url\":\"https://s\","
		 "\"credential_source\":{\"url\":\"http://169.254.169.254/x\",\"headers\":{\"A\":\"b\\r\\nC: d\"}}}",
			"C: \"credential_source\": \"headers\" holds what is no header"},
		{"{\"type\":\"external_account\",\"audience\":\"a\",\"subject_token_type\":\"t\",\"token_url\":\"https://s\","
		 "\"credential_source\":{\"file\":\"/f\",\"format\":{\"type\":\"json\"}}}",
			"C: \"subject_token_field_name\" is missing"},
		{"{\"type\":\"external_account\",\"audience\":\"a\",\"subject_token_type\":\"t\",\"token_url\":\"https://s\","
		 "\"credential_source\":{\"file\":\"/f\",\"format\":{\"type\":\"xml\"}}}",
			"C: \"credential_source\": the format is \"text\" or \"json\""},
		{"{\"type\":\"authorized_user\",\"client_id\":\"i\",\"client_secret\":\"s\"}",
			"C: \"refresh_token\" is missing"},
		{"{\"type\":\"authorized_user\",\"universe_domain\":\"a/b\"}",
			"C: \"universe_domain\" or \"quota_project_id\" is none"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_credentials c = {0};
		cleanup_error err = ERROR_INIT;
		assert_int_equal(credentials_read("C", cases[i].text, strlen(cases[i].text), &c,
					 &err),
			-1);
		assert_string_equal(error_message(&err), cases[i].error);
		assert_null(strstr(error_message(&err), "hunter2"));
		assert_null(c.universe);
	}
}

static void test_federations_are_read(void **state)
{
	(void)state;
	static const char text[] =
		"{\"type\":\"external_account\",\"audience\":\"//iam/x\",\"subject_token_type\":\"urn:jwt\",\"token_url\":"
		"\"https://sts.googleapis.com/v1/token\",\"service_account_impersonation_url\":\"https://iam/x\","
		"\"service_account_impersonation\":{\"token_lifetime_seconds\":1800},\"quota_project_id\":\"q\","
		"\"credential_source\":{\"url\":\"http://169.254.1.1/t\",\"headers\":{\"X-A\":\"b\"},"
		"\"format\":{\"type\":\"json\",\"subject_token_field_name\":\"f\"}}}";
	cleanup_credentials c = {0};
	cleanup_error err = ERROR_INIT;
	assert_int_equal(credentials_read("C", text, sizeof(text) - 1, &c, &err), 0);
	assert_int_equal(c.kind, CREDENTIALS_FEDERATED);
	assert_string_equal(c.universe, "googleapis.com");
	assert_string_equal(c.source_url, "http://169.254.1.1/t");
	assert_string_equal(c.source_headers[0], "X-A: b");
	assert_null(c.source_headers[1]);
	assert_string_equal(c.source_field, "f");
	assert_int_equal(c.lifetime_s, 1800);
	cleanup_secret token = SECRET_INIT;
	assert_int_equal(subject_token_read("t", " tok\n", 5, NULL, &token, NULL), 0);
	assert_string_equal(secret_reveal(&token), "tok");
	secret_free(&token);
	assert_int_equal(subject_token_read("t", "{\"f\":\"x\"}", 9, "f", &token, NULL), 0);
	assert_string_equal(secret_reveal(&token), "x");
	secret_free(&token);
	assert_int_equal(subject_token_read("t", "{\"f\":\"x\"}", 9, "g", &token, NULL), -1);
	assert_int_equal(subject_token_read("t", "two words", 9, NULL, &token, NULL), -1);
	assert_int_equal(subject_token_read("t", "\n", 1, NULL, &token, NULL), -1);
}

/* ---- options ------------------------------------------------------------------------------------- */

static const char *const plain_environment[][2] = {
	{"GCP_PROJECT_ID", "p-1"},
	{"GCP_ZONE", "us-central1-a"},
	{"PODVM_IMAGE_NAME", "podvm-1"},
	{"GCP_NETWORK", "default"},
	{"GCP_CONFIDENTIAL_TYPE", "SEV_SNP"},
};
static const char *const *changed;

static const char *environment(const char *name)
{
	if (changed && !strcmp(changed[0], name))
		return changed[1];
	for (size_t i = 0; i < array_size(plain_environment); i++) {
		if (!strcmp(plain_environment[i][0], name))
			return plain_environment[i][1];
	}
	return NULL;
}

static int parse(struct gcp_options *o, struct error *err)
{
	struct option_set set = {"Options", gcp_option_table, GCP_OPTION_COUNT, o};
	bool help;
	return options_parse(&set, 1, 0, NULL, environment, &help, err);
}

static void drop(struct gcp_options *o)
{
	struct option_set set = {"Options", gcp_option_table, GCP_OPTION_COUNT, o};
	options_free(&set, 1);
}

static void test_upstreams_options_have_their_names_and_defaults(void **state)
{
	(void)state;
	static const char *const upstream[][3] = {
		{"gcp-credentials", "GCP_CREDENTIALS", ""},
		{"gcp-project-id", "GCP_PROJECT_ID", ""},
		{"zone", "GCP_ZONE", ""},
		{"image-name", "PODVM_IMAGE_NAME", ""},
		{"machine-type", "GCP_MACHINE_TYPE", "e2-medium"},
		{"machine-types", "GCP_INSTANCE_TYPES", ""},
		{"network", "GCP_NETWORK", ""},
		{"subnetwork", "GCP_SUBNETWORK", ""},
		{"disk-type", "GCP_DISK_TYPE", "pd-standard"},
		{"disable-cvm", "DISABLECVM", "false"},
		{"confidential-type", "GCP_CONFIDENTIAL_TYPE", ""},
		{"root-volume-size", "ROOT_VOLUME_SIZE", "10"},
		{"use-public-ip", "USE_PUBLIC_IP", "false"},
		{"tags", "TAGS", ""},
	};
	for (size_t i = 0; i < array_size(upstream); i++) {
		assert_string_equal(gcp_option_table[i].name, upstream[i][0]);
		assert_string_equal(gcp_option_table[i].env, upstream[i][1]);
		assert_string_equal(gcp_option_table[i].def, upstream[i][2]);
	}
}

static void test_wrong_options_are_named(void **state)
{
	(void)state;
	static const char *const cases[][3] = {
		{"GCP_CONFIDENTIAL_TYPE", "",
			"GCP_CONFIDENTIAL_TYPE is not set: TDX, SEV or SEV_SNP, or set "
			"DISABLECVM=true for ordinary VMs"},
		{"GCP_CONFIDENTIAL_TYPE", "SNP", "GCP_CONFIDENTIAL_TYPE"},
		{"PODVM_IMAGE_NAME", "", "PODVM_IMAGE_NAME"},
		{"PODVM_IMAGE_NAME", "a b", "PODVM_IMAGE_NAME: image \"a b\": holds characters"},
		{"GCP_PROJECT_ID", "a/b", "GCP_PROJECT_ID: \"a/b\" is no project id"},
		{"GCP_ZONE", "us-central1-a,europe",
			"GCP_ZONE: \"europe\" is no zone: they look like us-central1-a"},
		{"GCP_ZONE", ",", "GCP_ZONE: \",\" names no zone"},
		{"GCP_SUBNETWORK", "regions/europe-west1/subnetworks/s",
			"GCP_SUBNETWORK: \"regions/europe-west1/subnetworks/s\" is not in the region of zone "
			"us-central1-a"},
		{"GCP_SUBNETWORK", "a?b", "GCP_SUBNETWORK: \"a?b\" "},
		{"GCP_MACHINE_TYPE", "c3-standard-4",
			"GCP_MACHINE_TYPE: c3-standard-4 cannot be a confidential VM of type SEV_SNP: use n2d types "
			"(n2d-standard-2), or set DISABLECVM=true"},
		{"GCP_MACHINE_TYPE", "n2d/x", "GCP_MACHINE_TYPE: \"n2d/x\""},
		{"GCP_INSTANCE_TYPES", "e2-medium,c3-standard-4",
			"GCP_INSTANCE_TYPES: e2-medium,c3-standard-4 cannot be a confidential VM"},
		{"GCP_INSTANCE_TYPES", "n2d x", "GCP_INSTANCE_TYPES: \"n2d x\" is no machine type"},
		{"GCP_NETWORK_TAGS", "ok,Not", "GCP_NETWORK_TAGS: \"Not\""},
		{"GCP_LABELS", "peerpod-x=1",
			"GCP_LABELS: \"peerpod-x\" is set by the driver itself"},
		{"GCP_LABELS", "A=1", "GCP_LABELS: \"A\": a key starts with a letter"},
		{"GCP_LABELS", "a=B", "GCP_LABELS: \"B\": a value has at most 63"},
		{"GCP_LABELS", "a", "GCP_LABELS: \"a\" is not of the form key=value"},
		{"TAGS", "a", "TAGS: \"a\" is not of the form key=value"},
		{"TAGS", "a=", "TAGS: a tag has a key and a value"},
		{"TAGS", "tagKeys/1=x", "TAGS: \"tagKeys/1=x\": names and ids cannot be mixed"},
		{"GCP_SECOND_SUBNETWORK", "s", "GCP_SECOND_SUBNETWORK needs GCP_SECOND_NETWORK"},
		{"GCP_VTPM", "false", "GCP_VTPM=false needs GCP_INTEGRITY_MONITORING=false"},
		{"GCP_MAX_RUN", "5s", "GCP_MAX_RUN: at least 30s, or 0"},
		{"GCP_COMPUTE_ENDPOINT", "http://example.com",
			"GCP_COMPUTE_ENDPOINT: \"http://example.com\" must start with https://"},
		{"GCP_RESOURCE_MANAGER_ENDPOINT", "http://localhost.example.com",
			"GCP_RESOURCE_MANAGER_ENDPOINT: "},
		{"ROOT_VOLUME_SIZE", "many", "ROOT_VOLUME_SIZE"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		struct gcp_options o = {0};
		changed = NULL;
		assert_int_equal(parse(&o, &err), 0);
		assert_int_equal(gcp_options_check(&o, &err), 0);
		drop(&o);
		changed = cases[i];
		o = (struct gcp_options){0};
		int result = parse(&o, &err);
		if (result == 0) {
			result = gcp_options_check(&o, &err);
			drop(&o);
		}
		assert_int_equal(result, -1);
		assert_int_equal(err.kind, ERROR_INVALID);
		assert_contains(error_message(&err), cases[i][2]);
	}
	changed = NULL;
}

static void test_requests_that_cannot_be_made_are_refused(void **state)
{
	(void)state;
	static const struct instance_volume bad_path = {"a b", ""}, bad_name = {"data", "a/b"};
	static const struct {
		const char *token, *type;
		size_t user_data_len;
		bool second_nic;
		const struct instance_volume *volume;
		const char *error;
	} cases[] = {
		{"00ff", "", 196608, false, NULL, NULL},
		{"x&y", "", 1, false, NULL,
			"the creation token must have 1 to 63 hexadecimal digits"},
		{"", "", 1, false, NULL, "the creation token must have 1 to 63 hexadecimal digits"},
		{"00ff", "", 196609, false, NULL,
			"the user data has 196609 bytes, 1 more than the 196608 that Compute Engine takes (256 KiB as "
			"base64): shorten the initdata"},
		{"00ff", "", 1, true, NULL, "set GCP_SECOND_NETWORK"},
		{"00ff", "a/b", 1, false, NULL, "\"a/b\" is no machine type"},
		{"00ff", "", 1, false, &bad_path, "volume \"a b\" is neither a disk's name nor"},
		{"00ff", "", 1, false, &bad_name, "volume data: \"a/b\" is no device name"},
	};
	struct gcp_options o = {0};
	assert_int_equal(parse(&o, NULL), 0);
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		const struct instance_request r = {.token = cases[i].token,
			.instance_type = cases[i].type,
			.user_data_len = cases[i].user_data_len,
			.second_nic = cases[i].second_nic,
			.volumes = cases[i].volume,
			.volume_count = cases[i].volume ? 1 : 0};
		assert_int_equal(insert_check(&o, &r, &err), cases[i].error ? -1 : 0);
		if (cases[i].error)
			assert_contains(error_message(&err), cases[i].error);
	}
	drop(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_images_by_every_form_of_their_names),
		cmocka_unit_test(test_networks_subnetworks_and_disks_by_every_form_of_their_names),
		cmocka_unit_test(test_instance_names_are_what_compute_engine_takes),
		cmocka_unit_test(test_labels_hold_what_they_can_and_stay_apart),
		cmocka_unit_test(test_request_ids_are_uuids_that_follow_from_their_words),
		cmocka_unit_test(test_times_are_read),
		cmocka_unit_test(test_forms_and_queries_are_encoded),
		cmocka_unit_test(test_families_that_can_be_confidential),
		cmocka_unit_test(test_assertions_equal_the_vector),
		cmocka_unit_test(
			test_credentials_that_cannot_be_used_are_told_without_showing_them),
		cmocka_unit_test(test_federations_are_read),
		cmocka_unit_test(test_upstreams_options_have_their_names_and_defaults),
		cmocka_unit_test(test_wrong_options_are_named),
		cmocka_unit_test(test_requests_that_cannot_be_made_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
