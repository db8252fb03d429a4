# A thin front for Meson. `make demo` and `make check` need nothing before them but git, make and apt: missing Debian
# packages are installed by scripts/deps, which says what it does. `make DEPS=: ...` leaves that out.

BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
DEPS ?= scripts/deps

.PHONY: all build demo check bench install clean format

all: build

build:
	@$(DEPS) build
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD) --prefix=$(PREFIX) -Dtests=false
	@ninja -C $(BUILD)

demo: build
	@$(BUILD)/src/cli/froe demo

# Everything that has to pass; STAGES="unit e2e" picks some of it, see scripts/check.
check:
	@$(DEPS) build check
	@BUILD=$(BUILD) scripts/check

bench: build
	@$(DEPS) bench
	@bench/run $(BUILD)

install: build
	@meson configure $(BUILD) --prefix=$(PREFIX)
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD)
	@test -n "$(DESTDIR)" || test "$$(id -u)" != 0 || ldconfig

clean:
	rm -rf $(BUILD)

format:
	@$(DEPS) format
	@scripts/format
