# The extension, whichever of the two CMakeLists.txt is the root. What it is called and looks like stands in those two: the
# Extensions Index reads it there, as text.

set(MedAttn_EXTENSION_DIR ${CMAKE_CURRENT_LIST_DIR})
get_filename_component(MedAttn_ROOT_DIR ${MedAttn_EXTENSION_DIR} DIRECTORY)

#-----------------------------------------------------------------------------
# Extension dependencies
find_package(Slicer REQUIRED)
include(${Slicer_USE_FILE})

#-----------------------------------------------------------------------------
# Extension modules
add_subdirectory(${MedAttn_EXTENSION_DIR}/MedAttn ${CMAKE_CURRENT_BINARY_DIR}/MedAttn)

#-----------------------------------------------------------------------------
# The wheel of medattn_core, which the module installs when it is first used: Resources/wheels beside the module.
# Without it the extension still works where medattn is installed in another way, so a failure is only a warning.
set(MedAttn_WHEELS_DIR ${CMAKE_CURRENT_BINARY_DIR}/wheels)
execute_process(
  COMMAND ${PYTHON_EXECUTABLE} ${MedAttn_EXTENSION_DIR}/Utilities/build_wheel.py ${MedAttn_ROOT_DIR} ${MedAttn_WHEELS_DIR}
  RESULT_VARIABLE MedAttn_WHEEL_FAILED
  )
if(MedAttn_WHEEL_FAILED)
  message(WARNING "The wheel of medattn could not be built: the module will ask its users to install medattn themselves")
else()
  file(COPY ${MedAttn_WHEELS_DIR} DESTINATION ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}/Resources)
  install(
    DIRECTORY ${MedAttn_WHEELS_DIR}
    DESTINATION ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}/Resources
    COMPONENT RuntimeLibraries
    FILES_MATCHING PATTERN "medattn-*.whl"
    )
endif()

#-----------------------------------------------------------------------------
include(${Slicer_EXTENSION_GENERATE_CONFIG})
include(${Slicer_EXTENSION_CPACK})
