"""A run's log as a plot."""

from pathlib import Path

from matplotlib.figure import Figure

from ptx_app.training.run_folder import RunFolder

_PANELS = (
    ("Loss", {"loss": "training"}),
    ("Dice of positive films", {"dice": "training (soft)", "held_out_dice": "held out"}),
    ("IoU of positive films, AUC", {"held_out_iou": "IoU, held out", "held_out_auc": "AUC, held out"}),
)


def draw_curves(folder: RunFolder) -> Path:
    """Plot loss, Dice, IoU and AUC against the films seen into the run's `curves.png`. Returns its path."""
    rows = folder.read_log()
    figure = Figure(figsize=(4 * len(_PANELS), 3), layout="constrained")  # no pyplot: it would choose a window system
    axes = figure.subplots(1, len(_PANELS))
    for axis, (title, columns) in zip(axes, _PANELS, strict=True):
        for column, label in columns.items():
            known = [(int(row["films"]), float(row[column])) for row in rows if row[column]]
            axis.plot([films for films, _ in known], [value for _, value in known], marker=".", label=label)
        axis.set(title=title, xlabel="films seen")
        axis.legend(frameon=False, fontsize="small")
    target = folder.path / "curves.png"
    figure.savefig(target, dpi=120)
    return target
