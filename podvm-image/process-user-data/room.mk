# SPDX-License-Identifier: Apache-2.0
# podvm-image/process-user-data: fetches user data in the pod VM, writes the files it may write, extracts initdata.
pud_src := $(filter-out podvm-image/process-user-data/main.c,$(wildcard podvm-image/process-user-data/*.c))
$(call program,process-user-data,podvm-image/process-user-data/main.c $(pud_src),base cloudinit initdata,libcurl)
$(call unit_test,user_data_test,$(pud_src),base cloudinit initdata,libcurl)
$(call fuzz_target,user_data,$(pud_src),base cloudinit initdata,libcurl)
