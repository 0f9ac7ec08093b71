"""What cannot be pruned: rows without a mask, masks and layers of others, bad input."""

import numpy as np
import pytest

from maskgap.benchmarks.models.masks import Solved, Stored, Unsolved
from maskgap.benchmarks.models.prune import Source, prune_model
from maskgap.benchmarks.models.sampling import Sampling
from maskgap.instances.errors import InputError, Refused
from maskgap.instances.formats.files import read_layer, write_mask
from maskgap.instances.formats.tensors import read_tensors
from maskgap.instances.models.extract_files import run_extract
from maskgap.instances.models.load import load_model as load_any
from tests.helpers.command import told
from tests.helpers.pruning import pruned, samples


@pytest.fixture
def data(tmp_path):
    return samples(tmp_path)


def test_a_row_without_a_mask_means_no_checkpoint(tmp_path, data):
    loaded = load_any("tests.helpers.toys:two_layers")
    with pytest.raises(Unsolved, match="0: row 3 has no mask"):
        prune_model(loaded, Solved("tests.helpers.fakes:Half", "50%", {}), tmp_path / "out", "*",
                    source=Source(data=Sampling([data])))  # fmt: skip
    assert not (tmp_path / "out" / "model.safetensors").exists()
    with pytest.raises(Refused, match="0: row 0: rows of this kind are not taken"):
        pruned(
            "tests.helpers.toys:two_layers",
            tmp_path / "b",
            data,
            solver="tests.helpers.fakes:Refuses",
        )
    with pytest.raises(Unsolved, match="0: row 0 is wrong"):
        pruned(
            "tests.helpers.toys:two_layers",
            tmp_path / "c",
            data,
            solver="tests.helpers.fakes:Claims",
        )


def test_masks_of_other_weights_or_against_their_pattern_are_refused(tmp_path, data):
    out = tmp_path / "out"
    pruned("tests.helpers.toys:two_layers", out, data)
    file = out / "masks" / "0.mask.safetensors"

    layers = tmp_path / "layers"
    run_extract("tests.helpers.toys:two_layers", layers, calibration=[data])
    layer, other = read_layer(layers / "0.safetensors"), read_layer(layers / "1.safetensors")
    mask = read_tensors(file)[0]["mask"].astype(bool)
    wrong = mask.copy()
    wrong[1] = True
    for use, text, chosen, message in [
        (other, "50%", mask, "belongs to other weights than those of 0"),
        (layer, "25%", mask, "does not meet pattern"),
        (layer, "50%", wrong, "does not meet pattern"),
        (layer, "50%", mask[:2], "of shape"),
        (layer, "half", mask, "is not one of the forms"),
    ]:
        write_mask(file, chosen, use, text, "hand", rows=range(4))
        with pytest.raises(InputError, match=message) as caught:
            prune_model(load_any("tests.helpers.toys:two_layers"),
            Stored(file.parent),
                        tmp_path / "again", "0", source=Source(data=Sampling([data])))  # fmt: skip
        assert str(file) in str(caught.value)
    # rows that were not asked for are kept
    write_mask(
        file, np.vstack([mask[:1], np.ones((3, 4), bool)]), layer, "50%", "hand", rows=range(1)
    )
    (report,) = prune_model(load_any("tests.helpers.toys:two_layers"),
    Stored(file.parent),
                            tmp_path / "rows", "0",
                            source=Source(data=Sampling([data])))  # fmt: skip
    assert report.pruned == 2


def test_extracted_layers_of_another_model_are_refused(tmp_path, data):
    layers = tmp_path / "layers"
    run_extract("tests.helpers.toys:two_layers", layers, calibration=[data])
    (layers / "0.safetensors").write_bytes((layers / "1.safetensors").read_bytes())
    masks = Solved("magnitude", "50%", {})
    loaded = load_any("tests.helpers.toys:two_layers")
    with pytest.raises(InputError, match="its weights are not those of 0 in this model"):
        prune_model(loaded, masks, tmp_path / "out", "*", source=Source(extracted=layers))
    (layers / "0.safetensors").unlink()
    with pytest.raises(InputError, match="has no held-out Gram; extract again with --held-out"):
        prune_model(
            loaded, masks, tmp_path / "out1", source=Source(extracted=layers, held_out=True)
        )
    with pytest.raises(InputError, match="no layer file of this model"):
        prune_model(loaded, masks, tmp_path / "out2", "*", source=Source(extracted=tmp_path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "takes masks from --masks DIR or finds them by --solver NAME"),
        (["--solver", "wanda", "--masks", "."], "takes masks from --masks DIR or"),
        (["--solver", "wanda"], "--solver and --pattern go together"),
        (["--masks", ".", "-p", "50%"], "--solver and --pattern go together"),
        (["--masks", "benchmarks"], "benchmarks: holds no mask file"),
        (["--masks", "nowhere"], "nowhere: expected a folder"),
        (["--masks", ".", "--propagate"], "--propagate and --set are for --solver"),
        (["--solver", "wonder", "-p", "50%"], "no solver 'wonder'"),
        (["--solver", "sdp-bound", "-p", "50%"], "gives bounds and no masks"),
        (["--solver", "wanda", "-p", "2;4"], "is not one of the forms"),
        (["--solver", "wanda", "-p", "2:3"], "needs d_in divisible by 3"),
        (["--solver", "wanda", "-p", "50%", "--set", "a"], "--set a: expected key=value"),
        (["--solver", "wanda", "-p", "50%", "--set", "a=1"], "has no setting 'a'"),
        (["--solver", "wanda", "-p", "50%", "--samples", "0"], "--samples 0"),
        (["--solver", "wanda", "-p", "50%", "--time-limit", "-1"], "--time-limit -1"),
        (["--solver", "wanda", "-p", "50%", "--layers", "x*"], "no layer matches 'x*'"),
        (["--solver", "wanda", "-p", "50%", "--propagate", "--extracted", "."], "--propagate col"),
        (["--solver", "wanda", "-p", "50%", "--layers", "0,x*"], "no layer matches 'x*'"),
        (["--solver", "wanda", "-p", "50%", "--exclude", "x"], "no layer matches 'x'"),
        (["--solver", "wanda", "-p", "50%", "--pattern-for", "x=2:4"], "no layer matches 'x'"),
        (["--solver", "wanda", "-p", "50%", "--extracted", "."], "so they take no --calibration"),
        (["--solver", "wanda", "-p", "50%", "--out", "tests"], "tests: is there already"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(capsys, monkeypatch, tmp_path, data, words, message):
    given = [] if "--out" in words else ["--out", tmp_path / "out"]
    code, lines = told(
        capsys, monkeypatch,
        "prune", "tests.helpers.toys:two_layers", "--calibration", data, *given,
        *words,
    )  # fmt: skip
    assert code == 2
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_exit_1_when_a_row_has_no_mask(capsys, monkeypatch, tmp_path, data):
    code, lines = told(
        capsys, monkeypatch, "prune", "tests.helpers.toys:two_layers",
        "--calibration", data, "--solver", "tests.helpers.fakes:Half", "-p", "50%",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 1
    assert lines == ["maskgap: 0: row 3 has no mask: time; no checkpoint is written"]
