"""Bad days, made on purpose: kills, lost power, torn files, full and failing disks, sources that change, races, odd places.

A command that makes OUT of IN is run as its users run it, something happens to it, and then one rule is checked: OUT is
absent, or it is complete, which means the very files of a run that nothing happened to. `python -m tests.faults --help`.
"""
