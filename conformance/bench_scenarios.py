"""What is measured: the scenarios, their figures, and what Highwater is to reach beside tusd."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# tusd keeps what it was told through a crash of the process, not of the machine: so does Highwater beside it.
GUARDED = "highwater-guarded"
MODES = {"highwater": "process", "highwater-complete": "complete", "highwater-every": "every", GUARDED: "guarded"}
ALL = ("highwater", "tusd", "@tus/server", "rustus")
SAFE = ("highwater-complete", "highwater-every")
OWN = ("highwater",)

Run = Mapping[str, float]


@dataclass(frozen=True)
class Figure:
    """A figure of a run; of several, `least` says whether less is better."""

    label: str
    value: Callable[[Run], float | None]
    least: bool = True


def named(label: str, name: str, scale: float = 1, *, most: bool = False) -> Figure:
    return Figure(label, lambda run: run[name] * scale if name in run else None, least=not most)


def per(label: str, name: str, by: str, scale: float = 1) -> Figure:
    return Figure(label, lambda run: run[name] * scale / run[by] if name in run and run.get(by) else None)


RATE = named("MiB/s", "mib_per_s", most=True)
CPU = named("CPU s/GiB", "server_cpu_s_per_gib")
P99 = named("PATCH p99, ms", "ms_p99")
UPLOADS = named("uploads/s", "uploads_per_s", most=True)
UPLOAD_P99 = named("upload p99, ms", "ms_p99")
UPLOAD_CPU = per("CPU ms/upload", "server_cpu_s", "uploads", 1e3)
PEAK = named("peak RSS, MiB", "server_peak_kib", 1 / 1024)
CHUNKS = named("chunks/min", "chunks_per_min", most=True)
FINAL = named("final POST, ms", "final_ms")
SESSION = (RATE, CPU, CHUNKS, named("chunk p99, ms", "ms_p99"), named("finalize, ms", "finalize_ms"), PEAK)


@dataclass(frozen=True)
class Scenario:
    """`load` is what tus-load is told; `quick` replaces the numbers in it for `--quick`."""

    name: str
    text: str
    load: str
    quick: str
    figures: tuple[Figure, ...]
    servers: tuple[str, ...] = ALL
    rounds: int | None = None  # no more than these
    options: Mapping[str, str] | None = None  # of a server, here only
    settle: int = 1  # seconds after the load that count, too; Highwater syncs what is complete ten seconds later


WITHOUT_NODE = ("highwater", "tusd", "rustus")
SCENARIOS = (
    Scenario("S1", "1 GiB in one PATCH", "s1 --mib 1024", "s1 --mib 256", (RATE, CPU, PEAK)),
    Scenario(
        "S2", "1 GiB in PATCHes of 1 MiB, one connection", "s2 --mib 1024", "s2 --mib 256", (RATE, CPU, P99, PEAK), ALL + SAFE
    ),
    Scenario(
        "S3",
        "4 partial uploads of 256 MiB in parallel, and their final",
        "join --parts 4 --kib 262144",
        "join --parts 4 --kib 32768",
        (
            RATE,
            CPU,
            FINAL,
            named("CPU of joining and after, s", "join_cpu_s"),
            named("disk/size when answered", "disk_ratio"),
            named("disk/size when at rest", "disk_ratio_settled"),
        ),
        WITHOUT_NODE,
    ),
    Scenario(
        "S4",
        "200 uploads of 4 MiB at once, each on a new connection",
        "crowd --uploads 200 --mib 4",
        "crowd --uploads 100 --mib 1",
        (UPLOADS, UPLOAD_P99, CPU, PEAK),
        ALL + SAFE,
    ),
    Scenario(
        "S5",
        "5,000 files of 4 KiB (POST and PATCH), 32 connections",
        "small --files 5000",
        "small --files 1000",
        (UPLOADS, UPLOAD_P99, per("CPU ms/upload by the last answer", "server_cpu_s_by_then", "uploads", 1e3), UPLOAD_CPU, PEAK),
        ALL + SAFE,
        settle=12,
    ),
    Scenario(
        "S6",
        "HEAD on 32 connections, of one upload and of 32",
        "heads --time 3000",
        "heads --time 500",
        (
            named("HEAD/s, one upload", "heads_per_s_one", most=True),
            named("HEAD/s, 32 uploads", "heads_per_s_each", most=True),
            named("CPU µs/HEAD, one upload", "cpu_us_per_head_one"),
            named("HEAD p99, ms, 32 uploads", "head_ms_p99_each"),
        ),
    ),
    Scenario(
        "S7",
        "1,000 trickling uploads, 1 KiB/s each",
        "trickle --uploads 1000",
        "trickle --uploads 200 --pieces 3 --pause 300",
        (named("KiB each", "kib_each"), UPLOAD_CPU, PEAK),
    ),
    Scenario(
        "S7-10000",
        "{trickles} trickling uploads, 1 KiB/s each",
        "trickle --uploads {trickles}",
        "trickle --uploads 1000 --pieces 3 --pause 500",
        (named("KiB each", "kib_each"), UPLOAD_CPU, PEAK),
        ("highwater", "tusd", "@tus/server"),  # rustus hangs: no answer within the ten minutes that a run has
        1,
    ),
    Scenario(
        "S8", "S2 with sha1", "checked --mib 1024", "checked --mib 256",
        (RATE, CPU, P99, named("false sums refused", "false_sum_refused", most=True)), ("highwater", "rustus"),
    ),
    Scenario(
        "S8-sha256", "S2 with sha256", "checked --mib 1024 --algorithm sha256", "checked --mib 256 --algorithm sha256",
        (RATE, CPU, P99, named("false sums refused", "false_sum_refused", most=True)), ("highwater", "rustus"),
    ),
    Scenario(
        "S9",
        "kill -9 in the middle of 4 PATCHes, 1,000 uploads stored",
        "kill --uploads 1000 --mib 32",
        "kill --uploads 200 --mib 8",
        (
            named("HEAD answered after, ms", "head_ms"),
            named("received bytes kept, %", "kept_percent", most=True),
            named("stored offsets lost", "stored_lost"),
        ),
    ),
    Scenario(
        "mixed", "400 uploads of 1 KiB to 64 MiB, 16 connections", "mixed --uploads 400", "mixed --uploads 100",
        (RATE, UPLOADS, UPLOAD_P99, CPU, PEAK),
    ),
    Scenario(
        "many", "4, 50 and 100 uploads at once, 1 GiB together each time", "many --mib 1024", "many --mib 100",
        (
            named("MiB/s, 4", "mib_per_s_4", most=True),
            named("MiB/s, 50", "mib_per_s_50", most=True),
            named("MiB/s, 100", "mib_per_s_100", most=True),
            PEAK,
        ),
    ),
    Scenario(
        "downloads", "S1 while four download a finished 64 MiB over and over",
        "downloads --mib 1024", "downloads --mib 128",
        (RATE, named("download MiB/s", "download_mib_per_s", most=True), named("CPU s", "server_cpu_s"), PEAK),
    ),
    Scenario("final-100", "a final of 100 parts of 1 MiB", "join --parts 100 --kib 1024", "join --parts 100 --kib 64",
             (RATE, FINAL, named("CPU of joining and after, s", "join_cpu_s")), WITHOUT_NODE),
    Scenario("final-1000", "a final of 1,000 parts of 64 KiB", "join --parts 1000 --kib 64", "join --parts 300 --kib 4",
             (RATE, FINAL, named("CPU of joining and after, s", "join_cpu_s")), WITHOUT_NODE),
    Scenario("h2", "S2 over HTTP/2 by prior knowledge", "h2 --mib 1024", "h2 --mib 128", (RATE, CPU, P99),
             ("highwater", "tusd"), options={"tusd": "-enable-h2c"}),
    Scenario("h2-one", "S1 over HTTP/2 by prior knowledge", "h2 --mib 1024 --step 1024", "h2 --mib 128 --step 128", (RATE, CPU),
             ("highwater", "tusd"), options={"tusd": "-enable-h2c"}),
    Scenario("growth", "files of 4 KiB beside 100 stored uploads and beside 100,000; then kill -9",
             "growth --many 100000 --batches 5", "growth --many 2000 --batches 2 --rest 1",
             (
                 named("CPU ms/upload beside few", "cpu_ms_few"),
                 named("CPU ms/upload beside many", "cpu_ms_many"),
                 named("many/few", "cpu_growth"),
                 named("HEAD after the start, ms", "restart_ms"),
             ), rounds=1),
    Scenario("flat", "1,000,000 PATCHes of 1 KiB on 32 uploads", "flat --patches 1000000", "flat --patches 20000",
             (
                 named("PATCHes/s", "patches_per_s", most=True),
                 named("RSS after a tenth, MiB", "rss_kib_tenth", 1 / 1024),
                 named("RSS at the end, MiB", "rss_kib_end", 1 / 1024),
             ), ("highwater", "tusd"), 1),
    Scenario("watched", "S2 with 100 readers of its progress", "watched --mib 1024", "watched --mib 128",
             (RATE, CPU, P99, named("events", "events", most=True), named("all told of the end after, ms", "told_ms"), PEAK), OWN),
    Scenario("session", "a session of 1 GiB, 8 MiB chunks with hashes, 4 at a time",
             "session --mib 1024", "session --mib 128", SESSION, OWN),
    Scenario("session-bare", "the same without hashes",
             "session --mib 1024 --unverified", "session --mib 128 --unverified", SESSION, OWN),
    Scenario("session-file", "the same with hashes of chunks and file",
             "session --mib 1024 --file-hash", "session --mib 128 --file-hash", SESSION, OWN),
    Scenario("sessions-200", "200 sessions at once of 8 chunks of 1 MiB, 4 at a time each",
             "session --sessions 200 --mib 8 --chunk-kib 1024", "session --sessions 50 --mib 2 --chunk-kib 256", SESSION, OWN),
    Scenario("slow", "256 MiB in one PATCH, 20 MiB/s and 50 ms a connection", "slow --mib 256", "slow --mib 32", (RATE, CPU), ALL, 1),
    Scenario("slow-parts", "the same as 4 partial uploads and a final", "slow --mib 256 --how parts", "slow --mib 32 --how parts",
             (RATE, CPU), WITHOUT_NODE, 1),
    Scenario("slow-session", "the same as a session, 8 MiB chunks with hashes, 4 at a time",
             "slow --mib 256 --how session", "slow --mib 32 --how session", (RATE, CPU), OWN, 1),
    Scenario("guarded", "S2, and the same with tokens, quotas, rates and a look at the first bytes",
             "s2 --mib 1024", "s2 --mib 128", (RATE, CPU, P99), ("highwater", GUARDED), 5),
    Scenario("idle", "1,000 open uploads, each with a silent PATCH on its own connection", "idle --uploads 1000", "idle --uploads 200",
             (named("KiB each", "rss_growth_kib_per_upload"), UPLOAD_CPU)),
    Scenario("parked", "1,000 open uploads without a connection", "parked --uploads 1000", "parked --uploads 200",
             (named("KiB each", "rss_growth_kib_per_upload"), UPLOAD_CPU, P99)),
    Scenario("busy", "64 uploads of 32 MiB at once", "busy --uploads 64 --mib 32", "busy --uploads 16 --mib 8",
             (RATE, CPU, named("KiB each, at its peak", "peak_growth_kib_per_upload"))),
    Scenario("syncs", "S5 with 500 files, under strace: no measure of speed", "small --files 500", "small --files 100",
             (per("syncs/upload", "syncs", "uploads"),), ALL + SAFE, 1),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


class Results:
    """All runs: of a scenario and a server, one a round; `None` where it failed."""

    def __init__(self, runs: dict[tuple[str, str], list[Run | None]]) -> None:
        self.runs = runs

    def values(self, scenario: str, server: str, figure: Figure) -> list[float | None]:
        return [figure.value(run) if run else None for run in self.runs.get((scenario, server), [])]

    def median(self, scenario: str, server: str, figure: Figure) -> float | None:
        return median(self.values(scenario, server, figure))

    def ratio(self, figure: Figure, ours: tuple[str, str], theirs: tuple[str, str]) -> float | None:
        """Within each round, then the median: what slows one round down slows both of its runs."""
        pairs = zip(self.values(*ours, figure), self.values(*theirs, figure), strict=False)
        return median([a / b if a is not None and b else None for a, b in pairs])

    def beyond(self, figure: Figure, ours: tuple[str, str], theirs: tuple[str, str]) -> float | None:
        """As `ratio`, but the difference."""
        pairs = zip(self.values(*ours, figure), self.values(*theirs, figure), strict=False)
        return median([a - b if a is not None and b is not None else None for a, b in pairs])


def median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


@dataclass(frozen=True)
class Aim:
    """Something Highwater is to reach."""

    scenario: str
    text: str
    value: Callable[[Results], float | None]
    bound: float
    most: bool  # the bound is the most that is allowed, not the least


def beside_tusd(scenario: str, figure: Figure, bound: float, *, ours: str = "highwater", text: str = "") -> Aim:
    value = lambda r: r.ratio(figure, (scenario, ours), (scenario, "tusd"))  # noqa: E731
    mode = "" if ours == "highwater" else f" (`{MODES[ours]}`)"
    return Aim(scenario, f"{text or figure.label}{mode}, × tusd", value, bound, figure.least)


def absolute(scenario: str, figure: Figure, bound: float) -> Aim:
    return Aim(scenario, figure.label, lambda r: r.median(scenario, "highwater", figure), bound, figure.least)


def own_ratio(scenario: str, text: str, top: str, bottom: str, bound: float) -> Aim:
    figure = Figure(text, lambda run: run[top] / run[bottom] if run.get(bottom) else None, least=False)
    return Aim(scenario, text, lambda r: r.median(scenario, "highwater", figure), bound, most=False)


S3, S6 = BY_NAME["S3"].figures, BY_NAME["S6"].figures
AIMS = (
    beside_tusd("S1", RATE, 1.8),
    beside_tusd("S1", CPU, 0.45),
    beside_tusd("S2", RATE, 2.2),
    beside_tusd("S2", CPU, 0.40),
    beside_tusd("S3", RATE, 2.5),
    absolute("S3", FINAL, 10),
    absolute("S3", S3[4], 1.05),
    beside_tusd("S3", S3[3], 0.6),
    beside_tusd("S4", UPLOADS, 1.5),
    beside_tusd("S4", UPLOAD_P99, 0.7),
    beside_tusd("S4", PEAK, 2),
    beside_tusd("S5", UPLOADS, 4),
    beside_tusd("S5", UPLOAD_P99, 0.3),
    beside_tusd("S5", UPLOADS, 1, ours="highwater-complete"),
    beside_tusd("S6", S6[0], 20),
    beside_tusd("S6", S6[1], 8),
    beside_tusd("S7", BY_NAME["S7"].figures[0], 0.4),
    Aim("S8", "MiB/s, × tusd's S2", lambda r: r.ratio(RATE, ("S8", "highwater"), ("S2", "tusd")), 0.9, most=False),
    Aim("S8", "CPU s/GiB beyond own S2", lambda r: r.beyond(CPU, ("S8", "highwater"), ("S2", "highwater")), 0.7, most=True),
    absolute("S8", BY_NAME["S8"].figures[3], 1),
    absolute("S9", BY_NAME["S9"].figures[0], 50),
    absolute("S9", BY_NAME["S9"].figures[1], 100),
    absolute("growth", BY_NAME["growth"].figures[2], 1.1),
    absolute("growth", BY_NAME["growth"].figures[3], 1000),
    absolute("final-1000", FINAL, 10),
    own_ratio("flat", "RSS after a tenth / at the end", "rss_kib_tenth", "rss_kib_end", 0.9),
    own_ratio("many", "MiB/s, 50/4", "mib_per_s_50", "mib_per_s_4", 0.9),
    own_ratio("many", "MiB/s, 100/4", "mib_per_s_100", "mib_per_s_4", 0.9),
    Aim("slow-session", "MiB/s, × own one PATCH", lambda r: r.ratio(RATE, ("slow-session", "highwater"), ("slow", "highwater")), 3, most=False),
    Aim("guarded", "MiB/s, × own unguarded", lambda r: r.ratio(RATE, ("guarded", GUARDED), ("guarded", "highwater")), 0.95, most=False),
)
