# SPDX-License-Identifier: Apache-2.0
# lib/tls: certificates, profiles and contexts for the tunnel. OpenSSL only.
$(call library,tls,base,libssl libcrypto)
$(call unit_test,tls_test,tests/unit/tls_rig.c,tls)
$(call unit_test,tls_handshake_test,tests/unit/tls_rig.c,tls)
