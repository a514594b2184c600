/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.h - the life of the adaptor: from options to the end of the last thread
 */
#ifndef PEERPOD_ADAPTOR_SERVE_H
#define PEERPOD_ADAPTOR_SERVE_H

#include <stdio.h>
#include "base/error.h"

enum { EXIT_OK = 0, EXIT_RUNTIME = 1, EXIT_USAGE = 2 };

/* Runs with this provider until SIGTERM or SIGINT. The arguments hold options only. An exit status. */
int serve(const char *provider, int argc, char *const *argv);

/* The options that serve takes with this provider ("": the common ones only). An exit status. */
int serve_help(const char *provider, int argc, char *const *argv, FILE *out);

/*
 * The folder of drivers: -provider-dir or PROVIDER_DIR, else "providers" beside the program, else
 * ../lib/peerpod/providers of it. New string.
 */
char *driver_folder(int argc, char *const *argv, struct error *err);

#endif
