# SPDX-License-Identifier: Apache-2.0
# providers/libvirt: pod VMs on a libvirt host. The driver, its tests, and provider-tool, which drives any driver by hand.
libvirt_src := $(wildcard providers/libvirt/*.c)
libvirt_pkgs := libvirt libxml-2.0 libcrypto libnl-3.0 libnl-route-3.0
$(call driver,libvirt,$(libvirt_src),,$(libvirt_pkgs))
$(call program,provider-tool,tests/tools/provider-tool.c $(provider_loader_src),base,jansson libcrypto,$(loader_ldflags))
$(call unit_test,libvirt_test,$(libvirt_src) $(provider_shared_src),base,$(libvirt_pkgs))
$(call unit_test,libvirt_answers_test,$(libvirt_src) $(provider_shared_src),base,$(libvirt_pkgs))
$(call unit_test,libvirt_xml_test,$(libvirt_src) $(provider_shared_src),base,$(libvirt_pkgs))
$(call fuzz_target,libvirt_xml,$(libvirt_src) $(provider_shared_src),base,$(libvirt_pkgs))
libvirt_wrapped := virStreamNew virStorageVolUpload virStreamSend virStreamFinish virStreamAbort virStreamFree
$(call unit_test,libvirt_memory_test,$(libvirt_src) $(provider_shared_src),base,$(libvirt_pkgs),$(addprefix -Wl$(comma)--wrap=,$(libvirt_wrapped)))
