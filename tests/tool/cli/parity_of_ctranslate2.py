"""`w2vbert parity --expected PACK --actual DUMP --names ctranslate2` on what CTranslate2 itself computes
(scripts/dump_ctranslate2.py). Ends with 77 where ctranslate2 is not installed.

    parity_of_ctranslate2.py PROGRAM
"""

import importlib.util
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from parity_program import ParityProgramTest, main, run  # noqa: E402

# What HF's modules give, and CTranslate2 4.8 does: docs/parity.md.
ADAPTER = "wav2vec2_bert.adapter.layers.0"
LAYERS = ["wav2vec2_bert.encoder.layers.0", "wav2vec2_bert.encoder.layers.1"]
TOLERANCE = 1e-4


class ParityOfCTranslate2(ParityProgramTest):
    def test_its_encoder_is_hfs_and_its_adapter_is_not(self):
        pack, dump = self.folder / "pack", self.folder / "dump.safetensors"
        subprocess.run([sys.executable, ROOT / "scripts" / "dump_ctranslate2.py", "--random", pack, dump], check=True)
        result = run("parity", "--expected", pack, "--actual", dump, "--names", "ctranslate2", "--json")
        report = json.loads(result.stdout)
        rows = {row["name"]: row for row in report["modules"] + report["chain"]}
        self.assertEqual(report["unused"], [])
        self.assertEqual(list(rows), [*LAYERS, ADAPTER, "lm_head", "logits"])
        for name in LAYERS:
            self.assertLess(rows[name]["max_abs"], TOLERANCE, name)
        # A release that adds the feed-forward's output gives "rounding" here, and the page wants its row changed.
        self.assertEqual((result.returncode, report["diagnosis"]["kind"], report["diagnosis"]["module"]),
                         (3, "operation", ADAPTER), report["diagnosis"]["text"])
        self.assertIn(f"{LAYERS[-1]} is right", report["diagnosis"]["text"])


if __name__ == "__main__":
    if importlib.util.find_spec("ctranslate2") is None:
        print("skipped: ctranslate2 is not installed here (scripts/setup --bench)")
        sys.exit(77)
    main()
