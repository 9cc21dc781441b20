"""The pages in docs/pages are what the code makes now: `scripts/explain_pages` writes them again."""

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest
from reading import PageReader

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    loader = SourceFileLoader("explain_pages", str(ROOT / "scripts" / "explain_pages"))
    spec = importlib.util.spec_from_loader("explain_pages", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_pages_are_what_the_code_makes(
    script: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert script.main(["--check"]) == 0, f"{capsys.readouterr().out}run scripts/explain_pages"
    assert sorted(path.name for path in script.FOLDER.iterdir()) == sorted(script.explanations())
    monkeypatch.setattr(script, "FOLDER", tmp_path)
    assert script.main(["--check"]) == 1 and list(tmp_path.iterdir()) == []
    assert script.main([]) == 0 and script.main(["--check"]) == 0
    (tmp_path / "xor.html").write_text("old")
    capsys.readouterr()
    assert script.main(["--check"]) == 1 and capsys.readouterr().out.startswith("xor.html: differ")


def test_pages_need_no_network_and_no_script() -> None:
    for page in (ROOT / "docs" / "pages").iterdir():
        text = page.read_text(encoding="utf-8")
        assert "<script" not in text and "://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert PageReader(text).faults == []
