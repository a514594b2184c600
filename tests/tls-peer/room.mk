# SPDX-License-Identifier: Apache-2.0
# tests/tls-peer: lib/tls as a program, so that tests can put other TLS stacks at its other end.
$(call program,tls-peer,tests/tls-peer/main.c,tls)
test_programs += tls-peer
