"""The commands of the campaigns refuse what would let them pass without having tried anything."""

import importlib

import pytest


@pytest.mark.parametrize(
    ("command", "words", "sentence"),
    [
        ("mutants", ["nosuchword"], "nothing has 'nosuchword' in its name"),
        ("mutants", ["the", "nosuchword"], "nothing has 'nosuchword' in its name"),
        ("mutants", ["--jobs", "0"], "argument --jobs: '0' is no number above 0"),
        ("faults", ["nosuchword"], "nothing has 'nosuchword' in its name"),
        ("faults", ["killed", "nosuchword"], "nothing has 'nosuchword' in its name"),
        ("simulation", ["--schedules", "0"], "argument --schedules: '0' is no number above 0"),
        ("simulation", ["--schedules=-5"], "argument --schedules: '-5' is no number above 0"),
        ("simulation", ["--jobs", "0"], "argument --jobs: '0' is no number above 0"),
        ("simulation", ["--play", "1,x"], "argument --play: '1,x' is no list of numbers like"),
        ("hostile", ["--bodies", "0"], "argument --bodies: '0' is no number above 0"),
        ("system_calls", ["--jobs", "none"], "argument --jobs: 'none' is no number above 0"),
    ],
)
def test_what_would_try_nothing_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    words: list[str],
    sentence: str,
) -> None:
    main = importlib.import_module(f"tests.campaigns.{command}.__main__").main
    monkeypatch.setattr("sys.argv", [command, *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
