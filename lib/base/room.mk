# SPDX-License-Identifier: Apache-2.0
# lib/base: error, log, cleanup, buffers, deadlines, options, files. Knows nothing of any other room.
$(call library,base,,libcrypto jansson)
$(call unit_test,base_test,,base)
$(call unit_test,option_test,,base)
$(call unit_test,list_test,,base)
$(call unit_test,thread_test,,base)
