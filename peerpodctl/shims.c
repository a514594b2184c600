/* SPDX-License-Identifier: Apache-2.0 */
/* shims.c - see shims.h */
#include "peerpodctl/shims.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/list.h"
#include "proto/proxy.pb-c.h"
#include "ttrpc/client.h"
#include "ttrpc/message.h"

#define SERVICE "peerpod.AgentProxy"

static int keep(const Agentproxy__ListResponse *reply, struct shims *shims, struct error *err)
{
	shims->sandboxes = calloc(reply->n_sandboxes + 1, sizeof(*shims->sandboxes));
	size_t count = 0;
	for (size_t i = 0; shims->sandboxes && i < reply->n_sandboxes; i++) {
		if (!reply->sandboxes[i]->shim_connections)
			continue;
		shims->sandboxes[count] = strdup(reply->sandboxes[i]->sandbox);
		if (!shims->sandboxes[count++]) {
			shims_free(shims);
			break;
		}
	}
	return shims->sandboxes ? 0 : error_set(err, ERROR_CAPACITY, "out of memory");
}

/* -1: nobody serves it. -2: another failure. */
static int connect_socket(const char *path, struct error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path)) {
		error_set(err, ERROR_INVALID, "path of the socket %s is too long", path);
		return -2;
	}
	memcpy(address.sun_path, path, strlen(path));
	cleanup(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return take_fd(&fd);
	if (fd >= 0 && (errno == ENOENT || errno == ECONNREFUSED))
		return -1;
	error_set_errno(err, errno, "connect to %s", path);
	return -2;
}

int shims_ask(const char *socket, const struct bound *bound, struct shims *shims, struct error *err)
{
	*shims = (struct shims){0};
	cleanup_error why = ERROR_INIT;
	int fd = connect_socket(socket, &why);
	if (fd == -1)
		return 0;
	cleanup(ttrpc_client_free_ptr) struct ttrpc_client *client =
		fd >= 0 ? ttrpc_client_new(fd, &why) : NULL;
	Agentproxy__ListRequest request = AGENTPROXY__LIST_REQUEST__INIT;
	Agentproxy__ListResponse *reply =
		client ? (Agentproxy__ListResponse *)ttrpc_client_call_message(client, SERVICE,
				 "List", &request.base, &agentproxy__list_response__descriptor,
				 bound, &why)
		       : NULL;
	if (!reply) {
		error_prefix(&why, "ask agent-proxy which pods are in use");
		return error_move(err, &why);
	}
	int result = keep(reply, shims, err);
	agentproxy__list_response__free_unpacked(reply, NULL);
	return result;
}

bool shims_hold(const struct shims *shims, const char *sandbox)
{
	return sandbox && shims->sandboxes && list_holds(shims->sandboxes, sandbox);
}

void shims_free(struct shims *shims)
{
	list_free(shims->sandboxes);
	*shims = (struct shims){0};
}
