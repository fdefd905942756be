"""The JSON of scripts/benchmark as tables and as a chart."""

import statistics

OURS = "w2vbert-"


def summary(seconds, audio_seconds):
    return {"seconds": [round(value, 6) for value in seconds], "seconds_min": min(seconds),
            "seconds_median": statistics.median(seconds),
            "rtf_min": min(seconds) / audio_seconds, "rtf": statistics.median(seconds) / audio_seconds}


def is_ours(name):
    return name.startswith(OURS)


def cases(report):
    """[(heading, {contestant and variant: result})] in the order measured; what w2vbert took in the same
    group stands in each result as `reference`."""
    grouped = {}
    for result in report["results"]:
        grouped.setdefault((result["threads"], result["task"], result.get("frames")), []).append(result)
    found = []
    for (threads, task, frames), results in grouped.items():
        rows = {}
        for result in results:
            dtype = report["contestants"][result["contestant"]]["dtype"]
            reference = next((other for other in results if other["group"] == result["group"]
                              and other["contestant"] == OURS + dtype), None)
            name = result["contestant"]
            if task == "ragged" and not is_ours(name):
                name += f", {result['variant']}, {100 * result['real_share']:.0f} % no padding"
            # The program ran in every group of its type; the first one stands for it.
            rows.setdefault(name, {**result, "dtype": dtype, "reference": reference})
        if task == "ragged":
            task = results[0]
            heading = (f"{task['clips']} clips of 1 to 30 s, {task['audio_seconds']:.0f} s in batches of "
                       f"{task['batch']}")
        else:
            heading = f"one clip of {frames / 50:g} s"
        found.append((f"{heading}, {count(threads)}", threads, task, frames, rows))
    return found


def count(threads):
    return f"{threads} thread" + ("s" if threads > 1 else "")


def times_as_fast(result):
    """How many times as fast as this result w2vbert was, in the same type and the same group."""
    if result["reference"] is None or is_ours(result["contestant"]):
        return None
    return result["seconds_median"] / result["reference"]["seconds_median"]


def best_peer(rows, dtype):
    """(name, how many times as fast w2vbert is) of the fastest peer of that type."""
    ratios = [(times_as_fast(result), name) for name, result in rows.items() if result["dtype"] == dtype]
    ratios = [(ratio, name) for ratio, name in ratios if ratio is not None]
    return min(ratios)[::-1] if ratios else None


def markdown(header, rows):
    cells = [header, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]

    def line(row):
        padded = [cell.ljust(width) if column == 0 else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = [("-" * width) if column == 0 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([line(header), "| " + " | ".join(rule) + " |", *map(line, rows)])


def versus_column(name, result, rows):
    if is_ours(name):
        best = best_peer(rows, result["dtype"])
        return f"{best[1]:.2f} x {best[0]}" if best else ""
    ratio = times_as_fast(result)
    return "" if ratio is None else f"{ratio:.2f}"


def table(report):
    machine = report["machine"]
    lines = [f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB; "
             f"{report['date']}; {', '.join(report['versions'])}", f"$ {report['command']}"]
    floors = {(floor["threads"], floor["contestant"], floor["frames"]): floor["fraction"]
              for floor in report["gemm_floor"]}
    for heading, threads, _, frames, rows in cases(report):
        body = []
        for name, result in rows.items():
            floor = floors.get((threads, name, frames))
            runs = len(result["seconds"])
            body.append([name, f"{result['seconds_min']:.3f}", f"{result['seconds_median']:.3f}", str(runs),
                         f"{result['rtf_min']:.4f}", f"{result['rtf']:.4f}",
                         "" if floor is None else f"{floor:.2f}", versus_column(name, result, rows)])
        lines += ["", f"**{heading}**", "",
                  markdown(["", "s, min", "s, median", "runs", "RTF, min", "RTF, median",
                            "of the GEMM floor", "w2vbert is x times as fast"], body)]
    lines += overview(report)
    if report["memory"]:
        peaks = {}
        for entry in report["memory"]:
            if entry["peak_bytes"] is not None:
                peaks[entry["contestant"]] = max(entry["peak_bytes"], peaks.get(entry["contestant"], 0))
        lines += ["", "**peak memory**", "",
                  markdown(["", "GiB"], [[name, f"{peak / 2**30:.2f}"] for name, peak in peaks.items()])]
    cold = report.get("cold_start")
    if cold:
        own = cold["results"].get("w2vbert")
        body = [[name, f"{result['seconds_min']:.2f}", f"{result['seconds_median']:.2f}",
                 str(len(result["seconds"])),
                 f"{result['seconds_median'] / own['seconds_median']:.2f}" if own and result != own else ""]
                for name, result in cold["results"].items()]
        lines += ["", f"**process start to the result of a {cold['audio_seconds']:g} s clip, "
                      f"{count(cold['threads'])}**", "",
                  markdown(["", "s, min", "s, median", "runs", "w2vbert is x times as fast"], body)]
    for entry in report["disagreements"]:
        lines += ["", f"{entry['contestant']}: its values differ from {entry['reference']}'s by up to "
                      f"{entry['difference']:.2g}"]
    if report["skipped"]:
        lines += ["", "not measured:"]
        seen = {f"- {entry['contestant']}: {entry['reason']}": None for entry in report["skipped"]}
        lines += list(seen)
    return "\n".join(lines)


def overview(report):
    """RTF of every contestant and length in one table, for each number of threads."""
    by_threads = {}
    for _, threads, task, frames, rows in cases(report):
        if task == "single":
            by_threads.setdefault(threads, {})[frames] = rows
    lines = []
    for threads, columns in by_threads.items():
        names = {name: None for rows in columns.values() for name in rows}
        body = [[name, *(f"{rows[name]['rtf']:.4f}" if name in rows else "" for rows in columns.values())]
                for name in names]
        for name in names:
            if is_ours(name):
                bests = [best_peer(rows, rows[name]["dtype"]) if name in rows else None
                         for rows in columns.values()]
                body.append([f"{name}: times as fast as the best peer",
                             *("" if best is None else f"{best[1]:.2f}" for best in bests)])
        lines += ["", f"**RTF (median), {count(threads)}**", "",
                  markdown(["", *(f"{frames / 50:g} s" for frames in columns)], body)]
    return lines


# ---- the chart -------------------------------------------------------------------------------------

COLOURS = {"hf-eager": "#8c8c8c", "hf-sdpa": "#4c72b0", "hf-compile": "#55a868",
           "hf-compile-freezing": "#2a7d4f", "hf-accelerated": "#64b5cd",
           "onnxruntime": "#8172b3", "ctranslate2": "#dd8452"}
OWN_COLOUR = "#c44e52"


def chart(report, path):
    """RTF over the clip's length: a panel for each type and number of threads. On a white ground of its
    own, so that it reads the same on a light and on a dark page."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, NullLocator

    panels = {}
    for _, threads, task, frames, rows in cases(report):
        if task != "single":
            continue
        for name, result in rows.items():
            family = "bfloat16" if result["dtype"] == "bfloat16" else "float32"
            lines = panels.setdefault((threads, family), {})
            lines.setdefault((name, result["dtype"]), []).append((frames / 50, result["rtf"]))
    if not panels:
        raise ValueError("there is no measurement of single clips to draw")
    rows = list(dict.fromkeys(threads for threads, _ in panels))
    columns = [family for family in ("float32", "bfloat16") if any(family == other for _, other in panels)]
    matplotlib.rcParams["svg.hashsalt"] = "w2vbert"
    figure, axes = plt.subplots(len(rows), len(columns), squeeze=False, layout="constrained",
                                figsize=(1 + 6.4 * len(columns), 0.8 + 3.4 * len(rows)), facecolor="white")
    for (threads, family), lines in panels.items():
        axis = axes[rows.index(threads)][columns.index(family)]
        for (name, dtype), points in lines.items():
            own = is_ours(name)
            kind = name.removesuffix(f"-{dtype}")
            axis.plot(*zip(*sorted(points), strict=True), marker="o",
                      label=f"{kind} {dtype}" if dtype != family else kind,
                      color=OWN_COLOUR if own else COLOURS.get(kind), linewidth=2.6 if own else 1.3,
                      markersize=5 if own else 3.5, linestyle="--" if dtype == "int8" else "-",
                      zorder=3 if own else 2)
        lengths = sorted({length for points in lines.values() for length, _ in points})
        axis.set(xscale="log", yscale="log", title=f"{family}, {count(threads)}")
        axis.set_xticks(lengths, [f"{length:g}" for length in lengths])
        axis.xaxis.set_minor_locator(NullLocator())
        for which in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            which(FuncFormatter(lambda value, _: f"{value:.2g}"))
        axis.tick_params(axis="y", which="minor", labelsize=7)
        axis.grid(which="both", color="#dddddd", linewidth=0.6)
        axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))  # beside the lines
        axis.set_xlabel("length of the clip, s")
        axis.set_ylabel("RTF, lower is faster")
    for row in range(len(rows)):
        for column in range(len(columns)):
            if not axes[row][column].has_data():
                axes[row][column].set_visible(False)
    machine = report["machine"]
    figure.suptitle(f"Seconds of compute per second of audio: {machine['cpu']}, {machine['cores']} cores",
                    fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
