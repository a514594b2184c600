/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unix_socket_test.c - a socket's file belongs to one process
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "ttrpc/client.h"
#include "ttrpc/server.h"

static void test_a_socket_file_belongs_to_one_process(void **state)
{
	(void)state;
	char dir[] = "/tmp/ttrpc-test.XXXXXX", path[64], message[128];
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	cleanup_error err = ERROR_INIT;
	struct unix_socket_identity first, second;
	struct stat st;
	mode_t before = umask(0);
	int fd = unix_socket_listen(path, &first, &err);
	umask(before);
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);

	assert_int_equal(unix_socket_listen(path, NULL, &err), -1);
	snprintf(message, sizeof(message), "%s: another process is listening there", path);
	assert_string_equal(error_message(&err), message);
	assert_int_equal(err.kind, ERROR_EXISTS);

	/* Its process gone, the file is stale. */
	close(fd);
	fd = unix_socket_listen(path, &second, &err);
	assert_true(fd >= 0);
	unix_socket_remove(path, &first);
	assert_int_equal(stat(path, &st), 0);
	unix_socket_remove(path, &second);
	assert_int_equal(stat(path, &st), -1);
	unix_socket_remove(path, &second);
	close(fd);

	FILE *file = fopen(path, "w");
	fclose(file);
	assert_int_equal(unix_socket_listen(path, NULL, &err), -1);
	snprintf(message, sizeof(message), "%s exists and is not a socket", path);
	assert_string_equal(error_message(&err), message);
	unlink(path);
	rmdir(dir);

	assert_int_equal(unix_socket_listen("/nowhere/at/all", NULL, &err), -1);
	assert_string_equal(error_message(&err), "folder /nowhere/at: No such file or directory");
	assert_int_equal(unix_socket_listen("", NULL, &err), -1);
	assert_string_equal(error_message(&err), "socket path is empty");
	char longest[200] = "/";
	memset(longest + 1, 'a', 120);
	assert_int_equal(unix_socket_listen(longest, NULL, &err), -1);
	assert_non_null(strstr(error_message(&err), " is longer than 107 bytes"));
	assert_null(ttrpc_client_connect(longest, NULL, &err));
	assert_non_null(strstr(error_message(&err), " is longer than 107 bytes"));
	assert_null(ttrpc_client_connect("/nowhere/at/all", NULL, &err));
	assert_string_equal(error_message(&err),
		"connect to /nowhere/at/all: No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_socket_file_belongs_to_one_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
