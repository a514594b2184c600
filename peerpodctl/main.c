/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - peerpodctl <command> [words] [options] [-- options of the driver]
 *
 * Exit status: 0; 1 when it failed; 2 when the command line is wrong.
 */
#include <stdio.h>
#include <string.h>

#include "peerpodctl/command.h"

int main(int argc, char **argv)
{
	return command_run(argc - 1, argv + 1);
}
