"""What the MedAttn module of 3D Slicer is made of. No file here imports torch, MONAI or medattn_core as it is loaded."""
