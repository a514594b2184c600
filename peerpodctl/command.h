/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.h - finds the verb that a command line names, and runs it
 */
#ifndef PEERPODCTL_COMMAND_H
#define PEERPODCTL_COMMAND_H

/* argv without the program's name. An exit status. */
int command_run(int argc, char *const *argv);

#endif
