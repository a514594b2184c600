# SPDX-License-Identifier: Apache-2.0
# lib/proto: our own definitions of the messages, and of their fields, that we read or write.
# Fields that a definition leaves out are kept: protobuf-c carries unknown fields through.
$(call library,proto,,libprotobuf-c)
