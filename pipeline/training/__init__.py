"""Training of the codec: `data` cuts clips and photos into samples, `loop` trains, `config` says how."""
