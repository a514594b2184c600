# SPDX-License-Identifier: Apache-2.0
# adaptor: the control plane of a worker node, program cloud-api-adaptor.
adaptor_libs := base proto ttrpc tls apf cloudinit initdata podnetwork
adaptor_pkgs := libevent_core libevent_extra libevent_pthreads
# All but the start of the program: what the tests link.
adaptor_core_src := $(filter-out adaptor/main.c adaptor/serve.c,$(wildcard adaptor/*.c)) $(provider_shared_src)
# What a program links that looks at the journal of a node and owns nothing (peerpodctl).
journal_look_src := adaptor/journal_look.c adaptor/record.c adaptor/state.c adaptor/sandbox_id.c adaptor/orphan_rule.c
$(call program,cloud-api-adaptor,$(wildcard adaptor/*.c) $(provider_loader_src),$(adaptor_libs),$(adaptor_pkgs),$(loader_ldflags))

$(call unit_test,annotations_test,$(adaptor_core_src),$(adaptor_libs),$(adaptor_pkgs))
$(call unit_test,settings_test,$(adaptor_core_src),$(adaptor_libs),$(adaptor_pkgs))
$(call unit_test,journal_test,$(adaptor_core_src),$(adaptor_libs),$(adaptor_pkgs))
adaptor_rig_src := tests/unit/adaptor_rig.c tests/unit/fake_world.c $(adaptor_core_src)
$(call unit_test,adaptor_test,$(adaptor_rig_src),$(adaptor_libs),$(adaptor_pkgs))
$(call unit_test,adaptor_cancel_test,$(adaptor_rig_src),$(adaptor_libs),$(adaptor_pkgs))
$(call unit_test,adaptor_housekeeping_test,$(adaptor_rig_src),$(adaptor_libs),$(adaptor_pkgs),-Wl$(comma)--wrap=threads_start)
$(call unit_test,adaptor_restart_test,$(adaptor_rig_src),$(adaptor_libs),$(adaptor_pkgs))
$(call unit_test,adaptor_concurrency_test,$(adaptor_rig_src),$(adaptor_libs),$(adaptor_pkgs))
$(call fuzz_target,annotations,adaptor/annotations.c adaptor/sandbox_id.c,base initdata)
$(call fuzz_target,journal_record,adaptor/record.c adaptor/state.c,base podnetwork)
