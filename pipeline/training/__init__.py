"""Training of the codec. In the order of the data: `footage` (clips and photos), `data` (samples), `regions` and
`batches`, `losses`, `loop` (one family's run) with `guard`, `state` and `curve`, `export`; `run` is all of it, `pack`
carries data to another machine, `config` says how. Needs PyAV only to cut exactly, to pack and to export."""
