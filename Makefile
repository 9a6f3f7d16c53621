# `make` lists what there is. Every step prints one line and its seconds; if it fails, its log.

ZIG_VERSION      := 0.15.2
ZIGBUILD_VERSION := 0.24.1
DENY_VERSION     := 0.20.2
# Peers that are measured beside dtap; Debian has the others.
BORINGTUN_VERSION := 0.7.1
GOTATUN_VERSION   := 0.10.2

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
TOOLS  := $(abspath $(or $(DTAP_TOOLS),$(TARGET)/tools))
IMAGES := $(TARGET)/image
SHIM    = $(TARGET)/$(SHIM_FOR)/release/dtap-shim
LOGS   := $(TARGET)/logs

export PATH                    := $(TOOLS)/bin:$(PATH)
export CARGO_ZIGBUILD_ZIG_PATH := $(TOOLS)/bin/zig
export STEP_LOGS               := $(LOGS)

SYSTEM  := $(shell uname -s)
SYSROOT := $(shell rustc --print sysroot)
ifeq ($(SYSROOT),)
$(error install Rust first: https://rustup.rs)
endif
HOST    := $(shell rustc -vV | sed -n 's/^host: //p')
STD      = $(SYSROOT)/lib/rustlib/$(1)/lib

ARCH_amd64 := x86_64
ARCH_arm64 := aarch64

LINUX := $(ARCH_amd64)-unknown-linux-musl $(ARCH_arm64)-unknown-linux-musl
APPLE := aarch64-apple-darwin x86_64-apple-darwin

# What runs on a user's Mac; the server and the lab are for Linux alone.
PORTABLE := -p dtap-tunnel -p dtap-net -p dtap-shim -p dtap-client

STEP := @.ci/step

# Namespaces, interfaces and routes need root, and the tests that make them get it.
ifneq ($(shell id -u),0)
SUDO := sudo -E
export CARGO_TARGET_$(shell echo $(HOST) | tr a-z- A-Z_)_RUNNER := $(SUDO)
endif

ifeq ($(SYSTEM),Darwin)
PROGRAMS := -p dtap-client
# HyperKit runs on Intel alone, so the shim is for that, whatever this Mac is.
SHIM_FOR := x86_64-apple-darwin
CRATES   := $(PORTABLE) -p dtap-image
TESTED   := $(CRATES)
CHECKS   := logs lock fmt clippy doc unit mock-time deny build totals
else
PROGRAMS := -p dtap-client -p dtap-server
# For the lab, where a Linux program stands for HyperKit.
SHIM_FOR := $(HOST)
CRATES   := --workspace
TESTED   := --workspace --exclude dtap-tests
LAB      := lab-setup
CHECKS   := logs lock fmt clippy clippy-apple doc $(LAB) unit mock-time deny link-apple stories totals
endif

.NOTPARALLEL:
.PHONY: help build bench bench-long demo matrix test lab tools clean servers images image-tool shim programs lab-setup $(CHECKS)

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: programs  ## the client with both server images inside, and the server: target/release

demo: build  ## a lab with a real engine, a container reached by its IP, and everything undone
	@tests/demo.sh

bench: build $(LAB) peers  ## what a tunnel costs, against its peers: tests/BENCH.md
	$(STEP) "bench: build" cargo build --release -p dtap-tests --bin dtap-bench
	@$(SUDO) env DTAP_TOOLS=$(TOOLS) $(TARGET)/release/dtap-bench all --write tests

bench-long: build $(LAB)  ## ten minutes of full load: does memory stay what it is
	$(STEP) "bench: build" cargo build --release -p dtap-tests --bin dtap-bench
	@$(SUDO) $(TARGET)/release/dtap-bench long

matrix: build $(LAB)  ## which network is reachable on which engine: tests/MATRIX.md
	$(STEP) "matrix" env DTAP_WRITE_MATRIX=1 cargo test -p dtap-tests --test matrix

test: $(CHECKS)  ## everything that continuous integration runs

lab: build $(LAB)  ## a shell on the host of a running lab: try anything, leaving undoes it
	@$(SUDO) $(TARGET)/debug/dtap-lab shell

tools: zig zigbuild cargo-deny  ## what the other targets install by themselves, into target/tools

clean:  ## removes what was built, but neither the tools nor the lab's engines
	@find $(TARGET) -mindepth 1 -maxdepth 1 ! -name tools ! -name lab -exec rm -rf {} +

servers: zigbuild $(foreach target,$(LINUX),$(call STD,$(target)))
	$(STEP) "server for Linux, x86_64 and aarch64" \
		cargo zigbuild --release -p dtap-server $(LINUX:%=--target %)

images: $(IMAGES)/dtap-server-amd64.tar.gz $(IMAGES)/dtap-server-arm64.tar.gz

# Always asked for, because it takes no time and leaves an equal file alone.
$(IMAGES)/dtap-server-%.tar.gz: servers image-tool
	@mkdir -p $(IMAGES)/$*
	@cp $(TARGET)/$(ARCH_$*)-unknown-linux-musl/release/dtap-server $(IMAGES)/$*
	$(STEP) "image for linux/$*" $(TARGET)/release/dtap-image \
		--arch $* --binary $(IMAGES)/$*/dtap-server --output $@

image-tool:
	$(STEP) "image tool" cargo build --release -p dtap-image

shim: $(call STD,$(SHIM_FOR))
	$(STEP) "shim for $(SHIM_FOR)" cargo build --release -p dtap-shim --target $(SHIM_FOR)

programs: images shim
	$(STEP) "programs for this machine" \
		env DTAP_IMAGE_DIR=$(IMAGES) DTAP_SHIM=$(SHIM) cargo build --release $(PROGRAMS)

logs:
	@rm -rf $(LOGS)

lock:
	$(STEP) "lock file is complete" cargo metadata --locked --format-version 1

fmt: $(SYSROOT)/bin/cargo-fmt
	$(STEP) "format" cargo fmt --all --check

clippy: $(SYSROOT)/bin/cargo-clippy
	$(STEP) "clippy for this machine" cargo clippy $(CRATES) --all-targets -- -D warnings

clippy-apple: zigbuild $(SYSROOT)/bin/cargo-clippy $(foreach target,$(APPLE),$(call STD,$(target)))
	$(STEP) "clippy for macOS, aarch64 and x86_64" \
		cargo-zigbuild clippy $(PORTABLE) --all-targets $(APPLE:%=--target %) -- -D warnings

doc:
	$(STEP) "documentation" env RUSTDOCFLAGS="-D warnings" \
		cargo doc $(CRATES) --no-deps --document-private-items

unit:
	$(STEP) "unit, property and golden tests" cargo test $(TESTED)

# By itself: the feature would freeze the clock of every program built beside it.
mock-time:
	$(STEP) "tests with simulated time" cargo test -p dtap-tunnel --features mock-time

# Before every test that uses what it installs: tools of the system, engines.
lab-setup:
	$(STEP) "lab: its packages, engines, kernel" cargo run -p dtap-tests --bin dtap-lab -- setup

stories: build $(LAB)
	$(STEP) "end-to-end stories" cargo test -p dtap-tests --no-fail-fast

link-apple: zigbuild $(call STD,aarch64-apple-darwin)
	$(STEP) "client for aarch64-apple-darwin links" \
		cargo zigbuild -p dtap-client --target aarch64-apple-darwin

deny: cargo-deny
	$(STEP) "licences, bans, sources" cargo deny --offline check licenses bans sources

totals:
	@.ci/totals $(LOGS)

# The tools: each is a file named by its version, so that a new version is a new file.
.PHONY: zig zigbuild cargo-deny peers
zig: $(TOOLS)/.zig-$(ZIG_VERSION)
zigbuild: zig $(TOOLS)/.cargo-zigbuild-$(ZIGBUILD_VERSION)
cargo-deny: $(TOOLS)/.cargo-deny-$(DENY_VERSION)
peers: $(TOOLS)/.boringtun-cli-$(BORINGTUN_VERSION) $(TOOLS)/.gotatun-cli-$(GOTATUN_VERSION)

$(TOOLS)/.zig-%:
	$(STEP) "install zig $*" .ci/install-zig $* $(TOOLS)
	@touch $@

$(TOOLS)/.cargo-zigbuild-%:
	$(STEP) "install cargo-zigbuild $*" \
		env -u CARGO_TARGET_DIR cargo install --locked --root $(TOOLS) cargo-zigbuild@$*
	@touch $@

$(TOOLS)/.cargo-deny-%:
	$(STEP) "install cargo-deny $*" \
		env -u CARGO_TARGET_DIR cargo install --locked --root $(TOOLS) cargo-deny@$*
	@touch $@

$(TOOLS)/.boringtun-cli-%:
	$(STEP) "install boringtun-cli $*" \
		env -u CARGO_TARGET_DIR cargo install --locked --root $(TOOLS) boringtun-cli@$*
	@touch $@

$(TOOLS)/.gotatun-cli-%:
	$(STEP) "install gotatun-cli $*" \
		env -u CARGO_TARGET_DIR cargo install --locked --root $(TOOLS) gotatun-cli@$*
	@touch $@

$(SYSROOT)/lib/rustlib/%/lib:
	$(STEP) "install Rust for $*" rustup target add $*

$(SYSROOT)/bin/cargo-%:
	$(STEP) "install $*" rustup component add $(subst fmt,rustfmt,$*)
