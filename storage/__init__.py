"""Where files lie, for both areas alike: in a folder of this machine, or below an address of an object store."""
