# Compiles the plugin's objects into FOLDER, where tools/plugin-objects has written what is included
# here. Each knows the headers it was made of, by the name the object has from the project's root, where this is
# run: ccache may write no other (CCACHE_BASEDIR).
override FOLDER := $(FOLDER:$(CURDIR)/%=%)
include $(FOLDER)/objects.mk

all: $(OBJECTS:%=$(FOLDER)/%)

$(FOLDER)/%.o: %.cc $(FOLDER)/flags $(FOLDER)/uwsgi.h
	@mkdir -p $(@D)
	@echo "$(CXX) $<"
	@$(CXX) @$(FOLDER)/flags -MMD -MP -c $< -o $@

# Those whose text an object has inside (.incbin), which the compiler does not tell.
$(foreach object,$(OBJECTS),$(eval $(FOLDER)/$(object): $(wildcard $(dir $(object))*.py)))

-include $(OBJECTS:%.o=$(FOLDER)/%.d)
