"""What the page can and cannot do, and what becomes of the films, as HTML. Figures are the manifest's."""

from collections.abc import Callable
from html import escape

from ptx_app.inference.decide import border
from ptx_app.model.manifest import Figures, OperatingPoint, Weights
from ptx_app.ui.messages import percent


def limits(weights: Weights) -> str:
    """What weights can and cannot do, and how to read score, verdict and outline."""
    point = weights.operating_point()
    lowest, highest = border(point.score)
    figures = weights.figures.get("validation_films")
    return f"""
<p>The page marks what looks like a pneumothorax on an upright frontal chest film. It looks for
nothing else and does not use earlier films. It is for research and teaching, not for patient care: read every film
yourself.</p>
<h3>How good it is</h3>
{_rates(weights)}{_overall(figures)}
<h3>Where it fails</h3>
<ul>
<li><b>“None flagged” does not mean “no pneumothorax”.</b>{_missed(point)}</li>
<li><b>Small pneumothoraces</b> are outlined worst and easily missed.</li>
<li><b>AP films</b> are read less well than PA films. <b>Supine films</b> were not evaluated separately from erect
ones. On them, air lies in front and at the base, where it is hard to see.</li>
<li><b>Chest drains</b> were not evaluated. A drain may raise the score, even where the lung has re-expanded.</li>
<li><b>Children</b> are rare among the films it was trained on and were not evaluated.</li>
<li><b>Other hospitals’ films</b> and other makes of detector were not evaluated. Very blurred, noisy or flat films
do the most harm.</li>
<li><b>Skin folds, scars and other shadows</b> along the chest wall can be outlined by mistake.</li>
<li><b>Lateral films</b> and pictures that are not chest films are rejected. The film check can be wrong: “Analyse
anyway” overrules it, but then none of the figures above applies.</li>
</ul>
<h3>What the score means</h3>
<p>The score goes from 0 to 1. The higher it is, the surer the model is that there is a pneumothorax somewhere on the
film. It is not the probability that your patient has one: that also depends on how common a pneumothorax is among your
films. The slider “Films with a pneumothorax, of all films read” shows what a flag is worth in that case.</p>
<p>A film is flagged if its score reaches the score threshold. The operating point sets the threshold: “sensitive”
misses fewer and flags more by mistake, “specific” the other way round.</p>
<h3>What “borderline” means</h3>
<p>The score is so close to the threshold that another film of the same chest could get the other verdict. At
“{escape(point.name)}” these are scores from {lowest:.3f} to {highest:.3f}. Trust neither verdict there.</p>
<h3>What the outline means</h3>
<p>It shows where the model sees the pneumothorax, not its exact edge: it often covers only a part. Only flagged films
are outlined. A flagged film without an outline means that the model is not sure where. On a film with an outline, a
higher mask threshold leaves what the model is surest of.</p>
<p>The share of the film and of the hemithorax are areas, not volumes. The lungs are outlined by a second network, which
is rough where a lung has collapsed. Where it finds one lung much shorter than the other, as with fluid, the page
gives no share of the hemithorax.</p>
<p class="small">Model: {escape(weights.name)}. {escape(weights.provenance)} {escape(weights.terms)}</p>
"""


_ARCHIVE = """
<h3>The archive</h3>
<p>This page can search a picture archive. What you search for is sent there, and what it finds is shown only to you:
day, time, accession number and, where that is allowed, patient ID. This page forgets it when you clear all films or
close it. Nothing is stored in the archive unless you are asked and agree. Then the film is fetched once more, for the
patient’s own header: it becomes part of the stored results, and this page does not keep it.</p>
"""


def privacy(
    kept_seconds: int,
    *,
    public: bool,
    signed_in: bool = False,
    audited: bool = False,
    archive: bool = False,
    answers_saved: bool = False,
) -> str:
    """What becomes of the films.

    Args:
        kept_seconds: how long the server keeps the films of a page that was closed.
        public: whether the page is on a public host.
        signed_in: whether there is a sign-in.
        audited: whether the operator keeps an audit trail.
        archive: whether it can open films of an archive.
        answers_saved: whether the server keeps the films that the reader answers.
    """
    warning = "<p><b>This page is public. Do not upload identifiable films.</b></p>" if public else ""
    header = (
        ""
        if public
        else ", unless you switch on “Keep the patient’s header”: then the films that you drop keep it until they are "
        "removed, and their DICOM downloads contain it"
    )
    names = (
        "“Download all films” numbers the films and leaves their names out."
        if public
        else "“Download all films” puts it into the table, the results (JSON) and the files’ names."
    )
    trail = (
        "<p>The operator keeps an audit trail: who opened which film when, what was shown, changed and downloaded. It "
        "names a film by a code that only the operator can make from the film itself.</p>"
        if audited
        else ""
    )
    access = (
        "You are signed in, and the server signs you out after a time without use."
        if signed_in
        else "There is no sign-in."
    )
    cookies = (
        "Cookies keep other sites from uploading in your name and hold your sign-in; none tracks you."
        if signed_in
        else "One cookie keeps other sites from uploading in your name; none tracks you."
    )
    on_disk = (
        "If you answer under “Your reading”, the server saves the film’s pixels (512 × 512), your answer and your "
        "contour in the operator’s folder, without name or header. They stay there after the visit; “Take back” "
        "deletes them. No other film is written to a disk."
        if answers_saved
        else "The page never writes a film to a disk."
    )
    return f"""
{warning}
<h3>Where your films are</h3>
<p>In the memory of the computer that runs this page: your own if you started it there, otherwise a server.
{on_disk}</p>
<h3>How long</h3>
<ul>
<li>The uploaded file: until it is read.</li>
<li>The film’s pixels, its result and its name: until you remove the film (and 15 seconds
longer, for “Undo”), clear all films, reload or close the
page.</li>
<li>After you close or reload the page: at most {kept_seconds} seconds more, in case you only lost the connection.</li>
</ul>
<p>Freed memory is not overwritten, so someone who controls the server could find parts of a film.</p>
<h3>What is read of the header</h3>
<p>Only technical values of the film: those under “About this film”. The patient’s name, ID, dates and free text are not
kept, shown or exported{header}. Text that is burned into the picture stays in it, also in overlays and in DICOM.</p>
<h3>What leaves the server</h3>
<p>Only what your browser shows and what you download. Films, results and usage data are sent to nobody else. If
the model’s weights are not installed, the server downloads them once, at its first start.</p>
{_ARCHIVE if archive else ""}
<h3>Who sees a file’s name</h3>
<p>Only you, beside the film. {names} Downloads of a single film never contain it.</p>
<h3>What is logged</h3>
<p>Of an unexpected error, its type and its place in the program: no name, no header text, no pixel.</p>
{trail}<h3>In your browser</h3>
<p>The films of this tab are in the browser’s memory. It also remembers whether you have closed the tour (until you
close the tab), what your graphics card can do (for longer) and, in a cookie, whether you have chosen the light page
(for a year). {cookies}</p>
<h3>What is not promised</h3>
<p>{access} The connection is encrypted only if the address begins with https.</p>
"""


def _rates(weights: Weights) -> str:
    points = weights.operating_points
    rows = "".join(_row(point, chosen=point.name == weights.default_operating_point) for point in points)
    if not rows:
        return "<p>No figures were measured for these weights.</p>"
    films = "; ".join(sorted({point.measured_on for point in points if point.measured_on}))
    return (
        '<table><thead><tr><th scope="col">Operating point</th><th scope="col">With a pneumothorax, flagged</th>'
        f'<th scope="col">Without, not flagged</th></tr></thead><tbody>{rows}</tbody></table>'
        f'<p class="small">In brackets: 95 % interval. {escape(films)}.</p>'
    )


def _row(point: OperatingPoint, *, chosen: bool) -> str:
    if point.counts is None:
        return ""
    flagged, positives, passed, negatives = point.counts
    name = f"{point.name.capitalize()}{' (default)' if chosen else ''}"
    return (
        f'<tr><th scope="row">{escape(name)}</th>'
        f"<td>{flagged} of {positives}{_interval(point.sensitivity_interval, _percentage)}</td>"
        f"<td>{passed} of {negatives}{_interval(point.specificity_interval, _percentage)}</td></tr>"
    )


def _missed(point: OperatingPoint) -> str:
    if point.counts is None:
        return ""
    flagged, positives, _, _ = point.counts
    return f" At “{escape(point.name)}”, {positives - flagged} of {positives} films with a pneumothorax were missed."


def _overall(figures: Figures | None) -> str:
    if figures is None:
        return ""
    return (
        f"<p>AUC {figures.auc:.3f}{_interval(figures.auc_interval, _figure)}: how well the score tells films with a "
        f"pneumothorax from those without; 0.5 is chance, 1 is perfect.</p><p>Mean Dice {figures.dice_positive:.3f}"
        f"{_interval(figures.dice_positive_interval, _figure)} on films with a pneumothorax: how well the outline "
        "agrees with an expert’s; 1 is the same outline.</p>"
    )


def _interval(interval: tuple[float, float] | None, written: Callable[[float], str]) -> str:
    return "" if interval is None else f" ({written(interval[0])} to {written(interval[1])})"


def _figure(value: float) -> str:
    return f"{value:.3f}"


def _percentage(rate: float) -> str:
    return f"{percent(rate)} %"
