# SPDX-License-Identifier: Apache-2.0
# lib/ttrpc: framing and envelope (no allocation, no I/O), a blocking client, a threaded server.
$(call library,ttrpc,base proto,libevent_core libevent_pthreads)
$(call unit_test,frame_test,,ttrpc)
$(call unit_test,ttrpc_test,tests/unit/echo_service.c,ttrpc)
$(call unit_test,ttrpc_peer_test,tests/unit/echo_service.c,ttrpc)
$(call unit_test,unix_socket_test,,ttrpc)
$(call fuzz_target,ttrpc_frame,,ttrpc)

# Our half of tests/interop/ttrpc.
$(call program,ttrpc-echo,tests/tools/ttrpc-echo.c,ttrpc)
