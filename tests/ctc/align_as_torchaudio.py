"""Random emissions and targets, among them repeats, the fewest frames that do, a blank at any place and
equal sums: paths and scores must be those of torchaudio's forced_align, to the last bit, and the tokens
those of its merge_tokens.

usage: align_as_torchaudio.py ALIGN_CTC [SEED]   (exit 77: torchaudio is not installed)"""

import json
import pathlib
import random
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from absent_packages import skip_where_absent  # noqa: E402

try:
    import torch
    from torchaudio.functional import forced_align, merge_tokens
except ImportError as error:
    skip_where_absent(error)

CASES = 1000
# torchaudio's mean of a token's float32 scores, relative. Measured: 1.9e-7.
SCORE_TOLERANCE = 1e-6


def emission(random, frames, vocab_size):
    logits = torch.randn(frames, vocab_size) * random.choice([0.5, 2, 10])
    kind = random.choice(["continuous", "continuous", "rounded", "coarse", "bfloat16", "impossible"])
    values = logits.log_softmax(-1)
    if kind == "rounded":  # sums that are equal now and then
        values = (values * 4).round() / 4
    elif kind == "coarse":  # and often
        values = values.round().clamp(min=-3)
    elif kind == "bfloat16":
        values = logits.bfloat16().log_softmax(-1).float()
    elif kind == "impossible":
        values[torch.rand_like(values) < 0.1] = -torch.inf
    return kind, values


def case(random):
    vocab_size = random.choice([2, 3, 5, 32, 90])
    blank = random.choice([0, vocab_size - 1, random.randrange(vocab_size)])
    tokens = [token for token in range(vocab_size) if token != blank]
    targets = []
    for _ in range(random.choice([1, 2, 5, 20, 60])):
        repeats = targets and random.random() < random.choice([0.1, 0.8])
        targets.append(targets[-1] if repeats else random.choice(tokens))
    least = len(targets) + sum(a == b for a, b in zip(targets, targets[1:], strict=False))
    frames = least + random.choice([0, 0, 1, 2, 5, 40, 150])
    return *emission(random, frames, vocab_size), targets, blank


def large_case():
    """Of more steps than are kept at once: 24,000 frames and 1,500 tokens"""
    targets = torch.randint(1, 4, (1500,)).tolist()
    return "large", torch.randn(24000, 4).log_softmax(-1), targets, 0


def spelled(path, blank):
    labels = [label for label, before in zip(path, [None, *path], strict=False) if label != before]
    return [label for label in labels if label != blank]


def encoded(values, targets, blank):
    frames, vocab_size = values.shape
    head = f"{frames} {vocab_size} {len(targets)} {blank}\n".encode()
    return head + values.numpy().tobytes() + struct.pack(f"{len(targets)}q", *targets)


def problem(ours, kind, values, targets, blank):
    """What is different from torchaudio, or None; and whether torchaudio's path spells the targets"""
    try:
        path, scores = (one[0] for one in forced_align(values[None], torch.tensor([targets]), blank=blank))
        is_path = spelled(path.tolist(), blank) == targets and not scores.isinf().any()
    except IndexError:  # it went on beyond its first state
        is_path = False
    if not is_path:
        # Its rule for equal sums has lost every path, or no path is possible.
        ok = "error" in ours or spelled(ours["path"], blank) == targets
        return (None if ok else f"does not spell {targets}: {ours}"), False
    if "error" in ours:
        return ours["error"], True
    if ours["path"] != path.tolist():
        return f"path {ours['path']}, torchaudio has {path.tolist()}", True
    if ours["scores"] != scores.view(torch.int32).to(torch.int64).bitwise_and(0xFFFFFFFF).tolist():
        return "scores", True
    theirs = merge_tokens(path, scores, blank)
    if [span[:3] for span in ours["spans"]] != [[span.token, span.start, span.end] for span in theirs]:
        return f"tokens {ours['spans']}, torchaudio has {theirs}", True
    for span, other in zip(ours["spans"], theirs, strict=True):
        if abs(span[3] - other.score) > SCORE_TOLERANCE * abs(other.score):
            return f"score {span[3]} of {other}", True
    return None, True


def main():
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    generator = random.Random(seed)
    torch.manual_seed(seed)
    cases = [case(generator) for _ in range(CASES)] + [large_case()]
    given = b"".join(encoded(values, targets, blank) for _, values, targets, blank in cases)
    result = subprocess.run([sys.argv[1]], input=given, capture_output=True, check=True)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    problems, compared, frames = [], {}, 0
    for ours, one in zip(answers, cases, strict=True):
        found, is_path = problem(ours, *one)
        kind = one[0] if is_path else "no path in torchaudio"
        compared[kind] = compared.get(kind, 0) + 1
        frames += len(one[1])
        if found:
            problems.append(f"{one[0]}, {tuple(one[1].shape)}, blank {one[3]}, {one[2]}: {found[:2000]}")
    print("\n".join(problems[:10]))
    print(f"{len(cases)} alignments of {frames} frames {compared}, {len(problems)} differences")
    if sum(compared.values()) - compared.get("no path in torchaudio", 0) < 500:
        sys.exit("fewer than 500 of them are paths in torchaudio")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
