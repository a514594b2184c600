/* SPDX-License-Identifier: Apache-2.0 */
/* azure_ready_test.c - what is read of a wireserver's documents, what is refused, and what is written */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "../../podvm-image/azure-ready/document.h"

#define OFFER(versions) "<Versions><Supported>" versions "</Supported></Versions>"
#define VERSION(text) "<Version>" text "</Version>"
#define STATE(incarnation, container, instances)                                         \
	"<GoalState>" incarnation "<Container>" container "<RoleInstanceList>" instances \
	"</RoleInstanceList></Container></GoalState>"
#define INCARNATION "<Incarnation>1</Incarnation>"
#define CONTAINER "<ContainerId>c</ContainerId>"
#define INSTANCE "<RoleInstance><InstanceId>i</InstanceId></RoleInstance>"
#define X16 "xxxxxxxxxxxxxxxx"
#define X64 X16 X16 X16 X16
#define X256 X64 X64 X64 X64
#define A4 "<a><a><a><a>"
#define Z4 "</a></a></a></a>"

static void test_the_version_is_the_wanted_one_or_the_first(void **state)
{
	(void)state;
	static const struct {
		const char *text, *version, *failure; /* one of the two */
	} cases[] = {
		{OFFER(VERSION("2012-11-30") VERSION("2015-04-05") VERSION("2099-01-01")),
			"2015-04-05", NULL},
		{OFFER(VERSION("2015-04-05")), "2015-04-05", NULL},
		{OFFER(VERSION("2012-11-30") VERSION("2011-12-31")), "2012-11-30", NULL},
		{OFFER(VERSION("") VERSION(" \n ") VERSION("2012-11-30")), "2012-11-30", NULL},
		{OFFER(VERSION("\r\n\t 2015-04-05 \n")), "2015-04-05", NULL},
		{OFFER(VERSION("2015<!-- no -->-04-05")), "2015-04-05", NULL},
		{OFFER(VERSION("<![CDATA[2015-04-05]]>")), "2015-04-05", NULL},
		{OFFER(VERSION("&#50;015-04-05")), "2015-04-05", NULL},
		{"\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?>\n" OFFER(
			 VERSION("2015-04-05")),
			"2015-04-05", NULL},
		/* Only what is supported counts, not what is preferred. */
		{"<Versions><Preferred>" VERSION("2015-04-05") "</Preferred><Supported>" VERSION(
			 "2012-11-30") "</Supported></Versions>",
			"2012-11-30", NULL},
		{OFFER(VERSION(X256)), X256, NULL},
		{OFFER(VERSION(X256 "x")), NULL,
			"Versions/Supported/Version is longer than 256 bytes"},
		{OFFER(VERSION("1\r\nx-evil: 1")), NULL,
			"Versions/Supported/Version has characters that are not printable ASCII"},
		{OFFER(VERSION("1&#13;&#10;x-evil: 1")), NULL,
			"Versions/Supported/Version has characters that are not printable ASCII"},
		{OFFER(VERSION("1\tx")), NULL,
			"Versions/Supported/Version has characters that are not printable ASCII"},
		{OFFER(VERSION("1\x7f")), NULL,
			"Versions/Supported/Version has characters that are not printable ASCII"},
		{OFFER(VERSION("\xc3\xa4")), NULL,
			"Versions/Supported/Version has characters that are not printable ASCII"},
		{OFFER(VERSION("<b>2015-04-05</b>")), NULL,
			"there are elements in Versions/Supported/Version"},
		{OFFER(""), NULL, "the answer has no Versions/Supported/Version"},
		{OFFER(VERSION("")), NULL, "the answer has no Versions/Supported/Version"},
		{"<html/>", NULL, "the answer has no Versions/Supported/Version"},
		{"<!DOCTYPE Versions>" OFFER(VERSION("2015-04-05")), NULL, "the answer has a DTD"},
		{"<!DOCTYPE v [<!ENTITY e \"2015-04-05\">]>" OFFER(VERSION("&e;")), NULL,
			"the answer has a DTD"},
		{"<!DOCTYPE v SYSTEM \"file:///etc/passwd\">" OFFER(VERSION("1")), NULL,
			"the answer has a DTD"},
		{OFFER(VERSION("&e;")), NULL, "the answer is no XML: undefined entity in line 1"},
		{"", NULL, "the answer is no XML: no element found in line 1"},
		{"\n\nno", NULL, "the answer is no XML: syntax error in line 3"},
		{OFFER(VERSION("1")) "<more/>", NULL,
			"the answer is no XML: junk after document element in line 1"},
		{"<Versions><Supported>" VERSION("2015-04-05"), NULL,
			"the answer is no XML: no element found in line 1"},
		{"<v>" A4 A4 A4 "<a><a><a/></a></a>" Z4 Z4 Z4 "</v>", NULL,
			"the answer has no Versions/Supported/Version"},
		{"<v>" A4 A4 A4 A4 Z4 Z4 Z4 Z4 "</v>", NULL,
			"the answer has elements deeper than 16 or names longer than 64"},
		{"<" X64 "/>", NULL, "the answer has no Versions/Supported/Version"},
		{"<" X64 "x/>", NULL,
			"the answer has elements deeper than 16 or names longer than 64"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		struct document_value version;
		int result = versions_read(cases[i].text, strlen(cases[i].text), &version, &err);
		if (cases[i].failure) {
			assert_int_equal(result, -1);
			assert_string_equal(error_message(&err), cases[i].failure);
			assert_int_equal(err.kind, ERROR_INVALID);
		} else {
			assert_string_equal(error_message(&err), "no error");
			assert_int_equal(result, 0);
			assert_string_equal(version.text, cases[i].version);
		}
	}
}

static void test_a_byte_of_zero_is_no_xml(void **state)
{
	(void)state;
	static const char text[] = OFFER(VERSION("2015\0-04-05"));
	cleanup_error err = ERROR_INIT;
	struct document_value version;
	assert_int_equal(versions_read(text, sizeof(text) - 1, &version, &err), -1);
	assert_string_equal(error_message(&err),
		"the answer is no XML: not well-formed (invalid token) in line 1");
}

static void test_a_goal_state_has_all_three_ids(void **state)
{
	(void)state;
	static const struct {
		const char *text, *failure; /* NULL: 1, c, i */
	} cases[] = {
		{STATE(INCARNATION, CONTAINER, INSTANCE), NULL},
		/* The first container and instance count. */
		{STATE(INCARNATION, CONTAINER,
			 INSTANCE "<RoleInstance><InstanceId>j</InstanceId></RoleInstance>"),
			NULL},
		{"<GoalState><Version>2015-04-05</Version>" INCARNATION
		 "<Machine><ExpectedState>Started</ExpectedState><ContainerId>no</ContainerId></Machine>"
		 "<Container>" CONTAINER
		 "<RoleInstanceList><RoleInstance><InstanceId>i</InstanceId><State>Started</State>"
		 "<Configuration><ConfigName>n</ConfigName></Configuration></RoleInstance>"
		 "</RoleInstanceList></Container></GoalState>",
			NULL},
		{STATE("", CONTAINER, INSTANCE), "the answer has no GoalState/Incarnation"},
		{STATE(INCARNATION, "", INSTANCE),
			"the answer has no GoalState/Container/ContainerId"},
		{STATE(INCARNATION, "<ContainerId> </ContainerId>", INSTANCE),
			"the answer has no GoalState/Container/ContainerId"},
		{STATE(INCARNATION, CONTAINER, ""),
			"the answer has no GoalState/Container/RoleInstanceList/RoleInstance/InstanceId"},
		{STATE(INCARNATION, CONTAINER, "<InstanceId>i</InstanceId>"),
			"the answer has no GoalState/Container/RoleInstanceList/RoleInstance/InstanceId"},
		{STATE(INCARNATION, "<ContainerId>a&#10;b</ContainerId>", INSTANCE),
			"GoalState/Container/ContainerId has characters that are not printable ASCII"},
	};
	for (size_t i = 0; i < array_size(cases); i++) {
		cleanup_error err = ERROR_INIT;
		struct goal_state goal;
		int result = goal_state_read(cases[i].text, strlen(cases[i].text), &goal, &err);
		assert_string_equal(error_message(&err),
			cases[i].failure ? cases[i].failure : "no error");
		assert_int_equal(result, cases[i].failure ? -1 : 0);
		if (result < 0)
			continue;
		assert_string_equal(goal.incarnation.text, "1");
		assert_string_equal(goal.container_id.text, "c");
		assert_string_equal(goal.instance_id.text, "i");
	}
}

static void test_what_the_host_said_is_escaped_in_the_report(void **state)
{
	(void)state;
	static const char text[] = STATE("<Incarnation>7</Incarnation>",
		"<ContainerId>a&amp;b&lt;/ContainerId&gt;</ContainerId>",
		"<RoleInstance><InstanceId>\"q' &#91;</InstanceId></RoleInstance>");
	cleanup_error err = ERROR_INIT;
	cleanup(buf_free) struct buf out = BUF_INIT;
	struct goal_state goal;
	assert_int_equal(goal_state_read(text, strlen(text), &goal, &err), 0);
	assert_string_equal(goal.container_id.text, "a&b</ContainerId>");
	assert_int_equal(health_write(&goal, &out, &err), 0);
	assert_string_equal(buf_text(&out),
		"<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
		"<Health><GoalStateIncarnation>7</GoalStateIncarnation>"
		"<Container><ContainerId>a&amp;b&lt;/ContainerId&gt;</ContainerId>"
		"<RoleInstanceList><Role><InstanceId>&quot;q&apos; [</InstanceId>"
		"<Health><State>Ready</State></Health></Role></RoleInstanceList></Container></Health>\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_version_is_the_wanted_one_or_the_first),
		cmocka_unit_test(test_a_byte_of_zero_is_no_xml),
		cmocka_unit_test(test_a_goal_state_has_all_three_ids),
		cmocka_unit_test(test_what_the_host_said_is_escaped_in_the_report),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
