# SPDX-License-Identifier: Apache-2.0
# lib/http: blocking HTTPS calls within a bound, and the token bucket that callers put before them.
$(call library,http,base,libcurl)
$(call unit_test,http_test,,http)
