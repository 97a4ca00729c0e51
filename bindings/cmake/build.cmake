# Builds the libraries with cargo, unless they are there (TARGET_DIR is empty), and puts them into LIB under the names
# that they are installed with.
cmake_minimum_required(VERSION 3.21) # a script of its own has the policies of CMake 2 otherwise
if(TARGET_DIR)
  execute_process(
    COMMAND "${CARGO}" rustc --lib --locked --profile "${PROFILE}" --no-default-features --features "${FEATURES}"
      --target-dir "${TARGET_DIR}" -- --print native-static-libs
    WORKING_DIRECTORY "${SOURCE}"
    ERROR_VARIABLE printed ECHO_ERROR_VARIABLE COMMAND_ERROR_IS_FATAL ANY)
  # The list was asked for an empty library when CMake was run: this one must need no more.
  if(printed MATCHES "native-static-libs: ([^\n]*)")
    separate_arguments(needed UNIX_COMMAND "${CMAKE_MATCH_1}")
    separate_arguments(known UNIX_COMMAND "${EXPECTED}")
    foreach(library IN LISTS needed)
      if(NOT library IN_LIST known)
        message(FATAL_ERROR "tiebreak: run cmake again with -DTIEBREAK_NATIVE_STATIC_LIBS=\"${CMAKE_MATCH_1}\"")
      endif()
    endforeach()
  endif()
endif()

file(MAKE_DIRECTORY "${LIB}")
foreach(pair IN ITEMS "${A}|${A}" "${SO}|${SONAME}")
  string(REGEX MATCH "(.*)\\|(.*)" _ "${pair}")
  file(COPY_FILE "${BUILT}/${CMAKE_MATCH_1}" "${LIB}/${CMAKE_MATCH_2}" ONLY_IF_DIFFERENT)
endforeach()
file(CREATE_LINK "${SONAME}" "${LIB}/${SO}" SYMBOLIC)
