"""A run on the Hugging Face hub: its checkpoint, its front and a model card, which cosdpo.load("OWNER/NAME") loads.

    python -m cosdpo.hub push runs/mine OWNER/NAME [--private]
    python -m cosdpo.hub push runs/mine OWNER/NAME --dry-run FOLDER    # what would be pushed, without the hub

`hub.push: OWNER/NAME` in the configuration of a job does it when the run has ended.
"""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from huggingface_hub import HfApi
from pydantic import Field

from cosdpo import hub_check
from cosdpo.cli.command_line import framed, read
from cosdpo.config import Config
from cosdpo.config.section import HubName, LocalPath, Section
from cosdpo.errors import InputError
from cosdpo.evaluation.front import Front, front_path
from cosdpo.files import whole_folder
from cosdpo.hub_card import PICTURE, Shared, model_card
from cosdpo.models.adapter_settings import SETTINGS, adapter_file
from cosdpo.models.cards import LanguageCard, checkpoint_folder, read_card
from cosdpo.training import run_folder

log = logging.getLogger("cosdpo")

USAGE = "python -m cosdpo.hub push DIR OWNER/NAME [--dry-run FOLDER] [--private] [--base NAME] [--license NAME]"


class PushSettings(Section):
    """What is pushed, and where to."""

    folder: LocalPath
    """Run folder, or its checkpoint folder."""
    name: Annotated[HubName, Field(min_length=1)]
    """The model's name on the hub, OWNER/NAME."""
    private: bool = False
    """Keep it private; otherwise it is what OWNER's models are by default."""
    dry_run: LocalPath | None = None
    """Write what would be pushed to this folder, which must not exist, and push nothing."""
    base: str = ""
    """The base's name on the hub, of a language model whose base was a folder."""
    license: str = ""
    """Licence, such as apache-2.0; that of the base by default, if it names one."""


def push(settings: PushSettings) -> str:
    """Pushes a run, or writes what would be pushed; returns the address on the hub, or the folder.

    Raises:
        InputError: no checkpoint, no token, a folder that exists or cannot be written, or the hub does not take it.
    """
    if settings.dry_run is None:
        hub_check.require_token("push")
        with TemporaryDirectory() as folder:
            _write(settings, Path(folder))
            return _upload(settings, folder)
    if settings.dry_run.exists():
        raise InputError(f"dry_run {settings.dry_run} exists; name another folder")
    try:
        with whole_folder(settings.dry_run) as place:
            _write(settings, place)
    except OSError as error:
        raise InputError(
            f"dry_run {settings.dry_run} cannot be written ({error.strerror}); name another folder"
        ) from None
    return str(settings.dry_run)


def push_run(config: Config) -> None:
    """Pushes a run that has ended, if its configuration says so. A push that fails is told in one line."""
    if not (name := config.hub.push):
        return
    settings = PushSettings(folder=config.output, name=name, private=config.hub.private)
    try:
        print(f"pushed to {push(settings)}")
    except InputError as error:
        again = shlex.join(["push", str(config.output), name, *["--private"][: int(config.hub.private)]])
        log.warning("%s; the run is whole, push it again by: python -m cosdpo.hub %s", error, again)


def _write(settings: PushSettings, to: Path) -> None:
    """Fills the folder `to` with what a repository of the hub has."""
    folder = checkpoint_folder(settings.folder)
    card = read_card(folder)
    base = ""
    licence: Mapping[str, str] = {}
    if isinstance(card, LanguageCard):
        base = hub_check.public_name(settings.base or card.base)
        if settings.base and not base:
            raise InputError(f"base {settings.base} is no name of a model on the hub; give one, or leave it out")
        licence = hub_check.licence(base or card.base)
        # A path of this machine is nobody else's: cosdpo.load then asks for `base`.
        card = card.model_copy(update={"base": base or f"./{Path(card.base).name}"})
    if settings.license:
        licence = {"license": settings.license}
    for name in card.files:
        if not (file := adapter_file(folder, name)).is_file():
            raise InputError(f"{folder} lacks {name}; give the checkpoint folder of a whole run")
        shutil.copyfile(file, to / name)
    card.write(to)
    if isinstance(card, LanguageCard):
        adapters = json.loads((to / SETTINGS).read_bytes()) | {"base_model_name_or_path": card.base}
        (to / SETTINGS).write_text(json.dumps(adapters, indent=2) + "\n", encoding="utf-8")
    front = None
    if (path := front_path(folder)).exists():
        front = Front.load(path)
        front.save(to / path.name)
        if (picture := path.with_name(PICTURE)).exists():
            shutil.copyfile(picture, to / PICTURE)
    shared = Shared(settings.name, card, base, licence, front, _trained_on(folder), (to / PICTURE).exists())
    model_card(shared).save(to / "README.md")


def _trained_on(folder: Path) -> str:
    """data.train of the run whose checkpoint this is; empty where it has no config.yaml."""
    run = folder.resolve().parent
    return str(run_folder.stored(run)["data"]["train"]) if (run / run_folder.CONFIG).exists() else ""


def _upload(settings: PushSettings, folder: str) -> str:
    api, name = HfApi(), settings.name
    try:
        address = api.create_repo(name, private=settings.private or None, exist_ok=True)
        public = settings.private and not api.model_info(name).private
        if not public:
            api.upload_folder(repo_id=name, folder_path=folder, commit_message="Checkpoint, front and model card")
    except Exception as error:  # whichever of the transport's errors
        raise InputError(f"push to {name} failed: {hub_check.said(error, name)}") from None
    if public:
        raise InputError(f"push to {name} failed: it is there and public; make it private first, or give another name")
    return str(address)


def main(argv: Sequence[str]) -> None:
    """Pushes what the command line asks for."""

    def program() -> None:
        command, *rest = argv or [""]
        if command in ("-h", "--help"):
            rest = ["--help"]
        elif command != "push":
            raise InputError(f"unknown command {command!r}; {USAGE}")
        names = list(takewhile(lambda text: not text.startswith("-"), rest[:2]))
        options = [part for pair in zip(("--folder", "--name"), names, strict=False) for part in pair]
        options += [text.replace("--dry-run", "--dry_run") for text in rest[len(names) :]]
        print(push(read(PushSettings, options, __doc__, usage=USAGE)))

    framed(program)


if __name__ == "__main__":
    main(sys.argv[1:])
