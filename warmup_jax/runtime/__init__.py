"""The machine below a run: defaults by platform, the mesh of devices, the process, threads."""
