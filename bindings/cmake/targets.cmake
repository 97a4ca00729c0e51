# Defines tiebreak::shared, tiebreak::static and tiebreak::cpp from TIEBREAK_LIB, TIEBREAK_INCLUDE, TIEBREAK_A,
# TIEBREAK_SONAME and TIEBREAK_NATIVE_STATIC_LIBS.
foreach(kind shared static)
  string(TOUPPER ${kind} upper)
  add_library(tiebreak_${kind} ${upper} IMPORTED GLOBAL)
  add_library(tiebreak::${kind} ALIAS tiebreak_${kind})
  target_include_directories(tiebreak_${kind} INTERFACE "${TIEBREAK_INCLUDE}")
endforeach()
set_target_properties(tiebreak_shared PROPERTIES
  IMPORTED_LOCATION "${TIEBREAK_LIB}/${TIEBREAK_SONAME}" IMPORTED_SONAME "${TIEBREAK_SONAME}")
set_target_properties(tiebreak_static PROPERTIES IMPORTED_LOCATION "${TIEBREAK_LIB}/${TIEBREAK_A}")
target_link_libraries(tiebreak_static INTERFACE ${TIEBREAK_NATIVE_STATIC_LIBS})

add_library(tiebreak_cpp INTERFACE IMPORTED GLOBAL)
add_library(tiebreak::cpp ALIAS tiebreak_cpp)
target_link_libraries(tiebreak_cpp INTERFACE tiebreak_shared)
target_compile_features(tiebreak_cpp INTERFACE cxx_std_17)
