# SPDX-License-Identifier: Apache-2.0
"""What the integration tests, the demo and the bench share: the outside world of this system.

ttrpc    the wire: a client, a server, raw frames
proto    the protobuf messages, generated from lib/proto
services the calls of the hypervisor, the agent and agent-proxy by name
shim     what Kata's shim does with them
cni      pod network namespaces as a CNI leaves them
stack    the programs of this tree, started in private folders, watched and stopped
leaks    what must not be left behind
pods     what runs in the pods of the tests
provider_tool a driver by itself, in the program of that name
paths    where things are
"""
