/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - see options.h */
#include "providers/aws/options.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "providers/aws/endpoint.h"
#include "providers/aws/tags.h"
#include "providers/choice/catalogue_file.h"

static const char *const spot_choices[] = {"false", "true", "prefer", NULL};
static const char *const volume_types[] = {"", "gp2", "gp3", "io1", "io2", "standard", NULL};

/* STS: RoleSessionName */
#define SESSION_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-"

#define AT(member) offsetof(struct aws_options, member)

const struct option aws_option_table[AWS_OPTION_COUNT] = {
	{"aws-access-key-id", "AWS_ACCESS_KEY_ID", "", "access key id", AT(access_key_id),
		OPTION_SECRET},
	{"aws-secret-key", "AWS_SECRET_ACCESS_KEY", "", "its secret key", AT(secret_key),
		OPTION_SECRET},
	{"aws-session-token", "AWS_SESSION_TOKEN", "", "session token of a temporary key pair",
		AT(session_token), OPTION_SECRET},
	{"aws-region", "AWS_REGION", "", "region; empty: the profile's, else that of this instance",
		AT(region), OPTION_STRING},
	{"aws-profile", NULL, "", "profile of the shared credentials and config files", AT(profile),
		OPTION_STRING},
	{"instance-type", "PODVM_INSTANCE_TYPE", "m6a.large",
		"instance type where the pod asks for nothing", AT(instance_type), OPTION_STRING,
		.required = true},
	{"instance-types", "PODVM_INSTANCE_TYPES", "",
		"instance types that may be used, comma-separated; empty: the default one only",
		AT(instance_types), OPTION_STRING},
	{"imageid", "PODVM_AMI_ID", "", "AMI of the pod VMs", AT(image), OPTION_STRING},
	{"keyname", "SSH_KP_NAME", "", "key pair for ssh; empty: that of this instance, if any",
		AT(key_name), OPTION_STRING},
	{"subnetid", "AWS_SUBNET_ID", "",
		"subnet; several, comma-separated: where one has no capacity the next is tried; empty: that of "
		"this instance",
		AT(subnet), OPTION_STRING},
	{"securitygroupids", "AWS_SG_IDS", "",
		"security groups, comma-separated; empty: those of this instance",
		AT(security_groups), OPTION_STRING},
	{"use-lt", "USE_PODVM_LAUNCHTEMPLATE", "false", "launch by a launch template",
		AT(use_launch_template), OPTION_BOOL},
	{"aws-lt-name", "PODVM_LAUNCHTEMPLATE_NAME", "kata", "its name", AT(launch_template),
		OPTION_STRING},
	{"use-public-ip", "USE_PUBLIC_IP", "false", "reach the pod VMs on public addresses",
		AT(use_public_ip), OPTION_BOOL},
	{"root-volume-size", "ROOT_VOLUME_SIZE", "30",
		"GiB of the root volume, at least the AMI's; 0: as the AMI says",
		AT(root_volume_gib), OPTION_INT, .min = 0, .max = 65536},
	{"disable-cvm", "DISABLECVM", "false", "no AMD SEV-SNP unless the pod asks for it",
		AT(disable_cvm), OPTION_BOOL},
	{"tags", "TAGS", "", "tags of all that is made: k=v,k2=v2", AT(tags), OPTION_STRING},

	{NULL, "AWS_ACCESS_KEY", "", "older name of AWS_ACCESS_KEY_ID", AT(access_key_old),
		OPTION_SECRET},
	{NULL, "AWS_SECRET_KEY", "", "older name of AWS_SECRET_ACCESS_KEY", AT(secret_key_old),
		OPTION_SECRET},
	{NULL, "AWS_ROLE_ARN", "", "role to take with the web identity token", AT(role_arn),
		OPTION_STRING},
	{NULL, "AWS_WEB_IDENTITY_TOKEN_FILE", "", "file with the web identity token",
		AT(token_file), OPTION_STRING},
	{NULL, "AWS_ROLE_SESSION_NAME", "", "name of the session; empty: peerpods-<host name>",
		AT(role_session), OPTION_STRING},
	{NULL, "AWS_DEFAULT_REGION", "", "region where AWS_REGION is not set", AT(default_region),
		OPTION_STRING},
	{NULL, "AWS_PROFILE", "", "profile where -aws-profile is not given", AT(default_profile),
		OPTION_STRING},
	{NULL, "AWS_SHARED_CREDENTIALS_FILE", "", "empty: ~/.aws/credentials", AT(credentials_file),
		OPTION_STRING},
	{NULL, "AWS_CONFIG_FILE", "", "empty: ~/.aws/config", AT(config_file), OPTION_STRING},
	{NULL, "AWS_CA_BUNDLE", "", "certificates to trust; empty: the system's", AT(ca_bundle),
		OPTION_STRING},
	{NULL, "AWS_ENDPOINT_URL", "", "URL of EC2 and STS instead of Amazon's", AT(endpoint),
		OPTION_STRING},
	{NULL, "AWS_ENDPOINT_URL_EC2", "", "URL of EC2 alone", AT(endpoint_ec2), OPTION_STRING},
	{NULL, "AWS_ENDPOINT_URL_STS", "", "URL of STS alone", AT(endpoint_sts), OPTION_STRING},
	{NULL, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false", "the three before have no effect",
		AT(ignore_endpoints), OPTION_BOOL},
	{NULL, "AWS_EC2_METADATA_DISABLED", "false", "never ask the instance metadata service",
		AT(imds_disabled), OPTION_BOOL},
	{NULL, "AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254",
		"URL of the instance metadata service", AT(imds_endpoint), OPTION_STRING},
	{NULL, "AWS_CONTAINER_CREDENTIALS_FULL_URI", "",
		"URL that gives credentials (EKS Pod Identity)", AT(container_full), OPTION_STRING},
	{NULL, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "",
		"the same, a path on http://169.254.170.2", AT(container_relative), OPTION_STRING},
	{NULL, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "", "file with the token for that URL",
		AT(container_token_file), OPTION_STRING},
	{NULL, "AWS_CONTAINER_AUTHORIZATION_TOKEN", "", "the token itself", AT(container_token),
		OPTION_SECRET},
	{NULL, "AWS_MAX_ATTEMPTS", "5", "tries of a call that fails in passing", AT(attempts_max),
		OPTION_INT, .min = 1, .max = 100},
	{NULL, "AWS_USE_FIPS_ENDPOINT", "false", "use the FIPS endpoints", AT(use_fips),
		OPTION_BOOL},
	{NULL, "AWS_USE_DUALSTACK_ENDPOINT", "false", "use the IPv4 and IPv6 endpoints",
		AT(use_dualstack), OPTION_BOOL},

	{"root-volume-type", "AWS_ROOT_VOLUME_TYPE", "",
		"type of the root volume; empty: as the AMI says", AT(root_volume_type),
		OPTION_ENUM, .choices = volume_types},
	{"root-volume-encrypted", "AWS_ROOT_VOLUME_ENCRYPTED", "false", "encrypt the root volume",
		AT(root_volume_encrypted), OPTION_BOOL},
	{"root-volume-kms-key", "AWS_ROOT_VOLUME_KMS_KEY", "",
		"KMS key of the root volume; empty: the account's default", AT(kms_key),
		OPTION_STRING},
	{"spot", "AWS_SPOT", "false",
		"spot instances, cheaper and taken away at any time, for pods that do not say; prefer: on-demand where "
		"there is no spot capacity",
		AT(spot), OPTION_ENUM, .choices = spot_choices},
	{"imdsv2-only", "AWS_IMDSV2_ONLY", "false",
		"pod VMs' metadata by IMDSv2 and one hop only; images must know it",
		AT(imdsv2_only), OPTION_BOOL},
	{"instance-profile", "AWS_INSTANCE_PROFILE", "",
		"instance profile of the pod VMs, a name or an ARN; empty: none",
		AT(instance_profile), OPTION_STRING},
	{"prices", "AWS_PRICES", "",
		"file with prices instead of the one that comes with the driver", AT(prices),
		OPTION_STRING},
	{"catalogue-folder", "AWS_CATALOGUE_FOLDER", CATALOGUE_FOLDER,
		"where instance types are remembered for when EC2 cannot be asked; empty: nowhere",
		AT(catalogue_folder), OPTION_STRING},
};

int tags_next(const char **text, char **key, char **value, struct error *err)
{
	cleanup(free_ptr) char *k = NULL, *v = NULL;
	int more = pairs_next("TAGS", text, &k, &v, err);
	if (more <= 0)
		return more;
	if (!*k || strlen(k) > TAG_KEY_MAX || strlen(v) > TAG_VALUE_MAX)
		return error_set(err, ERROR_INVALID,
			"TAGS: \"%s\": a key has 1 to %d characters, a value at most %d", k,
			TAG_KEY_MAX, TAG_VALUE_MAX);
	if (!strncasecmp(k, "aws:", 4))
		return error_set(err, ERROR_INVALID,
			"TAGS: \"%s\": keys that start with aws: are Amazon's", k);
	if (!strcmp(k, "Name") || !strncmp(k, TAG_PREFIX, strlen(TAG_PREFIX)))
		return error_set(err, ERROR_INVALID,
			"TAGS: \"%s\" is set by the driver itself: choose another key", k);
	*key = take_ptr(k);
	*value = take_ptr(v);
	return 1;
}

/* "<prefix>-<hex digits>", or a list of such. */
static int ids_check(const char *text, const char *prefix, const char *variable, struct error *err)
{
	char **list = list_split(text);
	int result = list ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
	for (char **p = list; result == 0 && *p; p++) {
		size_t len = strlen(prefix);
		if (strncmp(*p, prefix, len) || !(*p)[len] ||
			strspn(*p + len, "0123456789abcdef") != strlen(*p + len))
			result = error_set(err, ERROR_INVALID,
				"%s: \"%s\" is not of the form %s0123456789abcdef0", variable, *p,
				prefix);
	}
	list_free(list);
	return result;
}

static int url_check(const char *url, const char *variable, struct error *err)
{
	if (!*url || !strncmp(url, "https://", 8) || !strncmp(url, "http://", 7))
		return 0;
	return error_set(err, ERROR_INVALID, "%s: \"%s\" must start with https:// or http://",
		variable, url);
}

/* The region becomes part of a host name. */
static int region_check(const char *region, const char *variable, struct error *err)
{
	if (strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(region) &&
		strlen(region) < 64)
		return 0;
	return error_set(err, ERROR_INVALID, "%s: \"%s\" is no region: they look like us-east-2",
		variable, region);
}

int aws_options_check(const struct aws_options *o, struct error *err)
{
	if (secret_is_empty(&o->access_key_id) != secret_is_empty(&o->secret_key))
		return error_set(err, ERROR_INVALID,
			"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: one is set and the other is not");
	if (*o->token_file && !*o->role_arn)
		return error_set(err, ERROR_INVALID,
			"AWS_WEB_IDENTITY_TOKEN_FILE needs AWS_ROLE_ARN");
	if (region_check(o->region, "AWS_REGION", err) < 0 ||
		region_check(o->default_region, "AWS_DEFAULT_REGION", err) < 0 ||
		url_check(o->endpoint, "AWS_ENDPOINT_URL", err) < 0 ||
		url_check(o->endpoint_ec2, "AWS_ENDPOINT_URL_EC2", err) < 0 ||
		url_check(o->endpoint_sts, "AWS_ENDPOINT_URL_STS", err) < 0 ||
		url_check(o->imds_endpoint, "AWS_EC2_METADATA_SERVICE_ENDPOINT", err) < 0 ||
		url_check(o->container_full, "AWS_CONTAINER_CREDENTIALS_FULL_URI", err) < 0)
		return -1;
	struct endpoint endpoint;
	if (endpoint_make(o, "ec2", "", &endpoint, err) < 0 ||
		endpoint_make(o, "sts", "", &endpoint, err) < 0)
		return -1;
	if (*o->container_relative && *o->container_relative != '/')
		return error_set(err, ERROR_INVALID,
			"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: \"%s\" must start with /",
			o->container_relative);
	if (!*o->image && !o->use_launch_template)
		return error_set(err, ERROR_INVALID,
			"PODVM_AMI_ID (-imageid) is not set: name the AMI of the pod VMs, or set "
			"USE_PODVM_LAUNCHTEMPLATE");
	if (o->use_launch_template && !*o->launch_template)
		return error_set(err, ERROR_INVALID,
			"USE_PODVM_LAUNCHTEMPLATE needs PODVM_LAUNCHTEMPLATE_NAME");
	if (ids_check(o->image, "ami-", "PODVM_AMI_ID", err) < 0 ||
		ids_check(o->subnet, "subnet-", "AWS_SUBNET_ID", err) < 0 ||
		ids_check(o->security_groups, "sg-", "AWS_SG_IDS", err) < 0)
		return -1;
	size_t session = strlen(o->role_session);
	if (session && (session < 2 || session > 64 ||
			       strspn(o->role_session, SESSION_LETTERS) != session))
		return error_set(err, ERROR_INVALID,
			"AWS_ROLE_SESSION_NAME: \"%.80s\" must have 2 to 64 letters, digits and _+=,.@-",
			o->role_session);
	if (*o->kms_key && !o->root_volume_encrypted)
		return error_set(err, ERROR_INVALID,
			"AWS_ROOT_VOLUME_KMS_KEY needs AWS_ROOT_VOLUME_ENCRYPTED");
	return pairs_check("TAGS", o->tags, tags_next, TAGS_OF_OPERATOR_MAX, "tags", err);
}
