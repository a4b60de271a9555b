# The developer's door. Every target does its own set-up; `make help` lists them.

PYTHON ?= /usr/bin/python3
UWSGI ?= uwsgi
BUILD := $(CURDIR)/build
PYTEST := $(PYTHON) -m pytest -q -p no:cacheprovider

SOURCES := $(wildcard suspend/*.cc plugin/*.cc plugin/*/*.cc)
HEADERS := $(wildcard suspend/*.h plugin/*/*.h) $(wildcard plugin/*/*.py)
PLUGIN_INPUTS := uwsgiplugin.py plugin/exports.map tools/objects.mk tools/precompiled.h $(SOURCES) $(HEADERS)

# What a unit test links: layers 0 and 1 without CPython and uWSGI, and what needs neither higher up.
UNIT_SOURCES := $(wildcard suspend/*.cc plugin/loop/*.cc plugin/blocking/*.cc) \
	plugin/engine/overload.cc plugin/request/keep_alive.cc plugin/request/websocket_frames.cc plugin/exchange/chunked_decoder.cc
UNIT_TESTS := $(wildcard tests/unit/*/*_test.cc)
UNIT_HEADERS := $(wildcard tests/unit/*.h tests/unit/*/*.h)
UNIT_FLAGS := -std=gnu++17 -g -O1 -Wall -Wextra -Werror -I.
UNIT_LIBS := -lgtest_main -lgtest -lboost_context -lpthread -ldl
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

.PHONY: all help deps test-deps test-heart test-whole test-platforms test-newer-debian test-newer-pythons test-container test-aarch64 install uninstall deb dist test-package docs extension run test test-pythons test-debug-python test-cpython test-cpython-quick unit fuzz soak-fuzz loop-test test-asyncio test-uvloop layers server-test preempt-test release-smoke embed embed-smoke test-embed test-pip asan \
	soak-deps soak soak-asan soak-overload soak-preempt bench bench-apps bench-platforms bench-draw bench-loop test-bench site diagrams test-site format clean loop-test-asan

all: $(BUILD)/tornado_plugin.so ## build build/tornado_plugin.so for the installed uWSGI

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

deps: ## install what a bare Debian lacks to build and run the plugin
	@tools/install-deps build

# smoke: what `make test-heart` needs.
TEST_GROUP ?= test

test-deps: ## install what the tests need as well: databases, drivers, a browser
	@tools/install-deps $(TEST_GROUP)

# $(call build_plugin,folder,extra compiler flags,extra linker flags): make compiles, uWSGI's builder links.
define build_plugin
	@mkdir -p $(1)
	@echo "building $(1)/tornado_plugin.so, a minute (build.log beside it)"
	@export PYTHON=$(PYTHON) UWSGI=$(UWSGI) UWSGI_TORNADO_CFLAGS="$(2)" UWSGI_TORNADO_LDFLAGS="$(3)" && \
		{ tools/plugin-objects $(1)/objects && \
		$(MAKE) --no-print-directory -f tools/objects.mk -j$$(nproc) FOLDER=$(1)/objects && \
		cd $(1) && UWSGI_TORNADO_OBJECTS=$(1)/objects $(UWSGI) --build-plugin "$(CURDIR) tornado"; } > $(1)/build.log 2>&1 || \
		{ cat $(1)/build.log; exit 1; }
endef

# Less debug information, which costs a quarter of the time: functions and lines.
$(BUILD)/tornado_plugin.so: $(PLUGIN_INPUTS) | deps
	$(call build_plugin,$(BUILD),-g1,)

# Counts fibers, watchers and references, and says at the end what is left.
$(BUILD)/debug/tornado_plugin.so: $(PLUGIN_INPUTS) | deps
	$(call build_plugin,$(BUILD)/debug,-DUWSGI_TORNADO_DEBUG,)

$(BUILD)/asan/tornado_plugin.so: $(PLUGIN_INPUTS) | deps
	$(call build_plugin,$(BUILD)/asan,-DUWSGI_TORNADO_DEBUG $(SANITIZE),$(SANITIZE))

# How compilers find thread-local data of an object that is opened: by a function of the loader's, or by a descriptor.
# On a bare machine there is no compiler yet.
ifneq ($(findstring x86_64,$(or $(shell $(CXX) -dumpmachine 2> /dev/null),$(shell uname -m))),)
TLS_BY_CALL := gnu
TLS_BY_DESCRIPTOR := gnu2
else
TLS_BY_CALL := trad
TLS_BY_DESCRIPTOR := desc
endif

# $(call unit_tests,folder,extra flags)
define unit_tests
$(1)/unit_tests: $(UNIT_SOURCES:%.cc=$(1)/unit/%.o) $(UNIT_TESTS:%.cc=$(1)/unit/%.o) | $(1)/tls_by_call.so $(1)/tls_by_descriptor.so
	@$(CXX) $(2) $$^ -o $$@ $(UNIT_LIBS)
$(1)/tls_by_%.so: tests/unit/suspend/thread_local_object.c | test-deps
	@mkdir -p $$(@D)
	@$(CC) -shared -fPIC -O1 -mtls-dialect=$$(if $$(filter call,$$*),$(TLS_BY_CALL),$(TLS_BY_DESCRIPTOR)) $$< -o $$@
$(1)/unit/%.o: %.cc $(HEADERS) $(UNIT_HEADERS) | test-deps
	@mkdir -p $$(@D)
	@echo "compiling $$<"
	@$(CXX) $(UNIT_FLAGS) $(2) -c $$< -o $$@
endef
$(eval $(call unit_tests,$(BUILD),))
$(BUILD)/larger_pages.so: tests/unit/suspend/larger_pages.c | test-deps
	@mkdir -p $(@D)
	@$(CC) -shared -fPIC -O1 -Wall -Wextra -Werror $< -o $@
$(eval $(call unit_tests,$(BUILD)/asan,$(SANITIZE)))

# --- Fuzzing ------------------------------------------------------------------------------------

# What is fuzzed, and the source that it links.
FUZZED := chunked_body elf_tables keep_alive object_choice option_numbers response_head websocket_frames
SOURCE_OF_chunked_body := plugin/exchange/chunked_decoder.cc
SOURCE_OF_elf_tables := plugin/blocking/got.cc
SOURCE_OF_keep_alive := plugin/request/keep_alive.cc
SOURCE_OF_object_choice := plugin/blocking/object_choice.cc
SOURCE_OF_option_numbers := plugin/uwsgi/option_numbers.cc
SOURCE_OF_response_head := plugin/http/response_head.cc
SOURCE_OF_websocket_frames := plugin/request/websocket_frames.cc
FUZZERS := $(FUZZED:%=$(BUILD)/fuzz/%)
FUZZ_FLAGS := -std=gnu++17 -g -O1 -Wall -Wextra -Werror -I. -fsanitize=fuzzer $(SANITIZE)
FUZZ_SECONDS ?= 300

$(FUZZERS): $(BUILD)/fuzz/%: tests/fuzz/%_fuzz.cc $(HEADERS) | test-deps
	@mkdir -p $(@D)
	@echo "compiling $<"
	@clang++ $(FUZZ_FLAGS) $< $(SOURCE_OF_$*) -o $@
$(foreach name,$(FUZZED),$(eval $(BUILD)/fuzz/$(name): $(SOURCE_OF_$(name))))

# $(call fuzz,options): the one that finds something says with which input, and leaves that in build/fuzz.
define fuzz
	@for name in $(FUZZED); do \
		$(BUILD)/fuzz/$$name $(1) -timeout=10 -artifact_prefix=$(BUILD)/fuzz/$$name- > $(BUILD)/fuzz/$$name.log 2>&1 || \
			{ tail -40 $(BUILD)/fuzz/$$name.log; exit 1; }; \
		echo "$$name: $$(tail -1 $(BUILD)/fuzz/$$name.log)"; \
	done
endef

fuzz: $(FUZZERS) ## fuzz the parsers of foreign bytes, with the same inputs each time
	@rm -rf $(BUILD)/fuzz/new && mkdir $(FUZZED:%=-p $(BUILD)/fuzz/new/%)
	$(call fuzz,-seed=1 -runs=50000 $(BUILD)/fuzz/new/$$name $(CURDIR)/tests/fuzz/corpus/$$name)

soak-fuzz: $(FUZZERS) ## the same with new inputs, FUZZ_SECONDS (300) each; keeps useful inputs in build/fuzz
	@mkdir -p $(FUZZERS:%=%.corpus)
	$(call fuzz,-max_total_time=$(FUZZ_SECONDS) $(BUILD)/fuzz/$$name.corpus $(CURDIR)/tests/fuzz/corpus/$$name)

# --- The plain extension module: the event loop without uWSGI ---------------------------------

EXTENSION_SOURCES := $(wildcard suspend/*.cc plugin/loop/*.cc plugin/blocking/*.cc \
	$(foreach room,http fetch python asyncio tornado greenlet module,plugin/$(room)/*.cc))
EXTENSION_SOURCES := $(filter-out plugin/fetch/without_libcurl.cc,$(EXTENSION_SOURCES))
ask_python = $(shell $(PYTHON) -c 'import sysconfig as s; print($(1))' 2>/dev/null)
EXTENSION = uwsgi_tornado$(call ask_python,s.get_config_var("EXT_SUFFIX"))
VERSION := $(shell sed -n 's/^## \([^ ]*\).*/\1/p' CHANGELOG.md | head -1)
EXTENSION_FLAGS = -std=gnu++17 -g -O2 -fPIC -fvisibility=hidden -fno-strict-aliasing -Wall -Wextra -Werror \
	-Wno-missing-field-initializers -DPY_SSIZE_T_CLEAN= -DUWSGI_TORNADO_VERSION='"$(VERSION)"' -I. -I$(call ask_python,s.get_path("include"))

# $(call extension,folder,extra flags)
define extension
$(1)/$(EXTENSION): $(EXTENSION_SOURCES:%.cc=$(1)/extension/%.o)
	@$(CXX) -shared $(2) $$^ -o $$@ -lboost_context -lpthread -ldl
$(1)/extension/%.o: %.cc $(HEADERS) | deps
	@mkdir -p $$(@D)
	@echo "compiling $$<"
	@$(CXX) $(EXTENSION_FLAGS) $(2) -c $$< -o $$@
endef
$(eval $(call extension,$(BUILD),-DNDEBUG))
$(eval $(call extension,$(BUILD)/debug,-DUWSGI_TORNADO_DEBUG))
$(eval $(call extension,$(BUILD)/asan,-DUWSGI_TORNADO_DEBUG $(SANITIZE)))

extension: $(BUILD)/$(EXTENSION) ## build build/uwsgi_tornado.*.so: `PYTHONPATH=build python3 -c "import uwsgi_tornado"`

# --- Installing ---------------------------------------------------------------------------------

PREFIX ?= /usr/local
PLUGINDIR ?= $(or $(shell $(UWSGI) --cflags 2>/dev/null | sed -n 's/.*-DUWSGI_PLUGIN_DIR="*.*"\(\/[^"\]*\).*/\1/p'),/usr/lib/uwsgi/plugins)
STUBDIR ?= $(call ask_python,s.get_path("purelib"))
DOCDIR ?= $(PREFIX)/share/doc/uwsgi-tornado
PACKAGE := $(BUILD)/uwsgi-plugin-tornado-fibers_$(VERSION)_$(shell dpkg --print-architecture 2>/dev/null).deb
TARBALL := $(BUILD)/uwsgi-tornado-$(VERSION).tar.gz

# The stub is a package of its own (PEP 561): the module is inside uWSGI, where no checker looks.
install: $(BUILD)/tornado_plugin.so ## install into uWSGI's plugin folder; DESTDIR, PREFIX, PLUGINDIR, STUBDIR, DOCDIR
	install -D -s -m 644 $(BUILD)/tornado_plugin.so $(DESTDIR)$(PLUGINDIR)/tornado_plugin.so
	install -D -m 644 typing/uwsgi_tornado.pyi $(DESTDIR)$(STUBDIR)/uwsgi_tornado-stubs/__init__.pyi
	install -d $(DESTDIR)$(DOCDIR)
	install -m 644 README.md CHANGELOG.md LICENSE $(DESTDIR)$(DOCDIR)
	cp -r --no-preserve=mode,ownership docs examples $(DESTDIR)$(DOCDIR)
	install -D -m 644 -t $(DESTDIR)$(DOCDIR)/bench bench/README.md bench/RESULTS.md bench/results.json
	install -D -m 644 -t $(DESTDIR)$(DOCDIR)/bench/plots bench/plots/*.svg
	find $(DESTDIR)$(DOCDIR) -name __pycache__ -prune -exec rm -r {} +

uninstall: ## remove what `make install` installed
	rm -f $(DESTDIR)$(PLUGINDIR)/tornado_plugin.so
	rm -rf $(DESTDIR)$(STUBDIR)/uwsgi_tornado-stubs $(DESTDIR)$(DOCDIR)

deb: $(PACKAGE) ## build build/uwsgi-plugin-tornado-fibers_*.deb, for this machine's uWSGI and Python

$(PACKAGE): $(BUILD)/tornado_plugin.so tools/build-deb typing/uwsgi_tornado.pyi README.md CHANGELOG.md LICENSE \
		$(wildcard docs/*.md docs/*/*.md examples/*/* bench/*.md bench/*.json bench/plots/*)
	rm -rf $(BUILD)/deb
	@$(MAKE) --no-print-directory install DESTDIR=$(BUILD)/deb PLUGINDIR=/usr/lib/uwsgi/plugins \
		STUBDIR=/usr/lib/python3/dist-packages DOCDIR=/usr/share/doc/uwsgi-plugin-tornado-fibers
	tools/build-deb $(BUILD)/deb $(VERSION) $@

dist: ## build build/uwsgi-tornado-*.tar.gz from the committed files
	@mkdir -p $(BUILD)
	git archive --prefix=uwsgi-tornado-$(VERSION)/ -o $(TARBALL) HEAD
	@echo $(TARBALL)

# tests/server has the fixtures.
test-package: test-deps deb dist ## check the contents of the Debian package and the tarball, and serve a request from the package
	PYTHONPATH=tests/server PACKAGE=$(PACKAGE) TARBALL=$(TARBALL) \
		$(PYTEST) -p conftest -c tests/server/pytest.ini tests/package/test_package.py

docs: $(BUILD)/debug/$(EXTENSION) ## write docs/api.md, docs/options.md and the lists of docs/blocking.md from docstrings and tables
	PYTHONPATH=$(BUILD)/debug $(PYTHON) tools/write-api > $(BUILD)/api.md
	mv $(BUILD)/api.md docs/api.md
	tools/write-options > docs/options.md
	tools/write-blocking > $(BUILD)/blocking.md
	mv $(BUILD)/blocking.md docs/blocking.md

run: $(BUILD)/tornado_plugin.so ## serve an example on 127.0.0.1:9090
	@trap : INT; tools/run-example || [ $$? = 30 ]  # What uWSGI says at its end by Ctrl-C.

test: test-deps layers unit fuzz loop-test test-asyncio server-test test-cpython-quick preempt-test release-smoke test-bench test-package test-site embed-smoke test-pip test-newer-debian test-container ## build and run everything

layers: | deps ## check that layers only look down, every header compiles alone, and C++ is formatted and in small pieces
	$(PYTHON) .ci/check_layers.py
	$(PYTHON) .ci/check_style.py

# Stacks once more as on kernels whose pages are larger.
unit: ## C++ tests: no interpreter, no uWSGI
	@$(MAKE) --no-print-directory -j$$(nproc) $(BUILD)/unit_tests $(BUILD)/larger_pages.so
	$(BUILD)/unit_tests --gtest_brief=1
	@for pages in 16384 65536; do \
		LD_PRELOAD=$(BUILD)/larger_pages.so PAGES=$$pages $(BUILD)/unit_tests --gtest_brief=1 --gtest_filter='Stack*' || exit 1; \
	done

loop-test: test-deps $(BUILD)/debug/$(EXTENSION) ## run the tests of the event loop on asyncio's loop, as the reference, and on ours
	PYTHONPATH=$(BUILD)/debug $(PYTEST) -o faulthandler_timeout=60 tests/loop

# CPython itself leaks what it keeps to its end; and where no memory is left the sanitizer ends the process.
loop-test-asan: test-deps $(BUILD)/asan/$(EXTENSION)
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
		PYTHONMALLOC=malloc PYTHONPATH=$(BUILD)/asan $(PYTEST) -o faulthandler_timeout=60 tests/loop \
		--deselect tests/loop/test_memory.py::test_a_run_that_ends_without_memory_is_over

test-asyncio: test-deps $(BUILD)/debug/$(EXTENSION) ## run CPython's own test.test_asyncio on our event loop
	PYTHONPATH=$(BUILD)/debug:$(CURDIR)/tests $(PYTHON) tests/asyncio_oracle/run.py

test-uvloop: test-deps $(BUILD)/debug/$(EXTENSION) ## run uvloop's own tests on our event loop, from Debian's source package or UVLOOP_SRC
	PYTHONPATH=$(BUILD)/debug:$(CURDIR)/tests $(PYTHON) tests/uvloop_oracle/run.py "$$(tools/uvloop-source $(BUILD)/uvloop)"

server-test: test-deps $(BUILD)/debug/tornado_plugin.so ## run the tests of a real uwsgi with the debug build
	TORNADO_PLUGIN=$(BUILD)/debug/tornado_plugin.so $(PYTEST) tests/server

CPYTHON_IN_REQUESTS = TORNADO_PLUGIN=$(BUILD)/debug/tornado_plugin.so PYTHONPATH=$(CURDIR)/tests:$(CURDIR)/tests/server $(PYTHON) tests/cpython_in_requests/run.py

test-cpython: test-deps $(BUILD)/debug/tornado_plugin.so ## run CPython's own tests inside requests, compared with --threads (half an hour)
	$(CPYTHON_IN_REQUESTS)

test-cpython-quick: test-deps $(BUILD)/debug/tornado_plugin.so ## run a part of them
	$(CPYTHON_IN_REQUESTS) --quick

# Where requests give way at any point, their isolation, locks and callbacks are as before.
PREEMPTED_TESTS := $(addprefix tests/server/test_,isolation.py gil.py locks.py)
PREEMPTION_SOAK := $(PYTEST) -s tests/server/soak_preemption.py

preempt-test: test-deps $(BUILD)/debug/tornado_plugin.so ## run tests that must not notice preemption, with a quantum of 1 ms
	TORNADO_PLUGIN=$(BUILD)/debug/tornado_plugin.so TORNADO_OPTIONS="--tornado-quantum 1" $(PYTEST) $(PREEMPTED_TESTS)

soak-preempt: test-deps $(BUILD)/tornado_plugin.so $(BUILD)/asan/tornado_plugin.so ## run a million preemptions, and 200000 under ASan (half an hour)
	TORNADO_PLUGIN=$(BUILD)/tornado_plugin.so $(PREEMPTION_SOAK)
	TORNADO_PLUGIN=$(BUILD)/asan/tornado_plugin.so TORNADO_ASAN=1 SOAK_PREEMPTIONS=200000 $(PREEMPTION_SOAK)

# uWSGI 2.0.21's own python plugin does not compile with 3.12 and later: these run on Debian 13's uWSGI.
pythons = $(wildcard $(foreach version,$(1),$(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.$(version).*/bin/python3))
NEWER_PYTHONS = $(call pythons,12 13)

# $(call test_pythons,each python3): the heart's tests
define test_pythons
	@for python in $(1); do \
		folder=$(BUILD)/$$($$python -c 'import platform; print("python" + platform.python_version())') && \
		echo "with $$python" && UWSGI_TORNADO_CFLAGS=-DUWSGI_TORNADO_DEBUG tools/build-for-python $$python $$folder && \
		PYTHON_OF_UWSGI=$$python UWSGI_PYTHON_PLUGIN=$$folder/python_plugin.so TORNADO_PLUGIN=$$folder/tornado_plugin.so \
			$(PYTEST) $(PREEMPTED_TESTS) $(addprefix tests/server/test_,preemption.py request_timeout.py) || exit 1; \
	done
endef

test-pythons: | test-deps ## run test-heart with every other Python from 3.8 to 3.13 that pyenv has here; 3.12 and later in a bare Debian 13
	$(call test_pythons,$(call pythons,8 9 10))
	@[ -z "$(NEWER_PYTHONS)" ] || tools/platform trixie make TEST_GROUP=smoke test-newer-pythons

test-newer-pythons: | test-deps
	$(call test_pythons,$(NEWER_PYTHONS))

# Ways to end a request, with a Python that counts references and checks its own rules.
DEBUG_PYTHON ?= /usr/bin/python3-dbg

test-debug-python: ## run test-heart with Debian's debug Python, and check that no reference leaks
	@tools/install-deps debug
	UWSGI_TORNADO_CFLAGS=-DUWSGI_TORNADO_DEBUG tools/build-for-python $(DEBUG_PYTHON) $(BUILD)/debug-python
	@export PYTHON_OF_UWSGI=$(DEBUG_PYTHON) UWSGI_PYTHON_PLUGIN=$(BUILD)/debug-python/python_plugin.so \
		TORNADO_PLUGIN=$(BUILD)/debug-python/tornado_plugin.so && \
		$(SOAK)/test_references.py && $(PYTEST) $(PREEMPTED_TESTS) $(addprefix tests/server/test_,request_timeout.py async_libraries.py)

# --- Other platforms ------------------------------------------------------------------------------

# What differs with CPython, uWSGI, compiler and libc.
HEART_TESTS := $(addprefix tests/server/test_,await.py gil.py greenlet.py isolation.py locks.py responses.py signal_masks.py \
	stopping.py thread_local.py tools_of_python.py)
PLATFORMS ?= bookworm trixie forky

test-heart: test-deps $(BUILD)/debug/tornado_plugin.so ## run the server tests that depend on CPython, uWSGI, compiler or libc
	TORNADO_PLUGIN=$(BUILD)/debug/tornado_plugin.so $(PYTEST) $(HEART_TESTS) $(addprefix tests/server/test_,fibers_seen.py interpreters.py)
	@[ -z "$(NOTE_RUNS)" ] || $(PYTHON) tools/note-run "make test-heart"

test-whole: unit loop-test test-asyncio server-test preempt-test ## run every test of the loop, of CPython and of the server
	@[ -z "$(NOTE_RUNS)" ] || $(PYTHON) tools/note-run "make test-whole"

# What runs there: test-heart, which needs few packages, or test-whole, for most of an hour.
PLATFORM_TESTS ?= test-heart

test-platforms: ## run PLATFORM_TESTS (test-heart, or test-whole) in a bare tree of each Debian in PLATFORMS (as root, networked); updates README's table
	@for release in $(PLATFORMS); do \
		NOTE_RUNS=yes tools/platform $$release make TEST_GROUP=$(if $(filter test-heart,$(PLATFORM_TESTS)),smoke,test) $(PLATFORM_TESTS) || exit 1; \
	done

test-newer-debian: ## run test-heart in a bare Debian 13
	@tools/platform trixie make TEST_GROUP=smoke test-heart

# In namespaces that end with the tests, as do the containers.
test-container: test-deps ## build and run examples/container with podman, docker or in a chroot (as root; the first time takes some minutes)
	@tools/install-deps containers
	@tools/platform bookworm true
	PYTHONPATH=tests/server OWN_MOUNTS=yes unshare --mount --pid --fork --kill-child --mount-proc --propagation private \
		$(PYTEST) -s -p conftest -c tests/server/pytest.ini tests/package/test_container.py

# --- Another machine, emulated --------------------------------------------------------------------

# The tree of that machine, its build, and a `uwsgi` that enters both. Tests, clients and databases are this machine's.
AARCH64 ?= $(BUILD)/aarch64
EMULATED := qemu-aarch64-static -L $(AARCH64)/tree
# $(call cross,gcc or g++): the compiler; by ccache where the other one is.
cross = $(strip $(filter ccache,$(CXX)) aarch64-linux-gnu-$(1) --sysroot=$(AARCH64)/tree)
MAKE_FOR_AARCH64 = UWSGI_SRC=$(AARCH64)/tree/usr/src/uwsgi $(MAKE) --no-print-directory TEST_GROUP=aarch64 BUILD=$(AARCH64) \
	PYTHON=$(AARCH64)/python3 UWSGI=$(AARCH64)/bin/uwsgi CC="$(call cross,gcc)" CXX="$(call cross,g++)"

# What qemu itself does wrong (7.2).
# - It ends by an assertion, or select() by EFAULT, when the sets are larger than an fd_set.
FAULTS_OF_QEMU := *.TakesSetsLargerThanFdSet/* *.TakesMoreDescriptorsThanItsSetsHave/*
# - recv() ends by EFAULT now and then while another thread sends, in any program.
FAULTS_OF_QEMU += *.ReturnsOnceASlowReader*/* *.SendsAllWhereItMayNotSuspend/*
# - mq_timedsend() and mq_timedreceive() write their timeout back, so EFAULT if it is a constant.
FAULTS_OF_QEMU += *MessageQueueTest.ReceivingWaitsForAMessage/OnFibers *MessageQueueTest.SendingWaitsForRoom/OnFibers
# - It does not know epoll_pwait2(), and maps a library that comes back at another address.
FAULTS_OF_QEMU += *.EpollPwait2Waits/* LibraryThatGoes.IsRedirectedAnewWhenItComesBack
# Memory of a request (named as pytest does, from the folder of pytest.ini): qemu itself takes 280 KiB for each thread that was there, in any program.
AARCH64_TESTS_1 := $(addprefix tests/server/test_,thread_local.py greenlets.py stacks.py preemption.py) \
	--deselect test_stacks.py::test_memory_of_requests_that_wait
AARCH64_TESTS_2 := $(addprefix tests/server/test_,isolation.py gil.py locks.py) $(addprefix tests/server/test_request_timeout.py::test_, \
	request_is_told_in_whatever_wait_it_is what_it_does_not_catch_is_a_504 nobody_else_is_ended)

test-aarch64: ## run the unit tests and test-heart for aarch64, with uWSGI emulated (networked; updates README's table)
	@tools/install-deps aarch64
	@tools/aarch64-tree $(AARCH64)
	@$(MAKE_FOR_AARCH64) -j$$(nproc) $(AARCH64)/debug/tornado_plugin.so $(AARCH64)/unit_tests
	$(EMULATED) $(AARCH64)/unit_tests --gtest_brief=1 --gtest_filter='-$(subst $(eval) ,:,$(strip $(FAULTS_OF_QEMU)))'
	@$(MAKE) --no-print-directory -j2 emulated-servers-1 emulated-servers-2
	@PATH=$(AARCH64)/bin:$$PATH CC="$(call cross,gcc)" $(AARCH64)/python3 tools/note-run "make test-aarch64, under emulation"

# A server is one thread at a time, so two halves keep two cores busy.
emulated-servers-%:
	PATH=$(AARCH64)/bin:$$PATH CC_OF_UWSGI="$(call cross,gcc)" CXX_OF_UWSGI="$(call cross,g++)" \
		TORNADO_PLUGIN=$(AARCH64)/debug/tornado_plugin.so $(PYTEST) $(AARCH64_TESTS_$*)

release-smoke: test-deps $(BUILD)/tornado_plugin.so ## run a part of the server tests with the build that users get
	TORNADO_PLUGIN=$(BUILD)/tornado_plugin.so $(PYTEST) tests/server -m smoke

embed: ## build build/embed/uwsgi, one binary with Python and this engine inside (UWSGI_SRC= to choose the source)
	@tools/install-deps embed
	@echo "building $(BUILD)/embed/uwsgi, some minutes (build.log beside it)"
	@PYTHON=$(PYTHON) tools/build-embedded $(BUILD)/embed

embed-smoke: test-deps embed ## run a part of the server tests against that binary
	UWSGI_EMBEDDED=$(BUILD)/embed/uwsgi $(PYTEST) tests/server -m smoke

# What pip builds: the tests of its own, and unless it is called by `make test`, which has run them on `make embed`'s, the same smoke part.
test-pip: test-deps embed ## test uWSGI with the engine inside, as pip builds it in a virtual environment
	@tools/install-deps pip
	@echo "pip builds $(BUILD)/pip/venv/bin/uwsgi, some minutes (build.log beside it)"
	@PYTHON=$(PYTHON) tools/build-with-pip $(BUILD)/pip
	UWSGI_OF_PIP=$(BUILD)/pip/venv/bin/uwsgi $(PYTEST) tests/package/test_pip.py
	[ -n "$(filter test,$(MAKECMDGOALS))" ] || UWSGI_EMBEDDED=$(BUILD)/pip/venv/bin/uwsgi $(PYTEST) tests/server -m smoke

test-embed: test-deps embed ## run all server tests against that binary
	UWSGI_EMBEDDED=$(BUILD)/embed/uwsgi $(PYTEST) tests/server

asan: test-deps $(BUILD)/asan/tornado_plugin.so loop-test-asan ## run the unit, loop and server tests under ASan and UBSan
	@$(MAKE) --no-print-directory -j$$(nproc) $(BUILD)/asan/unit_tests
	$(BUILD)/asan/unit_tests --gtest_brief=1
	TORNADO_PLUGIN=$(BUILD)/asan/tornado_plugin.so TORNADO_ASAN=1 $(PYTEST) tests/server

# tests/server has the fixtures.
SOAK := PYTHONPATH=tests/server:tests/apps $(PYTEST) -s -p conftest -c tests/server/pytest.ini tests/soak

soak-deps:
	@tools/install-deps soak

soak: soak-deps $(BUILD)/debug/tornado_plugin.so soak-fuzz ## run every client library at once and chaos for SOAK_MINUTES (10) each, SOAK_RELOADS (20) reloads, and other long tests
	TORNADO_PLUGIN=$(BUILD)/debug/tornado_plugin.so $(SOAK)

soak-asan: soak-deps $(BUILD)/asan/tornado_plugin.so ## run the same under ASan and UBSan
	TORNADO_PLUGIN=$(BUILD)/asan/tornado_plugin.so TORNADO_ASAN=1 $(SOAK)

soak-overload: test-deps $(BUILD)/debug/tornado_plugin.so ## let SOAK_CONNECTIONS (10000) clients connect at once to 100 cores (three minutes)
	TORNADO_PLUGIN=$(BUILD)/debug/tornado_plugin.so $(PYTEST) -s tests/server/soak_overload.py

bench: $(BUILD)/tornado_plugin.so $(BUILD)/$(EXTENSION) ## measure against the peers, interleaved (at most 25 minutes); writes bench/RESULTS.md, its plots and results.json
	@tools/install-deps bench
	$(PYTHON) bench/run.py

bench-apps: $(BUILD)/tornado_plugin.so ## measure Flask and Django on PostgreSQL, and a hello behind nginx (at most 15 minutes); writes bench/applications/
	@tools/install-deps bench
	$(PYTHON) bench/run.py --applications

# The ratios of a platform to its own other servers are what is compared: RELEASE is the other Debian.
RELEASE ?= trixie

bench-platforms: $(BUILD)/tornado_plugin.so ## measure hello, kept, timers, drivers, fetches and a busy thread here and on RELEASE (trixie) in turn (half an hour, as root)
	@tools/install-deps bench platforms
	@tools/platform $(RELEASE) make TEST_GROUP=bench test-deps all
	$(PYTHON) bench/platforms.py --release $(RELEASE)

bench-draw: | deps ## write bench/RESULTS.md and its plots again from bench/results.json
	$(PYTHON) bench/run.py --draw

test-bench: test-deps $(BUILD)/tornado_plugin.so ## check the output of `make bench`
	$(PYTEST) tests/bench

bench-loop: $(BUILD)/$(EXTENSION) ## measure the event loop beside asyncio's and uvloop (two minutes)
	$(PYTHON) bench/loop.py --floor

site: test-deps ## build the documentation as HTML with search: build/site/html/index.html
	@tools/build-site $(BUILD)/site
	@echo "$(BUILD)/site/html/index.html"

diagrams: ## draw docs/diagrams/*.svg from their sources; needs graphviz
	tools/draw-diagrams

test-site: site ## test links, search, and every page in a browser at two widths
	$(PYTEST) tests/site

format: ## clang-format all C++ and C
	clang-format -i $$(git ls-files -co --exclude-standard '*.cc' '*.h' '*.c')

clean: ## remove build/
	rm -rf $(BUILD)
