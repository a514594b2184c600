/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.c - see service.h
 *
 * From protobuf to the verbs and back. Errors become the status that the shim shows in the pod's events:
 * the verbs' messages name pod, stage and cause, and hold no secrets.
 */
#include "adaptor/service.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "proto/hypervisor.pb-c.h"
#include "ttrpc/message.h"

/* What upstream answers; neither shim asks. */
#define HYPERVISOR_VERSION "0.0.0"

static void *request_of(const struct ttrpc_call *call, const ProtobufCMessageDescriptor *type,
	struct error *err)
{
	void *request = message_unpack(type, call->payload.data, call->payload.len, err);
	if (!request && err)
		err->status = TTRPC_INTERNAL; /* as Go's server answers */
	return request;
}

static int create_vm(void *context, struct ttrpc_call *call, struct error *err)
{
	struct adaptor *adaptor = context;
	cleanup(message_ptr) Hypervisor__CreateVMRequest *request =
		request_of(call, &hypervisor__create_vmrequest__descriptor, err);
	if (!request)
		return -1;
	cleanup(free_ptr) struct annotation *annotations =
		calloc(request->n_annotations + 1, sizeof(*annotations));
	if (!annotations)
		return error_set(err, ERROR_CAPACITY, "out of memory");
	for (size_t i = 0; i < request->n_annotations; i++)
		annotations[i] = (struct annotation){request->annotations[i]->key,
			request->annotations[i]->value};
	cleanup(free_ptr) char *agent_socket = NULL;
	if (sandbox_create(adaptor, request->id, annotations, request->n_annotations,
		    request->networknamespacepath, &agent_socket, err) < 0)
		return -1;
	Hypervisor__CreateVMResponse response = HYPERVISOR__CREATE_VMRESPONSE__INIT;
	response.agentsocketpath = agent_socket;
	return message_pack(&response.base, &call->reply, err);
}

static int start_vm(void *context, struct ttrpc_call *call, struct error *err)
{
	cleanup(message_ptr) Hypervisor__StartVMRequest *request =
		request_of(call, &hypervisor__start_vmrequest__descriptor, err);
	return request ? sandbox_start(context, request->id, &call->bound, err) : -1;
}

static int stop_vm(void *context, struct ttrpc_call *call, struct error *err)
{
	cleanup(message_ptr) Hypervisor__StopVMRequest *request =
		request_of(call, &hypervisor__stop_vmrequest__descriptor, err);
	return request ? sandbox_stop(context, request->id, &call->bound, err) : -1;
}

static int version(void *context, struct ttrpc_call *call, struct error *err)
{
	(void)context;
	Hypervisor__VersionResponse response = HYPERVISOR__VERSION_RESPONSE__INIT;
	response.version = (char *)HYPERVISOR_VERSION;
	return message_pack(&response.base, &call->reply, err);
}

static int get_info(void *context, struct ttrpc_call *call, struct error *err)
{
	cleanup(message_ptr) Hypervisor__GetInfoRequest *request =
		request_of(call, &hypervisor__get_info_request__descriptor, err);
	if (!request)
		return -1;
	cleanup(free_ptr) char *id = sandbox_instance_of(context, request->podname,
		request->podnamespace, request->wait, &call->bound, err);
	if (!id)
		return -1;
	Hypervisor__GetInfoResponse response = HYPERVISOR__GET_INFO_RESPONSE__INIT;
	response.vmid = id;
	return message_pack(&response.base, &call->reply, err);
}

static const struct ttrpc_method hypervisor_methods[] = {
	{"CreateVM", create_vm},
	{"StartVM", start_vm},
	{"StopVM", stop_vm},
	{"Version", version},
};

static const struct ttrpc_method info_methods[] = {
	{"GetInfo", get_info},
};

void services_init(struct ttrpc_service services[SERVICE_COUNT], struct adaptor *adaptor)
{
	services[0] = (struct ttrpc_service){"hypervisor.Hypervisor", hypervisor_methods,
		array_size(hypervisor_methods), adaptor};
	services[1] = (struct ttrpc_service){"podvminfo.PodVMInfo", info_methods,
		array_size(info_methods), adaptor};
}
