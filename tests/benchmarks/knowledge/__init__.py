"""``make bench-knowledge``: plain fine-tuning, F-Learning as published and ours, side by side.

    python -m tests.benchmarks.knowledge --out RESULTS.jsonl --work FOLDER [--data FOLDER]
        [--bases demo counterfact zsre] [--mixes lora full lora-full] [--rows plain published ours]
        [--seeds 0 1 2] [--quick] [--ablation] [--sequence] [--table]

Each finished run is one JSON line of RESULTS.jsonl; a run whose line is there is not made again,
so an interrupted benchmark goes on where it stopped. ``--table`` prints what there is, no more.
"""
