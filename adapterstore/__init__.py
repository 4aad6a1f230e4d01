"""Version control for what a language model knows.

from adapterstore import Store

store = Store.open(".")
store.add("main", "./new-prices", coefficient="-0.7")
model = store.load("main", model)
"""

from adapterstore.errors import AdapterStoreError
from adapterstore.history.store import Store

__all__ = ["AdapterStoreError", "Store", "__version__"]
__version__ = "0.1.0"
