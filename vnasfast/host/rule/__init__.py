"""The tables enforced by the running kernel, so that identical unmodified servers run side by side."""
