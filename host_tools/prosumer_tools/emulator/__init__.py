"""A street of emulated meters: each device is a process of the Unix port booted from the image, the supervisor plays its pins and clock."""
