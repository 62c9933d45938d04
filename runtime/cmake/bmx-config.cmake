# find_package(bmx): bmx::shared and bmx::static; bmx::bmx is the one that BUILD_SHARED_LIBS chooses, the shared one
# where that is not set.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
include("${CMAKE_CURRENT_LIST_DIR}/bmx-targets.cmake")
if(NOT TARGET bmx::bmx)
  add_library(bmx::bmx INTERFACE IMPORTED)
  if(DEFINED BUILD_SHARED_LIBS AND NOT BUILD_SHARED_LIBS)
    set_target_properties(bmx::bmx PROPERTIES INTERFACE_LINK_LIBRARIES bmx::static)
  else()
    set_target_properties(bmx::bmx PROPERTIES INTERFACE_LINK_LIBRARIES bmx::shared)
  endif()
endif()
