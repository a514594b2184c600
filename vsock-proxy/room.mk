# SPDX-License-Identifier: Apache-2.0
# vsock-proxy: the agent tunnel. agent-proxy is the worker's end, agent-protocol-forwarder the pod VM's; both are
# the same relay between connections, with other rules.
vsock_relay := $(addprefix vsock-proxy/,loop.c bytelog.c conn.c port.c calls.c splice.c rules.c relay.c \
	relay_recover.c listen.c dial.c isolation.c)
vsock_state := $(addprefix vsock-proxy/,handover_read.c port_state.c relay_state.c)
vsock_proxy := $(vsock_state) $(addprefix vsock-proxy/,control.c control_open.c control_handover.c handover_wire.c \
	handover_give.c handover_take.c tunnel.c tunnel_link.c tunnel_state.c opener.c rules_proxy.c)
vsock_forwarder := $(addprefix vsock-proxy/,door.c sessions.c agent_link.c rules_forwarder.c)

$(call program,agent-proxy,vsock-proxy/agent-proxy.c $(vsock_relay) $(vsock_proxy),ttrpc tls proto,libevent_core)
$(call program,agent-protocol-forwarder,vsock-proxy/forwarder.c $(vsock_relay) $(vsock_forwarder),ttrpc tls proto apf podnetwork,libevent_core,$(nftables_ldflags))

vsock_core := $(addprefix vsock-proxy/,loop.c bytelog.c conn.c port.c calls.c splice.c rules.c relay.c relay_recover.c)
$(call unit_test,session_test,tests/unit/memory_conn.c $(vsock_core),ttrpc tls,libevent_core)
$(call unit_test,handover_test,$(vsock_core) $(vsock_state),ttrpc tls proto,libevent_core)
$(call unit_test,calls_test,vsock-proxy/calls.c,base)
$(call unit_test,rules_test,$(addprefix vsock-proxy/,rules.c rules_proxy.c rules_forwarder.c splice.c),ttrpc proto)
$(call fuzz_target,relay_rewrite,$(addprefix vsock-proxy/,rules.c rules_proxy.c rules_forwarder.c splice.c),ttrpc)
$(call fuzz_target,session_frame,tests/unit/memory_conn.c $(vsock_core),ttrpc tls,libevent_core)
$(call fuzz_target,handover,$(vsock_core) $(vsock_state),ttrpc tls proto,libevent_core)

# What the tunnel costs: prints JSON. `make bench` runs it.
$(call program,tunnel-bench,tests/bench/tunnel.c tests/bench/agent.c tests/bench/raw_tls.c,ttrpc tls proto)
