/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider.c - the door of the libvirt driver: the table that the loader reads
 *
 * Opening checks the options and connects to nothing: an adaptor starts, and serves what runs, also while the daemon is
 * down.
 */
#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "providers/libvirt/driver.h"

void driver_close(struct provider *p)
{
	if (!p)
		return;
	connection_free(p->calls);
	connection_free(p->uploads);
	connection_free(p->status);
	free(p->uri.socket);
	free(p->uri_text);
	free(p);
}

struct provider *driver_open(const void *values, const struct bound *bound, struct error *err)
{
	(void)bound;
	const struct libvirt_options *options = values;
	if (libvirt_options_check(options, err) < 0)
		return NULL;
	cleanup(driver_close_ptr) struct provider *p = calloc(1, sizeof(*p));
	if (!p) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	p->options = options;
	p->uri_text = uri_prepare(options->uri, &p->uri, err);
	if (!p->uri_text) {
		error_prefix(err, "LIBVIRT_URI");
		return NULL;
	}
	if (p->uri.unverified_ssh)
		log_warn(
			"LIBVIRT_URI has no_verify=1: any machine that answers in the host's place is trusted; "
			"put the host's key into known_hosts and remove it");
	xmlInitParser();
	p->calls = connection_new(p->uri_text, "calls");
	p->uploads = connection_new(p->uri_text, "uploads");
	p->status = connection_new(p->uri_text, "status");
	if (!p->calls || !p->uploads || !p->status) {
		error_set(err, ERROR_CAPACITY, "out of memory");
		return NULL;
	}
	return take_ptr(p);
}

const struct provider_table peerpod_provider = {
	DRIVER_VERBS,
	.name = "libvirt",
	.title = "virtual machines of a libvirt host (QEMU, KVM)",
	.options = libvirt_option_table,
	.option_count = LIBVIRT_OPTION_COUNT,
	.values_size = sizeof(struct libvirt_options),
};
