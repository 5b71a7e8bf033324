"""The public names: all there, quick to import, and the same objects that the commands use."""

import re
import subprocess
import sys
from pathlib import Path

import rarft
from rarft.core.stages import Stage, find_stages


def test_every_public_name_is_there() -> None:
    for name in rarft.__all__:
        assert getattr(rarft, name) is not None


def test_stages_are_the_commands() -> None:
    public = {getattr(rarft, name).name for name in rarft.__all__ if isinstance(getattr(rarft, name), Stage)}
    assert public == set(find_stages())
    assert rarft.label is find_stages()["label"] and rarft.label.config_type is rarft.LabelConfig


def test_names_for_type_checkers_are_the_public_names() -> None:
    block = Path(rarft.__file__).read_text().split("if TYPE_CHECKING:")[1].split("OTHERS")[0]
    assert set(re.findall(r" as (\w+)", block)) == set(rarft.__all__) - {"__version__"}


def test_import_is_light() -> None:
    code = "import sys, rarft; assert not {'torch', 'pydantic', 'yaml'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
