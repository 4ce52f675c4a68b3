# SPDX-License-Identifier: BSL-1.0
#
# cmake -DPATCH=<file> -DSOURCE_DIR=<root> -DOUT=<folder> -DPATCH_PROGRAM=<patch> -P plant.cmake
# Copies the files that the patch changes to OUT, under the same paths, and patches the copies. A patch that no longer
# applies as it stands is an error.

file(REMOVE_RECURSE "${OUT}")
file(STRINGS "${PATCH}" targets REGEX "^\\+\\+\\+ b/")
foreach(target IN LISTS targets)
    string(REGEX REPLACE "^\\+\\+\\+ b/" "" path "${target}")
    cmake_path(GET path PARENT_PATH folder)
    file(COPY "${SOURCE_DIR}/${path}" DESTINATION "${OUT}/${folder}")
endforeach()
execute_process(COMMAND "${PATCH_PROGRAM}" -p1 --batch --forward --fuzz=0 -d "${OUT}" -i "${PATCH}"
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT result EQUAL 0)
    file(REMOVE_RECURSE "${OUT}")
    cmake_path(GET PATCH FILENAME name)
    message(FATAL_ERROR "the planted bug ${name} no longer applies: bring it up to date\n${output}")
endif()
file(TOUCH "${OUT}/planted")
