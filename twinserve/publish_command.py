"""`twinserve publish`: the command line in front of twinserve.publishing.

Its parameters are its flags, each with its help, which is what makes it long.
"""

from pathlib import Path
from typing import Annotated

import typer

from contracts.layout import ModelPaths
from contracts.live import read_live
from contracts.manifest import BadDocument, Thresholds, encode_document
from twinserve.description import NoDescription, describe
from twinserve.exporters import TIMEOUT_S
from twinserve.options import INTERRUPTED, fail
from twinserve.places import Places, environment
from twinserve.publishing import PublishError, publish_version
from twinserve.staging import Proof, Source

DEFAULTS = Thresholds()
_REPOSITORY = "TWINSERVE_REPOSITORY"


def publish(
    model: Annotated[str, typer.Argument(help="The model's name.", show_default=False)],
    weights: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Canonical weights, their .json beside: made for both engines."),
    ] = None,
    from_torchscript: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A TorchScript file, served by TorchServe as it is."),
    ] = None,
    from_saved_model: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A SavedModel's folder, served as it is.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, max=10**18 - 1, help="The new version; default: after the newest.")
    ] = None,
    description: Annotated[
        Path | None,
        typer.Option("--describe", exists=True, dir_okay=False, help="The model.json; default: the newest version's."),
    ] = None,
    golden: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="An npz of golden inputs by name; default: drawn.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(exists=True, help="A test set: folder of MNIST's IDX files, or an npz of inputs and `labels`."),
    ] = None,
    atol: Annotated[float, typer.Option(min=0, help="A float may differ by this,")] = DEFAULTS.atol,
    rtol: Annotated[float, typer.Option(min=0, help="plus this share of the reference's size.")] = DEFAULTS.rtol,
    min_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="Share of rows whose largest score must be where the reference's is.")
    ] = DEFAULTS.min_argmax_agreement,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the test set each engine must be right on.")
    ] = None,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds an export may take.")] = TIMEOUT_S,
    repository: Annotated[
        Path | None, typer.Option(help="Where to; default TWINSERVE_REPOSITORY, else model_repo.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the manifest, or an object with `error`; progress on stderr.")
    ] = False,
) -> None:
    """Publish a new version of MODEL: exported for both engines, proven equal, or not published at all.

    Give --weights, for a model that has the shipped model's network; or --from-torchscript and --from-saved-model
    both, which are then proven equal to each other. One of them beside --weights takes the place of that engine's
    export. A model with BYTES is made --from-saved-model alone, for TensorFlow Serving alone, since PyTorch has no
    strings. The live version stays as it is; where there is none yet, the newest version becomes live.
    """
    target = (repository or Places.from_environment(environment()).repository).resolve()
    is_new = not any(target.glob("*/live.json"))
    source = Source(weights=weights, torchscript=from_torchscript, saved_model=from_saved_model)
    thresholds = Thresholds(atol=atol, rtol=rtol, min_argmax_agreement=min_agreement, min_accuracy=min_accuracy)
    proof = Proof(golden=golden, data=data, thresholds=thresholds, timeout_s=timeout_s)
    try:
        described = describe(target, model, description)
        manifest = publish_version(
            target, described, version, source, proof, lambda line: typer.echo(line, err=as_json)
        )
    except (PublishError, NoDescription, BadDocument, OSError) as error:
        fail(str(error), as_json)
    except KeyboardInterrupt:
        fail("interrupted; nothing was published", as_json, INTERRUPTED)
    if as_json:
        typer.echo(encode_document(manifest), nl=False)
        return
    paths = ModelPaths(target, model)
    where = paths.version(manifest.version).root
    typer.echo(f"published {where}" + (f" in a new repository: serve it with {_REPOSITORY}={target}" if is_new else ""))
    if not _is_live(paths, manifest.version):
        typer.echo(f"next: twinserve promote {model} {manifest.version}")


def _is_live(paths: ModelPaths, version: int) -> bool:
    try:
        return read_live(paths).live == version
    except (BadDocument, OSError):  # then a promote says what is wrong with it
        return False
