"""Measurement: the codec beside what a user would pick instead, on the same frames with the same regions.

    clip       frames with regions in, coded frames out
    regions    the regions in a file, so that every run and every codec has the same
    opponents  other codecs; `fovea` is ours
    quality    squared error by region; `structure` is MS-SSIM, `agreement` what a detector still sees
    rd         a clip to points
    bdrate     points to curves and what they save
    results    all of it as JSON
    exhibits   crops and bits of a few points, `plots` draws them, `report` is the page

`speed`, `chain` and `footprint` time one camera, `fleet` and `launches` many on one device; `stages` says by what,
`clipfile` keeps a clip with its regions. `demo` reports on the demo run. `allocation/` trains and compares ways to tell
an encoder where bits should go.
"""
