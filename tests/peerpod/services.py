# SPDX-License-Identifier: Apache-2.0
"""The calls of the services by name, with the messages of lib/proto.

    agent = services.agent(client)
    agent.CreateSandbox(sandbox_id="ab12", timeout=300)
    agent.start_WaitProcess(container_id="c1").result()
"""

from peerpod import ttrpc
from peerpod.proto import agent as pb
from peerpod.proto import hypervisor as hv
from peerpod.proto import proxy as px

_E = pb.Empty

AGENT = {
    "CreateSandbox": (pb.CreateSandboxRequest, _E),
    "DestroySandbox": (_E, _E),
    "SetPolicy": (pb.SetPolicyRequest, _E),
    "GetGuestDetails": (pb.GuestDetailsRequest, pb.GuestDetailsResponse),
    "CopyFile": (pb.CopyFileRequest, _E),
    "CreateContainer": (pb.CreateContainerRequest, _E),
    "StartContainer": (pb.ContainerRequest, _E),
    "RemoveContainer": (pb.RemoveContainerRequest, _E),
    "StatsContainer": (pb.ContainerRequest, pb.StatsContainerResponse),
    "PauseContainer": (pb.ContainerRequest, _E),
    "ResumeContainer": (pb.ContainerRequest, _E),
    "ExecProcess": (pb.ExecProcessRequest, _E),
    "SignalProcess": (pb.SignalProcessRequest, _E),
    "WaitProcess": (pb.WaitProcessRequest, pb.WaitProcessResponse),
    "WriteStdin": (pb.WriteStreamRequest, pb.WriteStreamResponse),
    "ReadStdout": (pb.ReadStreamRequest, pb.ReadStreamResponse),
    "ReadStderr": (pb.ReadStreamRequest, pb.ReadStreamResponse),
    "CloseStdin": (pb.CloseStdinRequest, _E),
    "TtyWinResize": (pb.TtyWinResizeRequest, _E),
    "GetOOMEvent": (_E, pb.OOMEvent),
    "GetDiagnosticData": (pb.GetDiagnosticDataRequest, pb.GetDiagnosticDataResponse),
}
HEALTH = {
    "Check": (pb.CheckRequest, pb.HealthCheckResponse),
    "Version": (pb.CheckRequest, pb.VersionCheckResponse),
}
HYPERVISOR = {
    "CreateVM": (hv.CreateVMRequest, hv.CreateVMResponse),
    "StartVM": (hv.StartVMRequest, hv.StartVMResponse),
    "StopVM": (hv.StopVMRequest, hv.StopVMResponse),
    "Version": (hv.VersionRequest, hv.VersionResponse),
}
PODVMINFO = {"GetInfo": (hv.GetInfoRequest, hv.GetInfoResponse)}
AGENT_PROXY = {
    "Open": (px.OpenRequest, px.OpenResponse),
    "Close": (px.CloseRequest, px.CloseResponse),
    "List": (px.ListRequest, px.ListResponse),
    "Quit": (px.QuitRequest, px.QuitResponse),
}


class Pending:
    """A typed call under way."""

    def __init__(self, call: ttrpc.Call, reply):
        self.call = call
        self._reply = reply

    def result(self, timeout=None):
        return self._reply.FromString(self.call.result(timeout))

    def done(self) -> bool:
        return self.call.done()


class Service:
    """service.Method(field=value, ..., timeout=seconds) -> message; service.start_Method(...) -> Pending."""

    def __init__(self, client: ttrpc.Client, name: str, methods: dict):
        self.client = client
        self.name = name
        self.methods = methods

    def __getattr__(self, attribute: str):
        method = attribute.removeprefix("start_")
        if method not in self.methods:
            raise AttributeError(f"{self.name} has no method {method}")
        request_type, reply_type = self.methods[method]

        def start(message=None, timeout=None, **values) -> Pending:
            message = message if message is not None else request_type(**values)
            return Pending(self.client.start(self.name, method, message, timeout), reply_type)

        if attribute.startswith("start_"):
            return start
        return lambda message=None, timeout=None, **values: start(message, timeout, **values).result(timeout)


def agent(client: ttrpc.Client) -> Service:
    return Service(client, "grpc.AgentService", AGENT)


def health(client: ttrpc.Client) -> Service:
    return Service(client, "grpc.Health", HEALTH)


def hypervisor(client: ttrpc.Client) -> Service:
    return Service(client, "hypervisor.Hypervisor", HYPERVISOR)


def podvminfo(client: ttrpc.Client) -> Service:
    return Service(client, "podvminfo.PodVMInfo", PODVMINFO)


def agent_proxy(client: ttrpc.Client) -> Service:
    return Service(client, "peerpod.AgentProxy", AGENT_PROXY)
