"""scripts/gpu_claims.py: which sentences about missing GPUs may be taken out, and what would prove each."""

from __future__ import annotations

import doctest
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

import gpu_claims  # noqa: E402
import gpu_collect  # noqa: E402
import gpu_stages  # noqa: E402

import gpu_folder  # noqa: E402


def test_every_sentence_about_missing_gpus_is_known() -> None:
    """Whoever writes that something has not run on a GPU says in scripts/gpu_claims.py what would disprove it."""
    unknown = [f"{claim.file}:{line}: {claim.text}" for claim, line in gpu_claims.standing(ROOT) if not claim.near]
    assert not unknown, "enter them in CLAIMS of scripts/gpu_claims.py:\n" + "\n".join(unknown)
    assert all(claim.proofs or claim.by_hand for claim in gpu_claims.CLAIMS)


def test_proofs_name_stages_and_tests_that_are_there(tmp_path: Path) -> None:
    planned = {stage.name for stage in gpu_stages.stages("all", tmp_path / "r", tmp_path, True)} | {"compare"}
    tests = "".join((ROOT / file).read_text(encoding="utf-8") for file in gpu_stages.TEST_FILES.values())
    for proof in (proof for claim in gpu_claims.CLAIMS for proof in claim.proofs):
        assert proof.stage in planned
        if proof.stage.startswith("tests") and proof.names != gpu_claims.EVERYTHING:
            name = re.match(r"\w+", proof.names)
            assert name and f"def {name.group()}(" in tests
        if proof.stage == "parity":
            layers = [f"layer {case}" for case in gpu_folder.LAYERS]
            for one in proof.what.removeprefix("the layers ").split(", "):
                assert any(re.fullmatch(rf"layer {one}\b.*", name) for name in layers), one
            assert any(re.fullmatch(proof.names, name) for name in layers)


def test_what_was_seen_may_be_taken_out(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "CHANGELOG.md").write_text(
        "# Changelog\n\n- `MelSpectrogram`: sound as a picture.\n  Not run on a\n  GPU yet.\n"
        "- Something else; not run on a GPU yet.\n"
    )
    found = gpu_collect.collect([gpu_folder.write(tmp_path / "made")])
    assert gpu_claims.report(found, checkout) == [
        "These sentences may be taken out, because it was seen:",
        'CHANGELOG.md:4: "Not run on a GPU yet."',
        "    parity: the layers MelSpectrogram seen ok (3); tests-training: the layers MelSpectrogram seen ok (3)",
        "",
        "These have to stay:",
        'CHANGELOG.md:6: "not run on a GPU"',
        "    no proof is known: read it",
    ]
    without = gpu_collect.collect([gpu_folder.write(tmp_path / "less", gpu_folder.FIRST)])
    told = gpu_claims.report(without, checkout)
    assert told[1] == "none" and "parity: the layers MelSpectrogram not seen: parity was not run" in told[5]


def test_the_examples_of_the_docstrings() -> None:
    assert doctest.testmod(gpu_claims).failed == 0
