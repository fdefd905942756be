"""Damaged safetensors files, judged by this library and by the safetensors package (the reference, in
Rust): the same verdict, and the same tensors where it is a good one. This library may be stricter
where the reasons of STRICTER say so, and nowhere laxer.

usage: compare_with_safetensors.py PRINT_HEADER [FILES [SEED]]   (exit 77: no safetensors package)"""

import collections
import json
import pathlib
import random
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from absent_packages import skip_where_absent  # noqa: E402

try:
    import safetensors
except ImportError as error:
    skip_where_absent(error)

STRICTER = {
    "the entry is a list": "an entry given by position",
    "stands twice": "a name given twice",
    "does not fit 63 bits": "a shape that no LibTorch tensor can have",
    "shape has a dimension of": "a dimension beyond int64",
    "holds a number beyond": "a number that fits no type, in a field that nobody reads",
}
DTYPES = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I16": 16, "U16": 16,
          "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "I64": 64, "U64": 64, "F64": 64,
          "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
NUMBERS = ["0", "1", "2", "3", "4", "7", "8", "-1", "-0", "1.0", "1e0", "4294967296", "9223372036854775807",
           "9223372036854775808", "18446744073709551615", "18446744073709551616", "1e999", "1e-999",
           "123456789012345678901234567890", "null", "true"]
VALUES = [*NUMBERS, '""', '"a"', '"F32"', "[]", "{}", "[1]", '{"a":1}', "[[]]", '"\\ud800"', '"\\u0041"', "NaN"]
PIECES = [b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\0", b" ", b"\xff", b"\xc3\xa4", b"\n", b"0", b"-", b"e"]


def good_file(rng):
    """(JSON fields of a valid header, data)"""
    entries, at = [], 0
    for i in range(rng.randrange(4)):
        dtype = rng.choice(list(DTYPES))
        shape = [rng.choice([0, 1, 2, 3, 8]) for _ in range(rng.randrange(4))]
        elements = 1
        for size in shape:
            elements *= size
        if elements * DTYPES[dtype] % 8:
            shape.append(8)
            elements *= 8
        end = at + elements * DTYPES[dtype] // 8
        fields = [("dtype", f'"{dtype}"'), ("shape", json.dumps(shape)), ("data_offsets", f"[{at},{end}]")]
        if rng.random() < 0.2:
            fields.append((rng.choice(["x", "shape2", ""]), rng.choice(VALUES)))
        rng.shuffle(fields)
        entries.append([rng.choice(["a", "b", "t\\u00e4", "\\u0061"]) + str(i), fields])
        at = end
    if rng.random() < 0.4:
        entries.append(["__metadata__", rng.choice([[("format", '"pt"')], [], "null", "1", '{"a":1}', "[]"])])
    rng.shuffle(entries)
    return entries, rng.randbytes(at)


def damage_entries(rng, entries):
    tensors = [entry for entry in entries if isinstance(entry[1], list) and entry[1]]
    if not tensors:
        return
    entry = rng.choice(tensors)
    which = rng.randrange(len(entry[1]))
    name, value = entry[1][which]
    kind = rng.randrange(7)
    if kind == 0:
        del entry[1][which]
    elif kind == 1:
        entry[1].append((name, value))
    elif kind == 2:
        entry[1][which] = (name, rng.choice(VALUES))
    elif kind == 3 and value.startswith("["):
        numbers = value.strip("[]").split(",")
        numbers[rng.randrange(len(numbers))] = rng.choice(NUMBERS)
        entry[1][which] = (name, "[" + ",".join(numbers) + "]")
    elif kind == 4:
        entry[0] = rng.choice([other[0] for other in entries])
    elif kind == 5:
        entry[1] = rng.choice(VALUES)
    else:
        entry[1][which] = (rng.choice(["dtype", "shape", "data_offsets", "Shape"]), value)


def damaged_file(rng):
    entries, data = good_file(rng)
    for _ in range(rng.choice([0, 0, 1, 1, 1, 2])):
        damage_entries(rng, entries)

    def text(value):
        if not isinstance(value, list):
            return value
        return "{" + ",".join(f'"{name}":{field}' for name, field in value) + "}"

    header = ("{" + ",".join(f'"{name}":{text(value)}' for name, value in entries) + "}").encode()
    if rng.random() < 0.3:  # bytes of the header
        header = bytearray(header)
        for _ in range(rng.randrange(1, 3)):
            at = rng.randrange(len(header) + 1)
            header[at : at + rng.randrange(2)] = rng.choice(PIECES)
        header = bytes(header)
    header = rng.choice([b"", b"", b" ", b"\n\t"]) + header + b" " * rng.choice([0, 0, 1, 7])
    length = len(header)
    if rng.random() < 0.1:
        length = rng.choice([0, length - 1, length + 1, length + len(data) + 1, 2**32 + length, 2**63, 2**64 - 1,
                             2**64 - 8, 100_000_000, 100_000_001])
    data = rng.choice([data, data, data, data, data[:-1], data + b"x"])
    file = struct.pack("<Q", length % 2**64) + header + data
    return file[: rng.randrange(len(file))] if rng.random() < 0.03 else file


def reference(file):
    try:
        return {name: (entry["dtype"], list(entry["shape"]), bytes(entry["data"]))
                for name, entry in safetensors.deserialize(file)}
    except Exception as error:  # its class is SafetensorError, and others for some inputs
        return str(error)


def main():
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20000
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    files = [damaged_file(rng) for _ in range(count)]
    stream = b"".join(struct.pack("<Q", len(file)) + file for file in files)
    lines = subprocess.run([sys.argv[1]], input=stream, check=True, capture_output=True).stdout.splitlines()
    assert len(lines) == len(files), (len(lines), len(files))
    verdicts, problems = collections.Counter(), []
    for file, line in zip(files, lines, strict=True):
        ours, theirs = json.loads(line), reference(file)
        if isinstance(theirs, str):
            verdict = "refused by both" if "refused" in ours else "LAXER"
        elif "refused" in ours:
            reasons = [name for words, name in STRICTER.items() if words in ours["refused"]]
            verdict = "stricter: " + reasons[0] if reasons else "STRICTER FOR NO GOOD REASON"
        else:
            tensors = {name: (dtype, shape, file[begin:end])
                       for name, (dtype, shape, begin, end) in ours["tensors"].items()}
            verdict = "accepted by both" if tensors == theirs else "READ DIFFERENTLY"
        verdicts[verdict] += 1
        if verdict.isupper():
            problems.append(f"{verdict}: {file!r}\n  ours: {ours}\n  theirs: {theirs}")
    print("\n".join(problems[:20]))
    for verdict, times in sorted(verdicts.items()):
        print(f"{times:7} {verdict}")
    good = verdicts["accepted by both"]
    if not count / 10 < good < count * 9 / 10:
        problems.append("the files are not mixed")
        print(problems[-1])
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
