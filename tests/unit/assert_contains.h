/* SPDX-License-Identifier: Apache-2.0 */
/* assert_contains.h - a text has this part; the failure shows both */
#ifndef PEERPOD_TESTS_ASSERT_CONTAINS_H
#define PEERPOD_TESTS_ASSERT_CONTAINS_H

#include <string.h>

#define assert_contains(text, part)                                      \
	do {                                                             \
		if (!strstr(text, part))                                 \
			fail_msg("\"%s\" is not in \"%s\"", part, text); \
	} while (0)

#endif
