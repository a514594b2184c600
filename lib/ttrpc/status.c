/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - gRPC status codes and what they mean to us */
#include "ttrpc/frame.h"

static const struct {
	const char *name;
	enum error_kind kind;
} codes[] = {
	[TTRPC_OK] = {"OK", ERROR_NONE},
	[TTRPC_CANCELED] = {"Canceled", ERROR_CANCELED},
	[TTRPC_UNKNOWN] = {"Unknown", ERROR_INTERNAL},
	[TTRPC_INVALID_ARGUMENT] = {"InvalidArgument", ERROR_INVALID},
	[TTRPC_DEADLINE_EXCEEDED] = {"DeadlineExceeded", ERROR_TIMEOUT},
	[TTRPC_NOT_FOUND] = {"NotFound", ERROR_GONE},
	[TTRPC_ALREADY_EXISTS] = {"AlreadyExists", ERROR_EXISTS},
	[TTRPC_PERMISSION_DENIED] = {"PermissionDenied", ERROR_DENIED},
	[TTRPC_RESOURCE_EXHAUSTED] = {"ResourceExhausted", ERROR_QUOTA},
	[TTRPC_FAILED_PRECONDITION] = {"FailedPrecondition", ERROR_INVALID},
	[TTRPC_ABORTED] = {"Aborted", ERROR_RETRY},
	[TTRPC_OUT_OF_RANGE] = {"OutOfRange", ERROR_INVALID},
	[TTRPC_UNIMPLEMENTED] = {"Unimplemented", ERROR_UNSUPPORTED},
	[TTRPC_INTERNAL] = {"Internal", ERROR_INTERNAL},
	[TTRPC_UNAVAILABLE] = {"Unavailable", ERROR_RETRY},
	[TTRPC_DATA_LOSS] = {"DataLoss", ERROR_INTERNAL},
	[TTRPC_UNAUTHENTICATED] = {"Unauthenticated", ERROR_DENIED},
};

enum ttrpc_code ttrpc_code_of(enum error_kind kind)
{
	switch (kind) {
	case ERROR_NONE:
		return TTRPC_OK;
	case ERROR_INTERNAL:
		return TTRPC_INTERNAL;
	case ERROR_INVALID:
		return TTRPC_INVALID_ARGUMENT;
	case ERROR_GONE:
		return TTRPC_NOT_FOUND;
	case ERROR_EXISTS:
		return TTRPC_ALREADY_EXISTS;
	case ERROR_DENIED:
		return TTRPC_PERMISSION_DENIED;
	case ERROR_RETRY:
		return TTRPC_UNAVAILABLE;
	case ERROR_THROTTLED:
	case ERROR_CAPACITY:
	case ERROR_QUOTA:
		return TTRPC_RESOURCE_EXHAUSTED;
	case ERROR_TIMEOUT:
		return TTRPC_DEADLINE_EXCEEDED;
	case ERROR_CANCELED:
		return TTRPC_CANCELED;
	case ERROR_UNSUPPORTED:
		return TTRPC_UNIMPLEMENTED;
	}
	return TTRPC_UNKNOWN;
}

enum error_kind ttrpc_kind_of(int32_t code)
{
	return code >= 0 && (size_t)code < array_size(codes) ? codes[code].kind : ERROR_INTERNAL;
}

const char *ttrpc_code_name(int32_t code)
{
	return code >= 0 && (size_t)code < array_size(codes) ? codes[code].name : "Unknown";
}
