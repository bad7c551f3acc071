"""What the MedAttn module of 3D Slicer is made of. Loading a file here loads no torch, no MONAI and no medattn_core."""
