"""From runs to a Markdown page and a plot."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

from bench_scenarios import AIMS, ALL, BY_NAME, MODES, SCENARIOS, Figure, Results, Scenario, named

NAMES = {"highwater": "Highwater"}
COLOURS = {"highwater": "#1b6ac9", "tusd": "#8a8f98", "@tus/server": "#d39a2d", "rustus": "#b5523b"}
DISTURBED = 0.25


def page(results: Results, facts: Mapping[str, str], texts: Mapping[str, str], failures: Sequence[str], plot: str) -> str:
    shown = [scenario for scenario in SCENARIOS if any(name == scenario.name for name, _ in results.runs)]
    servers = [server for server in ALL if any(server == of for _, of in results.runs)]
    parts = [
        "# Speed",
        "Highwater beside other tus servers, each run a fresh server on a fresh directory, the servers taking turns within each\n"
        "round. A cell has the median of the rounds, and behind it the ratio to tusd, taken within each round; processor time and\n"
        "ratios are steady, MiB/s alone are not. Every byte stored in the first round was downloaded and compared.",
        "\n".join(f"- {name}: {fact}" for name, fact in facts.items()),
        f"![Highwater beside the others]({plot})",
        "## What was measured",
        table(["", "", *(f"{NAMES.get(s, s)}" for s in servers)], body(results, shown, servers, texts)),
    ]
    if failures:
        parts += ["Failed:", "\n".join(f"- {failure}" for failure in failures)]
    aims = reached(results)
    if aims:
        parts += ["## What Highwater is to reach", table(["scenario", "", "is", "to be", ""], aims)]
    parts += [
        "## What it cost the servers",
        "Processor time in seconds · the most memory in MiB · MiB written · context switches; and last, processors used by the load\n"
        "itself, at the most: far from their number, or the load were the bottleneck.",
        table(["", *(NAMES.get(s, s) for s in servers), "load"], [costs(results, scenario, servers) for scenario in shown]),
        disturbed(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def body(results: Results, shown: Sequence[Scenario], servers: Sequence[str], texts: Mapping[str, str]) -> list[list[str]]:
    rows = []
    for scenario in shown:
        first = f"**{scenario.name}** {texts[scenario.name]}"
        for figure in scenario.figures:
            rows.append([first, figure.label, *(cell(results, scenario.name, server, figure) for server in servers)])
            first = ""
            for mode in MODES:
                if mode != "highwater" and (scenario.name, mode) in results.runs:
                    empty = ["" for _ in servers[1:]]
                    rows.append(["", f"{figure.label}, `{MODES[mode]}`", cell(results, scenario.name, mode, figure), *empty])
    return rows


def cell(results: Results, scenario: str, server: str, figure: Figure) -> str:
    if (scenario, server) not in results.runs:
        return "–"
    value = results.median(scenario, server, figure)
    if value is None:
        return "failed" if not any(results.runs[scenario, server]) else "–"
    ratio = None if server == "tusd" else results.ratio(figure, (scenario, server), (scenario, "tusd"))
    return number(value) + (f" ({number(ratio)})" if ratio is not None else "")


def reached(results: Results) -> list[list[str]]:
    rows = []
    for aim in AIMS:
        value = aim.value(results)
        if value is not None:
            good = value <= aim.bound if aim.most else value >= aim.bound
            bound = f"{'≤' if aim.most else '≥'} {aim.bound:g}"
            rows.append([aim.scenario, aim.text, number(value), bound, "yes" if good else "**no**"])
    return rows


COSTS = (
    named("CPU", "server_cpu_s"),
    named("peak", "server_peak_kib", 1 / 1024),
    named("written", "server_written_mib"),
    named("switches", "server_switches"),
)
LOAD = named("load", "client_cpu_share")


def costs(results: Results, scenario: Scenario, servers: Sequence[str]) -> list[str]:
    row = [scenario.name]
    for server in servers:
        values = [results.median(scenario.name, server, figure) for figure in COSTS]
        row.append("–" if values[0] is None else " · ".join(number(value) for value in values if value is not None))
    loads = [load for server in servers if (load := results.median(scenario.name, server, LOAD)) is not None]
    return [*row, number(max(loads)) if loads else "–"]


def disturbed(results: Results) -> str:
    every = [run["others_cpu_share"] for runs in results.runs.values() for run in runs if run and "others_cpu_share" in run]
    count = sum(share > DISTURBED for share in every)
    return f"{count} of {len(every)} runs were disturbed: others used more than {DISTURBED} CPUs meanwhile." if count else ""


def number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


# The plot: a panel for each of these, with a bar a server.
PANELS = (
    ("S1", 0), ("S1", 1), ("S2", 0), ("S2", 1), ("S3", 0), ("S3", 2), ("S4", 0), ("S4", 1),
    ("S5", 0), ("S5", 1), ("S6", 0), ("S6", 1), ("S7", 0), ("S8", 0), ("S9", 0), ("S9", 1),
)  # fmt: skip
COLUMNS, WIDTH, BAR, GAP = 2, 430, 17, 5
LABEL, VALUE, HEAD, MARGIN = 88, 78, 44, 20


def plot(results: Results, texts: Mapping[str, str], subtitle: str) -> str:
    """An SVG: no script, no font of its own, on a light ground of its own so that it reads on any page."""
    panels = []
    for name, nth in PANELS:
        figure = BY_NAME[name].figures[nth]
        bars = [(server, results.median(name, server, figure)) for server in ALL if (name, server) in results.runs]
        if any(value is not None for _, value in bars):
            panels.append((f"{name}: {figure.label}", f"{texts[name]}; {'less' if figure.least else 'more'} is better", bars))
    tall = HEAD + len(ALL) * (BAR + GAP) + 16
    rows = -(-len(panels) // COLUMNS)
    width, height = COLUMNS * WIDTH + 2 * MARGIN, rows * tall + 64 + MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        text(MARGIN, 30, "Highwater beside other tus servers", 'font-size="18" font-weight="600" fill="#1d2430"'),
        text(MARGIN, 49, subtitle, 'fill="#5b6472"'),
    ]
    for nth, panel in enumerate(panels):
        left = MARGIN + nth % COLUMNS * WIDTH
        out += drawn(panel, left, 64 + nth // COLUMNS * tall)
    return "\n".join([*out, "</svg>"]) + "\n"


def drawn(panel: tuple[str, str, list[tuple[str, float | None]]], left: int, top: int) -> list[str]:
    title, below, bars = panel
    out = [
        text(left, top + 16, title, 'font-size="13" font-weight="600" fill="#1d2430"'),
        text(left, top + 32, below, 'font-size="11" fill="#5b6472"'),
    ]
    longest = max((value for _, value in bars if value), default=1)
    for nth, (server, value) in enumerate(bars):
        y = top + HEAD + nth * (BAR + GAP)
        room = WIDTH - MARGIN - LABEL - VALUE
        long = 0 if value is None else max(1.0, room * max(value, 0) / longest)
        strong = ' font-weight="600"' if server == "highwater" else ""
        out += [
            text(left, y + 13, NAMES.get(server, server), f'fill="#1d2430"{strong}'),
            f'<rect x="{left + LABEL}" y="{y}" width="{long:.1f}" height="{BAR}" rx="2" fill="{COLOURS[server]}"/>',
            text(round(left + LABEL + long + 6), y + 13, "failed" if value is None else number(value), f'fill="#1d2430"{strong}'),
        ]
    return out


def text(x: int, y: int, what: str, style: str) -> str:
    return f'<text x="{x}" y="{y}" {style}>{escape(what)}</text>'
