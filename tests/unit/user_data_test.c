/* SPDX-License-Identifier: Apache-2.0 */
/* user_data_test.c - which source of user data a machine has; tests/integration has the fetching */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "../../podvm-image/process-user-data/imds.h"
#include "base/file.h"

static bool answer_probe(const struct cloud *cloud, void *context)
{
	assert_string_equal(cloud->name, "GCP");
	return *(bool *)context;
}

static void test_first_source_that_fits_wins(void **state)
{
	(void)state;
	static const char azure_tag[] = "7783-7084-3265-9085-8269-3286-77";
	static const struct {
		const char *expected; /* NULL: none */
		bool probe_answers;
		struct machine machine;
	} cases[] = {
		{NULL, true, {0}},
		{"file /media/cidata/user-data", true, {.has_file = true}},
		{"file /media/cidata/user-data", true, {.has_file = true, .vendor = "Amazon EC2"}},
		{"Azure", true, {.hypervisor = "Microsoft Hv"}},
		{"Azure", true, {.asset_tag = "7783-7084-3265-9085-8269-3286-77"}},
		{"Azure", true, {.hypervisor = "Microsoft Hv", .vendor = "Amazon EC2"}},
		{"AWS", true, {.vendor = "Amazon EC2"}},
		{"AWS", true, {.vendor = "Amazon EC2", .hypervisor = "KVMKVMKVM"}},
		{NULL, true, {.vendor = "Amazon EC2 "}},
		{"GCP", true, {.hypervisor = "KVMKVMKVM"}},
		{NULL, false, {.hypervisor = "KVMKVMKVM"}},
		{"GCP", false, {.product = "Google Compute Engine"}},
		{"GCP", true, {.hypervisor = "KVMKVMKVM", .vendor = "Alibaba Cloud"}},
		{"Alibaba Cloud", false, {.hypervisor = "KVMKVMKVM", .vendor = "Alibaba Cloud"}},
		{"Alibaba Cloud", true, {.vendor = "Alibaba Cloud"}},
		{NULL, true, {.vendor = "QEMU", .product = "Standard PC"}},
	};
	assert_string_equal(cases[4].machine.asset_tag, azure_tag);
	for (size_t i = 0; i < array_size(cases); i++) {
		bool answers = cases[i].probe_answers;
		const struct source *source =
			source_find(&cases[i].machine, answer_probe, &answers);
		assert_int_equal(source != NULL, cases[i].expected != NULL);
		if (source)
			assert_string_equal(source->name, cases[i].expected);
	}
}

static void put(const char *root, const char *path, const char *text)
{
	cleanup(free_ptr) char *full = NULL;
	assert_true(asprintf(&full, "%s%s", root, path) > 0);
	char *slash = strrchr(full, '/');
	*slash = 0;
	assert_int_equal(dir_make(full, 0755, NULL), 0);
	*slash = '/';
	assert_int_equal(file_write(full, 0644, text, strlen(text), NULL), 0);
}

static void test_machine_is_read_from_its_root(void **state)
{
	(void)state;
	char root[] = "/tmp/user_data_test.XXXXXX";
	assert_non_null(mkdtemp(root));
	struct machine machine;
	machine_read(root, &machine);
	assert_false(machine.has_file);
	assert_string_equal(machine.vendor, "");
	assert_string_equal(machine.hypervisor, "");
	put(root, "/sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
	put(root, "/sys/class/dmi/id/product_name",
		"a name that is longer than any that this program could be interested in, ever\n");
	put(root, "/media/cidata/user-data", "");
	machine_read(root, &machine);
	assert_true(machine.has_file);
	assert_string_equal(machine.vendor, "Amazon EC2");
	assert_string_equal(machine.product, "");
	static const char *const made[] = {"sys/class/dmi/id/sys_vendor",
		"sys/class/dmi/id/product_name", "media/cidata/user-data", "sys/class/dmi/id",
		"sys/class/dmi", "sys/class", "sys", "media/cidata", "media", ""};
	for (size_t i = 0; i < array_size(made); i++) {
		cleanup(free_ptr) char *path = NULL;
		assert_true(asprintf(&path, "%s/%s", root, made[i]) > 0);
		assert_int_equal(remove(path), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_source_that_fits_wins),
		cmocka_unit_test(test_machine_is_read_from_its_root),
	};
	return cmocka_run_group_tests_name("user data", tests, NULL, NULL);
}
