# Compiles the plugin's objects into FOLDER, where tools/plugin-objects has written what is included
# here. Each knows the headers it was made of, by the name the object has from the project's root, where this is
# run: ccache may write no other (CCACHE_BASEDIR).
override FOLDER := $(FOLDER:$(CURDIR)/%=%)
include $(FOLDER)/objects.mk

# ccache keeps what was made with a precompiled header only if it is told that this one defines nothing that
# changes, and tells no time.
export CCACHE_SLOPPINESS ?= pch_defines,time_macros
PRECOMPILED := $(FOLDER)/precompiled.h

all: $(OBJECTS:%=$(FOLDER)/%)

# The headers of most sources cost more time than the sources.
$(PRECOMPILED).gch: tools/precompiled.h $(FOLDER)/flags
	@echo '#include "tools/precompiled.h"' > $(PRECOMPILED)
	@echo "$(CXX) $<"
	@$(CXX) @$(FOLDER)/flags -x c++-header $(PRECOMPILED) -o $@

$(FOLDER)/%.o: %.cc $(FOLDER)/flags $(FOLDER)/uwsgi.h $(PRECOMPILED).gch
	@mkdir -p $(@D)
	@echo "$(CXX) $<"
	@$(CXX) @$(FOLDER)/flags -include $(PRECOMPILED) -MMD -MP -c $< -o $@

# Those whose text an object has inside (.incbin), which the compiler does not tell.
$(foreach object,$(OBJECTS),$(eval $(FOLDER)/$(object): $(wildcard $(dir $(object))*.py)))

-include $(OBJECTS:%.o=$(FOLDER)/%.d)
