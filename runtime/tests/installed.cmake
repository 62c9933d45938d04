# Installs the library, moves it and builds the examples with it: with find_package, and with pkg-config where there is
# one, and runs them and bmx-run. KIND is the library that the examples use.
function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE STATUS OUTPUT_VARIABLE OUTPUT ERROR_VARIABLE OUTPUT)
  if(STATUS)
    message(FATAL_ERROR "${ARGV}: ${STATUS}\n${OUTPUT}")
  endif()
  message("${OUTPUT}")
  set(OUTPUT "${OUTPUT}" PARENT_SCOPE)
endfunction()

# Runs a command that has to end with this exit code and say something.
function(refused CODE WORDS)
  execute_process(COMMAND ${EMULATOR} ${ARGN} RESULT_VARIABLE STATUS OUTPUT_VARIABLE OUTPUT ERROR_VARIABLE ERROR)
  if(NOT STATUS STREQUAL CODE OR NOT OUTPUT STREQUAL "" OR NOT ERROR MATCHES "${WORDS}")
    message(FATAL_ERROR "${ARGN}: ${STATUS}\n${OUTPUT}${ERROR}not ${CODE}, ${WORDS}")
  endif()
endfunction()

# What the examples say where something is wrong.
function(check_complaints CPP C)
  refused(2 "^usage: classify PREFIX IMAGE\n$" "${CPP}")
  refused(2 "^usage: classify PREFIX\n$" "${C}")
  refused(1 "none-symbol.json is missing" "${CPP}" "${MODEL}-none" "${IMAGE}")
  refused(1 "none-symbol.json is missing" "${C}" "${MODEL}-none")
  refused(1 "/none.ppm cannot be read" "${CPP}" "${MODEL}" "${FOLDER}/none.ppm")
  set(OTHER "${FOLDER}/other.ppm")
  foreach(CASE "P5 4 2 255 nine:is no binary PPM" "P6 4 2 255 nine birds:is truncated"
          "P6 99999999 99999999 255 nine:has too many pixels" "P6 99999999999999999999 1 255 nine:is no binary PPM")
    string(REPLACE ":" ";" CASE "${CASE}")
    list(GET CASE 0 CONTENT)
    list(GET CASE 1 WORDS)
    file(WRITE "${OTHER}" "${CONTENT}")
    refused(1 "/other.ppm ${WORDS}" "${CPP}" "${MODEL}" "${OTHER}")
  endforeach()
endfunction()

# Runs the examples. They name a class and its score.
function(run_examples CPP C)
  run(${EMULATOR} "${CPP}" "${MODEL}" "${IMAGE}")
  set(ANSWERS "${OUTPUT}")
  run(${EMULATOR} "${C}" "${MODEL}")
  foreach(ANSWER "${ANSWERS}" "${OUTPUT}")
    if(NOT ANSWER MATCHES "^[^ ]+: class [0-9]+ \\(.+\\), score [-+.e0-9]+\n$")
      message(FATAL_ERROR "no class and score: ${ANSWER}")
    endif()
  endforeach()
endfunction()

set(PREFIX "${FOLDER}/prefix")
file(REMOVE_RECURSE "${FOLDER}")
run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${FOLDER}/first")
file(RENAME "${FOLDER}/first" "${PREFIX}")

# A picture of 4 x 2 pixels, whose bytes are letters.
set(IMAGE "${FOLDER}/image.ppm")
file(WRITE "${IMAGE}" "P6\n4 2\n255\nnine birds fly south now")

run(${EMULATOR} "${PREFIX}/${BINDIR}/bmx-run" "${MODEL}" "${IMAGE}")

set(SHARED ON)
set(STATIC "")
if(KIND STREQUAL static)
  set(SHARED OFF)
  set(STATIC --static)
endif()

set(FLAGS -Wall -Wextra -Werror -pedantic)
string(REPLACE ";" " " JOINED_FLAGS "${FLAGS}")
set(OPTIONS "-DCMAKE_PREFIX_PATH=${PREFIX}" -DBUILD_SHARED_LIBS=${SHARED} "-DCMAKE_C_FLAGS=${JOINED_FLAGS}"
    "-DCMAKE_CXX_FLAGS=${JOINED_FLAGS}" "-DCMAKE_C_COMPILER=${C_COMPILER}" "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}")
if(TOOLCHAIN)
  list(APPEND OPTIONS "-DCMAKE_TOOLCHAIN_FILE=${TOOLCHAIN}")
endif()
run("${CMAKE_COMMAND}" -G "${GENERATOR}" ${OPTIONS} -S "${SOURCES}" -B "${FOLDER}/examples")
run("${CMAKE_COMMAND}" --build "${FOLDER}/examples")

# A project without C++.
file(WRITE "${FOLDER}/only_c/CMakeLists.txt" "cmake_minimum_required(VERSION 3.16)
project(only_c LANGUAGES C)
find_package(bmx REQUIRED)
add_executable(only_c \"${SOURCES}/classify.c\")
target_link_libraries(only_c PRIVATE bmx::bmx)
")
run("${CMAKE_COMMAND}" -G "${GENERATOR}" ${OPTIONS} -S "${FOLDER}/only_c" -B "${FOLDER}/only_c")
run("${CMAKE_COMMAND}" --build "${FOLDER}/only_c")

if(KIND STREQUAL static)  # what pkg-config says is the same for both, the linker takes the one that is there
  file(GLOB LIBRARIES "${PREFIX}/${LIBDIR}/*.so*")
  file(REMOVE ${LIBRARIES})
endif()
run_examples("${FOLDER}/examples/classify" "${FOLDER}/examples/classify_c")
check_complaints("${FOLDER}/examples/classify" "${FOLDER}/examples/classify_c")
run(${EMULATOR} "${FOLDER}/only_c/only_c" "${MODEL}")

find_program(PKG_CONFIG NAMES pkg-config pkgconf)
if(NOT PKG_CONFIG)
  message("no pkg-config here")
  return()
endif()
set(ENV{PKG_CONFIG_PATH} "${PREFIX}/${LIBDIR}/pkgconfig")
run("${PKG_CONFIG}" --cflags --libs ${STATIC} bmx)
string(STRIP "${OUTPUT}" USED)
separate_arguments(USED UNIX_COMMAND "${USED}")
run("${C_COMPILER}" ${TARGET} -std=c99 ${FLAGS} "${SOURCES}/classify.c" -o "${FOLDER}/classify_c" ${USED}
    "-Wl,-rpath,${PREFIX}/${LIBDIR}")
run("${CXX_COMPILER}" ${TARGET} -std=c++11 ${FLAGS} "${SOURCES}/classify.cc" -o "${FOLDER}/classify" ${USED}
    "-Wl,-rpath,${PREFIX}/${LIBDIR}")
run_examples("${FOLDER}/classify" "${FOLDER}/classify_c")
