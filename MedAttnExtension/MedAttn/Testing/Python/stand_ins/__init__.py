"""What the desktop application has and slicer-core has not: stand-ins that refuse what they do not know.

MRML, its logics, its slice pipeline and its files are the real ones. Widgets are PySide6 in the manners of PythonQt.
"""
