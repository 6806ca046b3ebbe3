# The few words a newcomer needs; `make help` lists them.

CARGO  ?= cargo
TARGET ?= $(or $(CARGO_TARGET_DIR),target)
DEMO   ?= ./demo
BINARIES = -p posternd -p postern-vserver -p postern-authd -p postern-cli

.PHONY: help build run test bench man

help: ## list these words
	@awk -F': .*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

build: ## build posternd, postern-vserver and postern
	$(CARGO) build $(BINARIES)

run: build ## build, then run a demonstration with two servers on loopback, without root
	@exec $(TARGET)/debug/postern demo --dir $(DEMO)

test: ## install what the tests need, build everything and run every test
	@tests/tools
	$(CARGO) build --quiet --workspace --bins
	$(CARGO) test --workspace

bench: ## measure against Postfix and Dovecot (BENCH_QUICK=1: a first look)
	@tests/tools postfix dovecot-core dovecot-lmtpd
	$(CARGO) build --quiet --release $(BINARIES) -p postern-tests --bins
	@exec $(TARGET)/release/postern-bench

man: build ## write the manual pages to target/man
	$(TARGET)/debug/postern man $(TARGET)/man
