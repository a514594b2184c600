# SPDX-License-Identifier: Apache-2.0
# lib/podnetwork: both ends of a pod's network tunnel, over netlink and libnftables.
$(call library,podnetwork,base,libnl-3.0 libnftables jansson)
$(call unit_test,podnetwork_json_test,,podnetwork)
$(call fuzz_target,podnetwork_json,,podnetwork)
$(call program,podnet-tool,tests/tools/podnet.c,podnetwork,)
$(call unit_test,podnetwork_test,,podnetwork)
$(call fuzz_target,netlink_reply,,podnetwork)
