# The extension, whichever of the two CMakeLists.txt is the root.

set(MedAttn_EXTENSION_DIR ${CMAKE_CURRENT_LIST_DIR})
get_filename_component(MedAttn_ROOT_DIR ${MedAttn_EXTENSION_DIR} DIRECTORY)

#-----------------------------------------------------------------------------
# Extension meta-information
set(EXTENSION_HOMEPAGE "https://github.com/medattn/medattn")
set(EXTENSION_CONTRIBUTORS "The MedAttn developers")
set(EXTENSION_DESCRIPTION "Classifies the loaded volume and shows the evidence: every voxel's contribution is part of a sum, and the sum is the decision. Take a region away and read the new probability at once. Research use only.")
set(EXTENSION_ICONURL "https://github.com/medattn/medattn/raw/main/MedAttnExtension/MedAttn/Resources/Icons/MedAttn.png")
set(EXTENSION_SCREENSHOTURLS "https://github.com/medattn/medattn/raw/main/MedAttnExtension/Screenshots/overlay.png https://github.com/medattn/medattn/raw/main/MedAttnExtension/Screenshots/panel.png https://github.com/medattn/medattn/raw/main/MedAttnExtension/Screenshots/what_if.png")
set(EXTENSION_DEPENDS "PyTorch") # Specified as a list or "NA" if no dependencies

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
