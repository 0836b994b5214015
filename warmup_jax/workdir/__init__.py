"""The workdir of a run: its lock, its logs, its checkpoints, its timers. Nothing else writes to it but `report`."""
