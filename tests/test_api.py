"""The public names: all there, quick to import, and the same objects that the commands use."""

import subprocess
import sys

import rarft
from rarft.cli import STAGES, load_stage
from rarft.core.artifacts import Stage


def test_every_public_name_is_there() -> None:
    for name in rarft.__all__:
        assert getattr(rarft, name) is not None


def test_stages_are_the_commands() -> None:
    public = {getattr(rarft, name).name for name in rarft.__all__ if isinstance(getattr(rarft, name), Stage)}
    assert public == set(STAGES) - {"testbed", "reasoning-gym"}
    assert rarft.label is load_stage("label") and rarft.label.config_type is rarft.LabelConfig


def test_import_is_light() -> None:
    code = "import sys, rarft; assert not {'torch', 'pydantic', 'yaml'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
