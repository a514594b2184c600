# SPDX-License-Identifier: Apache-2.0
# lib/http: blocking HTTPS calls within a bound, and the token bucket that callers put before them.
$(call library,http,base,libcurl)
$(call unit_test,http_test,,http)
$(call unit_test,attempt_test,,http)
$(call unit_test,batch_test,,http)
# The clock that bearer.c reads can be set.
$(call unit_test,bearer_test,,http,,-Wl$(comma)--wrap=clock_ns)
