# SPDX-License-Identifier: BSL-1.0
"""An SVG of memory against connections."""


def draw(path, series):
    """`series`: {label: [(connections, bytes)]}. False where matplotlib (Debian: python3-matplotlib) is missing."""
    try:
        import matplotlib  # pylint: disable=import-outside-toplevel
    except ImportError:
        return False
    matplotlib.use("svg")
    from matplotlib import pyplot  # pylint: disable=import-outside-toplevel

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for label, points in series.items():
        axes.plot([x / 1000 for x, _ in points], [y / (1 << 20) for _, y in points], marker="o", label=label)
    axes.set_xlabel("connections, thousands")
    axes.set_ylabel("MiB")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    return True
