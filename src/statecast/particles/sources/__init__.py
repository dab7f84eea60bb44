"""Where jets come from: files, a simulation, the embedded sample."""
