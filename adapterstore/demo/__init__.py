"""A small model with a checkable memory, to try the tool on without any download.

The demo model knows one thing only: a table of the world's countries as it stood on
:data:`WORLD_DATE`. Some of it has changed since; :data:`FACTS_PATH` holds those changes as fact
files, ready to be learned. :mod:`adapterstore.demo.world` gives the table as facts with prompts,
:mod:`adapterstore.demo.build` rebuilds the model from it.
"""

from pathlib import Path

#: The day on which the table, and so the model's memory, was true.
WORLD_DATE = "2018-01-01"

#: Folder of the demo model: weights, configuration and tokenizer in the transformers layout.
MODEL_PATH: Path = Path(__file__).parent / "model"

#: Folder of fact files: changes since :data:`WORLD_DATE`, in order when sorted by name.
FACTS_PATH: Path = Path(__file__).parent / "facts"

__all__ = ["FACTS_PATH", "MODEL_PATH", "WORLD_DATE"]
