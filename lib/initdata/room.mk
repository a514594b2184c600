# SPDX-License-Identifier: Apache-2.0
# lib/initdata: the codec of initdata: base64(gzip(TOML)), limits, digests. toml++ behind a C door.
$(call library,initdata,base,libcrypto zlib tomlplusplus)
$(call unit_test,initdata_test,,initdata)
$(call fuzz_target,initdata,,initdata)
