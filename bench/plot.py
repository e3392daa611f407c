# SPDX-License-Identifier: LGPL-2.1-or-later
"""Draws what bench/run found, as SVG. Only this needs matplotlib."""

import sys

import rows
import side

COLOURS = {"kernel": "#8a8a8a", "knfsd": "#1f6fb4", "nfs-ganesha": "#e08a1e"}
LABELS = {"kernel": "the kernel's client, knfsd", "knfsd": "vsockfs, knfsd",
          "nfs-ganesha": "vsockfs, no delegations (nfs-ganesha)"}


def draw_counts(axes, counts):
    """A group of bars for each row, and a line across a bar where its goal is."""
    names = [row.name for row in rows.ROWS if row.name in counts]
    goals = {row.name: row.goals for row in rows.ROWS}
    clients = [c for c in COLOURS if any(c in counts[name] for name in names)]
    height = 0.8 / len(clients)
    for at, client in enumerate(clients):
        offset = (at - (len(clients) - 1) / 2) * height
        for y, name in enumerate(names):
            if client in counts[name]:
                number = counts[name][client]["rpcs"]
                axes.barh(y + offset, number, height * 0.9, color=COLOURS[client])
                axes.text(number, y + offset, f" {number}", va="center", fontsize=6)
            goal = goals[name].get(client)
            if goal:
                axes.plot([goal, goal], [y + offset - height / 2, y + offset + height / 2],
                          color="black", linewidth=1.2)
        axes.barh(0, 0, color=COLOURS[client], label=LABELS[client])
    axes.plot([], [], color="black", linewidth=1.2, label="goal")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("round trips")
    axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, 1.08), ncol=4, frameon=False)


def by_distance(results):
    """{row: [(microseconds that a round trip takes longer, vsockfs / kernel)]}, where there are several."""
    found = {}
    for part in ("side", "small"):
        further = results["further"][part]
        for usec, table in ({0: results[part], **further} if further else {}).items():
            for name, speeds in side.typical(table, results["icount"]).items():
                if {"vsockfs", "kernel"} <= speeds.keys():
                    found.setdefault(name, []).append((usec, speeds["vsockfs"] / speeds["kernel"]))
    return found


def draw_distance(axes, ratios):
    """A line for each piece of work; above 1 vsockfs is faster."""
    for name, points in ratios.items():
        axes.plot(*zip(*sorted(points)), marker="o", label=name)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("microseconds that a round trip takes longer")
    axes.set_ylabel("times as fast as the kernel's client")
    axes.legend(fontsize=7, frameon=False)


def draw(results, path):
    try:
        import matplotlib
    except ImportError:
        print("no plot: matplotlib is not installed (Debian package python3-matplotlib)",
              file=sys.stderr)
        return
    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    panels = [(draw_counts, results["counts"]), (draw_distance, by_distance(results))]
    panels = [(drawer, what) for drawer, what in panels if what]
    if not panels:
        return
    figure, all_axes = plt.subplots(len(panels), figsize=(10, 8 * len(panels)), squeeze=False)
    for axes, (drawer, what) in zip(all_axes[:, 0], panels):
        drawer(axes, what)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
