/* SPDX-License-Identifier: Apache-2.0 */
/*
 * console.h - the end of a serial console, made fit for a message that becomes a pod's event
 */
#ifndef PEERPOD_ADAPTOR_CONSOLE_H
#define PEERPOD_ADAPTOR_CONSOLE_H

#include "base/buf.h"

#define CONSOLE_RAW_MAX 4096
/* What of it goes into the message. */
#define CONSOLE_TEXT_MAX 500

/*
 * Appends the last lines: escape sequences and control characters stripped, lines joined by " | ",
 * lines that may hold secrets withheld, what is not ASCII as '?'.
 */
void console_clean(const char *raw, struct buf *out);

#endif
