/* SPDX-License-Identifier: Apache-2.0 */
/*
 * choice_test.c - the choice of an instance type: upstream's failing example, the rules one by one, and 10,000
 * generated requests against an oracle that is written another way
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/bound.h"
#include "providers/choice/choice.h"

/* The example on which a bisection over (memory, vCPU) finds nothing or the wrong type. */
static const struct offering upstream_example[] = {
	{"t3.large", "t3", "a", false, 2, 8192, 0, 0, 3, 27, 83200},
	{"r5.large", "r5", "a", false, 2, 16384, 0, 0, 3, 27, 126000},
	{"m5.xlarge", "m5", "a", false, 4, 16384, 0, 0, 4, 27, 192000},
	{"c5.2xlarge", "c5", "a", false, 8, 16384, 0, 0, 4, 27, 340000},
	{"r5.xlarge", "r5", "a", false, 4, 32768, 0, 0, 4, 27, 252000},
};
static const char *const example_types[] = {"t3.large", "r5.large", "m5.xlarge", "c5.2xlarge",
	"r5.xlarge", NULL};

static void test_upstream_example_gives_c5_2xlarge(void **state)
{
	(void)state;
	struct choice_request request = {.vcpus = 8,
		.memory_mib = 16384,
		.allowed = example_types,
		.default_type = "t3.large"};
	struct choice choice;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(choice_rank(upstream_example, 5, &request, NULL, &choice, &err), 0);
	assert_int_equal(choice.fits, 1);
	assert_string_equal(choice.ranked[0].offering->type, "c5.2xlarge");
	cleanup(buf_free) struct buf text = BUF_INIT;
	choice_explain(&choice, 1, &text);
	assert_string_equal(buf_text(&text),
		"   1.  c5.2xlarge  a  on-demand  8 vCPU  16 GiB  0.3400/h\n"
		"left out, the nearest first:\n"
		"    -  m5.xlarge   a  on-demand  4 vCPU  16 GiB  0.1920/h  4 vCPU, 8 needed\n"
		"    and 3 more\n");
	choice_free(&choice);
}

static void test_each_rule_gives_its_reason(void **state)
{
	(void)state;
	static const struct offering one[] = {
		{"big", "b", "z1", false, 8, 32768, 0, CHOICE_TEE_SNP, 2, 1, 5},
	};
	static const char *const all[] = {"big", NULL}, *const other[] = {"small", NULL},
				 *const zone2[] = {"z2", NULL};
	static const struct {
		struct choice_request request;
		const char *reason;
	} cases[] = {
		{{.vcpus = 1, .memory_mib = 1, .allowed = all}, NULL},
		{{.type = "big", .vcpus = 99, .memory_mib = 1, .allowed = all}, NULL},
		{{.default_type = "big"}, NULL},
		{{.type = "huge", .allowed = all}, "type huge was asked for"},
		{{.vcpus = 1, .memory_mib = 1, .allowed = other},
			"not in the list of allowed types"},
		{{.vcpus = 1, .memory_mib = 1, .default_type = "small"},
			"only the default type is allowed"},
		{{.vcpus = 9, .memory_mib = 1, .allowed = all}, "8 vCPU, 9 needed"},
		{{.vcpus = 1, .memory_mib = 40000, .allowed = all}, "32768 MiB, 40000 needed"},
		{{.gpus = 1, .allowed = all}, "0 GPU, 1 needed"},
		{{.type = "big", .allowed = all, .zones = zone2},
			"zone z1 is not among the zones to use"},
		{{.type = "big", .allowed = all, .spot = true}, "on-demand is not wanted"},
		{{.type = "big", .allowed = all, .tees = CHOICE_TEE_TDX},
			"cannot make a confidential VM of the kind asked for"},
		{{.type = "big", .allowed = all, .nics = 3}, "takes 2 NICs, 3 needed"},
		{{.type = "big", .allowed = all, .volumes = 2}, "takes 1 volumes, 2 needed"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		struct choice choice;
		cleanup_error err = ERROR_INIT;
		int result = choice_rank(one, 1, &cases[i].request, NULL, &choice, &err);
		assert_int_equal(result, cases[i].reason ? -1 : 0);
		if (cases[i].reason)
			assert_string_equal(choice.ranked[0].reason, cases[i].reason);
		else
			assert_null(choice.ranked[0].reason);
		choice_free(&choice);
	}
	struct choice choice;
	cleanup_error err = ERROR_INIT;
	struct choice_request nothing = {.vcpus = 4, .allowed = all};
	assert_int_equal(choice_rank(one, 1, &nothing, NULL, &choice, &err), -1);
	assert_string_equal(error_message(&err),
		"neither a type nor both vCPUs and memory are asked for, and there is no default type");
	choice_free(&choice);
}

static void test_all_that_is_against_a_type_is_said(void **state)
{
	(void)state;
	static const struct offering one[] = {{"g", "g", "z1", true, 2, 8192, 1, 0, 0, 0, 0}};
	static const char *const other[] = {"h", NULL};
	struct choice_request request = {.vcpus = 4,
		.memory_mib = 16384,
		.tees = CHOICE_TEE_TDX,
		.allowed = other};
	struct choice choice;
	assert_int_equal(choice_rank(one, 1, &request, NULL, &choice, NULL), -1);
	assert_string_equal(choice.ranked[0].reason,
		"not in the list of allowed types; spot is not wanted; 2 vCPU, 4 needed; "
		"8192 MiB, 16384 needed; has GPUs, none needed; "
		"cannot make a confidential VM of the kind asked for");
	assert_int_equal(choice.ranked[0].broken, 4);
	assert_int_equal(choice.ranked[0].shortfall, 1000);
	choice_free(&choice);
}

static void test_the_nearest_misses_come_first(void **state)
{
	(void)state;
	static const struct offering list[] = {
		{"tiny", "f", "", false, 1, 1024, 0, 0, 0, 0, 1},
		{"half", "f", "", false, 4, 16384, 0, 0, 0, 0, 900},
		{"nearly", "f", "", false, 7, 16384, 0, 0, 0, 0, 950},
		{"spot-too", "f", "", true, 8, 16384, 0, 0, 0, 0,
			300}, /* one rule, nothing missing */
		{"half-spot", "f", "", true, 4, 16384, 0, 0, 0, 0, 200}, /* two rules */
		{"unpriced", "f", "", true, 8, 16384, 0, 0, 0, 0, 0},
	};
	static const char *const order[] = {"spot-too", "unpriced", "nearly", "half", "tiny",
		"half-spot"};
	struct choice_request request = {.vcpus = 8, .memory_mib = 16384, .any_type = true};
	struct choice choice;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(choice_rank(list, array_size(list), &request, NULL, &choice, &err), -1);
	for (size_t i = 0; i < array_size(order); i++)
		assert_string_equal(choice.ranked[i].offering->type, order[i]);
	assert_string_equal(error_message(&err),
		"no instance type fits:\n"
		"left out, the nearest first:\n"
		"    -  spot-too  spot       8 vCPU  16 GiB       0.0003/h  spot is not wanted\n"
		"    -  unpriced  spot       8 vCPU  16 GiB  price unknown  spot is not wanted\n"
		"    -  nearly    on-demand  7 vCPU  16 GiB      0.00095/h  7 vCPU, 8 needed\n"
		"    and 3 more\n");
	choice_free(&choice);
}

static void test_what_a_driver_finds_against_a_type_is_a_rule(void **state)
{
	(void)state;
	static const struct offering list[] = {
		{.type = "arm",
			.family = "f",
			.zone = "",
			.vcpus = 2,
			.memory_mib = 4096,
			.price_micros = 1,
			.unfit = "the image is for another architecture"},
		{.type = "typo", .family = "f", .zone = "", .unfit = "there is no such type"},
		{.type = "other",
			.family = "f",
			.zone = "",
			.vcpus = 2,
			.memory_mib = 4096,
			.price_micros = 1},
		{.type = "good",
			.family = "f",
			.zone = "",
			.vcpus = 2,
			.memory_mib = 4096,
			.price_micros = 9},
	};
	static const char *const named[] = {"arm", "typo", "good", NULL};
	struct choice_request request = {.vcpus = 2, .memory_mib = 4096, .allowed = named};
	struct choice choice;
	cleanup(buf_free) struct buf text = BUF_INIT;
	assert_int_equal(choice_rank(list, array_size(list), &request, NULL, &choice, NULL), 0);
	choice_explain(&choice, 0, &text);
	assert_string_equal(buf_text(&text),
		"   1.  good   on-demand  2 vCPU  4 GiB     0.000009/h\n"
		"left out, the nearest first:\n"
		"    -  arm    on-demand  2 vCPU  4 GiB     0.000001/h  the image is for another "
		"architecture\n"
		"    -  typo   on-demand                 price unknown  there is no such type\n"
		"    -  other  on-demand  2 vCPU  4 GiB     0.000001/h  not in the list of allowed "
		"types\n");
	choice_free(&choice);
}

static void test_a_line_of_any_zone_and_some_says_so(void **state)
{
	(void)state;
	static const struct offering list[] = {
		{"a", "f", "", false, 2, 4096, 0, 0, 0, 0, 5},
		{"a", "f", "1", false, 2, 4096, 0, 0, 0, 0, 5},
		{"b", "f", "", false, 2, 4096, 0, 0, 0, 0, 6},
	};
	struct choice_request request = {.vcpus = 2, .any_type = true};
	struct choice choice;
	cleanup(buf_free) struct buf text = BUF_INIT;
	assert_int_equal(choice_rank(list, array_size(list), &request, NULL, &choice, NULL), 0);
	choice_explain(&choice, 0, &text);
	assert_string_equal(buf_text(&text),
		"   1.  a  any, 1  on-demand  2 vCPU  4 GiB  0.000005/h\n"
		"   2.  b          on-demand  2 vCPU  4 GiB  0.000006/h\n");
	choice_free(&choice);
}

static void test_spot_without_a_price_ranks_by_what_it_costs_at_most(void **state)
{
	(void)state;
	static const struct offering list[] = {
		{.type = "a",
			.family = "f",
			.zone = "",
			.spot = true,
			.vcpus = 2,
			.most_micros = 500},
		{.type = "b",
			.family = "f",
			.zone = "",
			.spot = true,
			.vcpus = 4,
			.price_micros = 400,
			.most_micros = 900},
		{.type = "c", .family = "f", .zone = "", .spot = true, .vcpus = 2},
		{.type = "a", .family = "f", .zone = "", .vcpus = 2, .price_micros = 500},
	};
	struct choice_request request = {.vcpus = 2,
		.any_type = true,
		.spot = true,
		.on_demand = true};
	struct choice choice;
	cleanup(buf_free) struct buf text = BUF_INIT, spot = BUF_INIT;
	assert_int_equal(choice_rank(list, array_size(list), &request, NULL, &choice, NULL), 0);
	choice_explain(&choice, 0, &text);
	assert_string_equal(buf_text(&text), "   1.  b  spot       4 vCPU          0.0004/h\n"
					     "   2.  a  on-demand  2 vCPU          0.0005/h\n"
					     "   3.  a  spot       2 vCPU  at most 0.0005/h\n"
					     "   4.  c  spot       2 vCPU     price unknown\n");
	choice_spot_first(&choice);
	choice_explain(&choice, 0, &spot);
	assert_string_equal(buf_text(&spot), "   1.  b  spot       4 vCPU          0.0004/h\n"
					     "   2.  a  spot       2 vCPU  at most 0.0005/h\n"
					     "   3.  c  spot       2 vCPU     price unknown\n"
					     "   4.  a  on-demand  2 vCPU          0.0005/h\n");
	choice_free(&choice);
}

static void test_choose_takes_any_type_and_partial_wishes(void **state)
{
	(void)state;
	static const struct offering list[] = {
		{"a", "f", "", false, 2, 4096, 0, 0, 0, 0, 0}, /* no price: after what has one */
		{"b", "f", "", false, 2, 4096, 0, 0, 0, 0, 9},
		{"c", "f", "", false, 4, 4096, 0, CHOICE_TEE_SNP, 0, 0, 7},
	};
	struct choice_request request = {.vcpus = 1, .any_type = true};
	struct choice choice;
	cleanup_error err = ERROR_INIT;
	assert_int_equal(choice_rank(list, 3, &request, NULL, &choice, NULL), 0);
	assert_int_equal(choice.fits, 3);
	assert_string_equal(choice.ranked[0].offering->type, "c");
	assert_string_equal(choice.ranked[2].offering->type, "a");
	cleanup(buf_free) struct buf text = BUF_INIT;
	choice_explain(&choice, 0, &text);
	assert_string_equal(buf_text(&text),
		"   1.  c  on-demand  4 vCPU  4 GiB  snp     0.000007/h\n"
		"   2.  b  on-demand  2 vCPU  4 GiB          0.000009/h\n"
		"   3.  a  on-demand  2 vCPU  4 GiB       price unknown\n");
	choice_free(&choice);
	assert_int_equal(choice_rank(NULL, 0, &request, NULL, &choice, &err), -1);
	assert_string_equal(error_message(&err), "no instance type fits: the catalogue is empty");
	choice_free(&choice);
}

static void test_what_differs_in_its_zone_alone_shares_a_line(void **state)
{
	(void)state;
	static const struct offering list[] = {
		{"a", "f", "z2", false, 2, 4096, 0, 0, 0, 0, 5},
		{"a", "f", "z1", true, 2, 4096, 0, 0, 0, 0, 3},
		{"a", "f", "z1", false, 2, 4096, 0, 0, 0, 0, 5},
		{"a", "f", "z3", false, 2, 4096, 0, 0, 0, 0, 4},
		{"b", "f", "z1", false, 1, 1024, 0, 0, 0, 0, 1},
		{"b", "f", "z2", false, 1, 1024, 0, 0, 0, 0, 1},
		{"c", "f", "z1", false, 1, 512, 0, 0, 0, 0, 1},
	};
	struct choice_request request = {.vcpus = 2, .any_type = true};
	struct choice choice;
	cleanup(buf_free) struct buf text = BUF_INIT;
	assert_int_equal(choice_rank(list, array_size(list), &request, NULL, &choice, NULL), 0);
	choice_explain(&choice, 1, &text);
	assert_string_equal(buf_text(&text),
		"   1.  a  z3      on-demand  2 vCPU  4 GiB  0.000004/h\n"
		"   2.  a  z1, z2  on-demand  2 vCPU  4 GiB  0.000005/h\n"
		"left out, the nearest first:\n"
		"    -  a  z1      spot       2 vCPU  4 GiB  0.000003/h  spot is not wanted\n"
		"    and 2 more\n");
	assert_int_equal(choice_share(&choice, 0), 1);
	assert_int_equal(choice_share(&choice, 1), 2);
	choice_free(&choice);
}

static void test_sizes_and_prices_are_short_and_exact(void **state)
{
	(void)state;
	static const struct {
		int64_t micros, mib;
		const char *price, *memory;
	} cases[] = {
		{86400, 512, "0.0864", "512 MiB"},
		{1812870, 1024, "1.81287", "1 GiB"},
		{1, 1536, "0.000001", "1.5 GiB"},
		{55040000, 18432, "55.0400", "18 GiB"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup(buf_free) struct buf price = BUF_INIT, memory = BUF_INIT;
		choice_price(cases[i].micros, &price);
		choice_memory_size(cases[i].mib, &memory);
		assert_string_equal(buf_text(&price), cases[i].price);
		assert_string_equal(buf_text(&memory), cases[i].memory);
	}
}

static void test_refusals_are_remembered_by_offering_and_by_family(void **state)
{
	(void)state;
	static const struct offering two[] = {
		{"m.large", "m", "z1", false, 2, 8192, 0, 0, 0, 0, 10},
		{"m.large", "m", "z2", false, 2, 8192, 0, 0, 0, 0, 10},
		{"m.large", "m", "z1", true, 2, 8192, 0, 0, 0, 0, 3},
	};
	static const char *const all[] = {"m.large", NULL};
	struct choice_request request = {.type = "m.large", .allowed = all, .on_demand = true};
	struct choice_memory *memory = choice_memory_new(NULL);
	struct choice choice;
	choice_memory_refuse(memory, &two[0], ERROR_CAPACITY, CHOICE_REFUSAL_NS);
	assert_int_equal(choice_rank(two, 3, &request, memory, &choice, NULL), 0);
	assert_int_equal(choice.fits, 1);
	assert_string_equal(choice.ranked[0].offering->zone, "z2");
	choice_free(&choice);
	choice_memory_refuse(memory, &two[0], ERROR_QUOTA, CHOICE_REFUSAL_NS);
	request.spot = true; /* a quota of on-demand says nothing about spot */
	assert_int_equal(choice_rank(two, 3, &request, memory, &choice, NULL), 0);
	assert_int_equal(choice.fits, 1);
	assert_true(choice.ranked[0].offering->spot);
	choice_free(&choice);
	choice_memory_free(memory);
	memory = choice_memory_new(NULL);
	choice_memory_refuse(memory, &two[2], ERROR_CAPACITY, 0); /* over at once */
	assert_int_equal(choice_rank(two, 3, &request, memory, &choice, NULL), 0);
	assert_int_equal(choice.fits, 3);
	choice_free(&choice);
	choice_memory_free(memory);
}

/* A small generator of its own, so that every run asks the same. */
static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void test_10000_requests_agree_with_the_oracle(void **state)
{
	(void)state;
	enum { TYPES = 60 };
	static char names[TYPES][16];
	struct offering catalogue[TYPES];
	const char *allowed[TYPES + 1] = {0};
	uint32_t seed = 42;
	for (int i = 0; i < TYPES; i++) {
		snprintf(names[i], sizeof(names[i]), "t%d", i);
		allowed[i] = names[i];
		catalogue[i] = (struct offering){names[i], "f", i % 3 ? "z1" : "z2", i % 7 == 0,
			1 << next_random(&seed) % 7, 1024 << next_random(&seed) % 8,
			i % 10 == 0 ? 1 + next_random(&seed) % 4 : 0, next_random(&seed) % 4, 0, 0,
			1 + next_random(&seed) % 1000000};
	}
	int found = 0;
	for (int n = 0; n < 10000; n++) {
		struct choice_request r = {.vcpus = 1 + next_random(&seed) % 80,
			.memory_mib = 512 + next_random(&seed) % 150000,
			.gpus = next_random(&seed) % 8 == 0 ? 1 + next_random(&seed) % 4 : 0,
			.tees = next_random(&seed) % 3,
			.spot = next_random(&seed) % 2,
			.on_demand = true,
			.allowed = allowed};
		/* The oracle: the least price among those that satisfy every clause, nothing else. */
		int64_t least = INT64_MAX;
		for (int i = 0; i < TYPES; i++) {
			const struct offering *o = &catalogue[i];
			bool ok = o->vcpus >= r.vcpus && o->memory_mib >= r.memory_mib &&
				  (r.gpus ? o->gpus >= r.gpus : o->gpus == 0) &&
				  (!r.tees || (o->tees & r.tees)) && (r.spot || !o->spot);
			if (ok && o->price_micros < least)
				least = o->price_micros;
		}
		struct choice choice;
		int result = choice_rank(catalogue, TYPES, &r, NULL, &choice, NULL);
		assert_int_equal(result, least == INT64_MAX ? -1 : 0);
		if (result == 0) {
			assert_int_equal(choice.ranked[0].offering->price_micros, least);
			found++;
		}
		choice_free(&choice);
	}
	assert_true(found > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upstream_example_gives_c5_2xlarge),
		cmocka_unit_test(test_each_rule_gives_its_reason),
		cmocka_unit_test(test_all_that_is_against_a_type_is_said),
		cmocka_unit_test(test_the_nearest_misses_come_first),
		cmocka_unit_test(test_what_a_driver_finds_against_a_type_is_a_rule),
		cmocka_unit_test(test_a_line_of_any_zone_and_some_says_so),
		cmocka_unit_test(test_spot_without_a_price_ranks_by_what_it_costs_at_most),
		cmocka_unit_test(test_choose_takes_any_type_and_partial_wishes),
		cmocka_unit_test(test_what_differs_in_its_zone_alone_shares_a_line),
		cmocka_unit_test(test_sizes_and_prices_are_short_and_exact),
		cmocka_unit_test(test_refusals_are_remembered_by_offering_and_by_family),
		cmocka_unit_test(test_10000_requests_agree_with_the_oracle),
	};
	return cmocka_run_group_tests_name("choice", tests, NULL, NULL);
}
