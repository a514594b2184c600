# SPDX-License-Identifier: Apache-2.0
# Looking at the code without running it.
.PHONY: lint
lint: $(generated) ## look at the code without running it (format, cppcheck, clang-tidy, gcc -fanalyzer)
	@B=$B tests/lint/lint spdx words format cppcheck tidy
	@$(MAKE) SAN=analyze programs drivers
