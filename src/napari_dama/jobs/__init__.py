"""Work that outlives the window: a job is a folder and a process of its own."""
