"""Write the graphs of the models that ship: `sed` runs them without torch.

    python -m benchmarks.figures.link_models

A graph has no weights of its own: it refers to those in the .safetensors beside it.
"""

from __future__ import annotations

import sed
from sed.models.registry import SHIPPED
from streaming.export.export import export_linked


def main() -> None:
    for name in SHIPPED:
        path = export_linked(sed.load_model(name))
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
