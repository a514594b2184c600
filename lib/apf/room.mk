# SPDX-License-Identifier: Apache-2.0
# lib/apf: apf.json, the forwarder's configuration, as the adaptor writes and the forwarder reads it.
$(call library,apf,base podnetwork,jansson)
$(call unit_test,apf_test,,apf)
$(call fuzz_target,apf,,apf)
