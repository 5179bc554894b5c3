"""See the .pxd: all of this module is for Cython."""
