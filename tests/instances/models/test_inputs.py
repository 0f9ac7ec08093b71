"""Calibration tensors reach the argument of their name, and texts are read as what they are."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from maskgap.instances.errors import InputError
from maskgap.instances.models.calibration import load_calibration
from maskgap.instances.models.extract_files import run_extract
from maskgap.instances.models.inputs import expect_token_ids
from maskgap.instances.models.load import LoadedModel, load_model
from maskgap.instances.models.texts import file_texts, split_texts
from maskgap.instances.models.tokens import Encoder
from tests.helpers.checkpoints import bert, tokenizer
from tests.helpers.toys import Net


def generator():
    return torch.Generator().manual_seed(0)


# Names


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    """Models whose main input is no token: (folder, name of the input, samples)."""
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    folder = tmp_path_factory.mktemp("vision")
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(0)
    vit = transformers.ViTConfig(hidden_size=8, image_size=16, patch_size=8, **sizes)
    transformers.ViTModel(vit).save_pretrained(folder / "vit")
    transformers.ViTForImageClassification(vit).save_pretrained(folder / "head")
    sound = transformers.Wav2Vec2Config(
        hidden_size=16, conv_dim=(8, 8), conv_kernel=(8, 4), conv_stride=(4, 2),
        num_feat_extract_layers=2, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        **sizes,
    )  # fmt: skip
    transformers.Wav2Vec2Model(sound).save_pretrained(folder / "wav2vec2")
    images = torch.randn(8, 3, 16, 16, generator=generator())
    return {
        "vit": (folder / "vit", "pixel_values", images),
        "head": (folder / "head", "pixel_values", images),
        "wav2vec2": (folder / "wav2vec2", "input_values", images.reshape(8, -1)),
    }


@pytest.mark.parametrize("kind", ["vit", "head", "wav2vec2"])
def test_the_main_input_is_what_the_model_calls_it(kind, vision, tmp_path):
    folder, name, samples = vision[kind]
    save_file({name: samples}, tmp_path / "named.safetensors")
    np.save(tmp_path / "nameless.npy", samples.numpy())
    grams = []
    for file in ("named.safetensors", "nameless.npy"):
        data = load_calibration(load_model(str(folder)), [tmp_path / file], 9, 8)
        assert [list(batch) for batch in (*data.batches, *data.held_out)] == [[name], [name]]
        paths = run_extract(str(folder), tmp_path / file[:4], "*0*", [tmp_path / file])
        grams.append([path.read_bytes()[-64:] for path in paths])
    assert grams[0] == grams[1]
    assert grams[0]
    for wrong in ("pixels", "input_ids", "x", "kwargs"):
        save_file({wrong: samples}, tmp_path / "wrong.safetensors")
        with pytest.raises(InputError) as caught:
            run_extract(str(folder), tmp_path / "out", calibration=[tmp_path / "wrong.safetensors"])
        assert f"takes no '{wrong}'; name tensors" in str(caught.value)
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("samples", "name"),
    [(torch.arange(24).reshape(4, 6), "input_ids"), (torch.ones(4, 6, 8), "inputs_embeds")],
)
def test_a_nameless_tensor_is_tokens_or_their_embeddings(samples, name, tmp_path):
    pytest.importorskip("transformers", reason="transformers is absent")
    bert(tmp_path / "bert")
    np.save(tmp_path / "x.npy", samples.numpy())
    data = load_calibration(load_model(str(tmp_path / "bert")), [tmp_path / "x.npy"], 9, 8)
    assert [list(batch) for batch in data.batches] == [[name]]


class Two(Net):
    def forward(self, x, *, scale=None, **rest):
        return self.l(x if scale is None else x * scale)


class Strict(Net):
    def forward(self, states, keep=None):
        assert keep is None or keep.dtype is torch.bool
        return self.l(states)


@pytest.mark.parametrize(
    ("model", "tensors", "message"),
    [
        (Net(), {"x": torch.ones(2, 3)}, None),
        (Net(), {"y": torch.ones(2, 3)}, "takes no 'y'; .* x, attention_mask, decoder_input_ids"),
        (Net(), {"": torch.ones(2, 3)}, "takes no ''|no nameless"),
        (Two(), {"x": torch.ones(2, 3), "scale": torch.ones(2, 1), "more": torch.ones(2)}, None),
        (Strict(), {"states": torch.ones(2, 3), "keep": torch.ones(2, dtype=torch.bool)}, None),
        (Strict(), {"states": torch.ones(2, 3), "x": torch.ones(2)}, "takes no 'x'"),
        (nn.Sequential(nn.Linear(3, 2)), {"input": torch.ones(2, 3)}, None),
        (nn.Sequential(nn.Linear(3, 2)), {"x": torch.ones(2, 3)}, "takes no 'x'.* input$"),
    ],
)
def test_named_tensors_of_a_module_of_ones_own(model, tensors, message, tmp_path):
    file = tmp_path / "x.safetensors"
    save_file(tensors, file)

    def calibrate():
        return load_calibration(LoadedModel("m", model), [file], 9, 8)

    if "" in tensors:  # a file cannot leave a name out, so this is the first argument
        assert torch.is_tensor(calibrate().batches[0])
    elif message is None:
        batch = calibrate().batches[0]
        assert set(batch) == set(tensors)
        model(**batch)
    else:
        with pytest.raises(InputError, match=message):
            calibrate()


def test_a_nameless_tensor_is_the_first_argument_of_a_module_of_ones_own(tmp_path):
    np.save(tmp_path / "x.NPY.npy", np.ones((2, 3)))
    (tmp_path / "x.NPY.npy").rename(tmp_path / "x.NPY")
    data = load_calibration(LoadedModel("m", Strict()), [tmp_path / "x.NPY"], 9, 8)
    assert data.batches[0].shape == (1, 3)


# Texts


LINES = '{"text": "one cat"}\n{"text": "two cats", "url": "x"}\n'


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "a.JSON", "a.txt", "a"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_json_lines_are_told_by_name_or_content(name, encoding, tmp_path):
    path = tmp_path / name
    path.write_text(f"\n{LINES}", encoding=encoding)
    assert file_texts([path]) == ["one cat", "two cats"]


@pytest.mark.parametrize(
    "content",
    ["{curly} words", '{"key": "value"}', '["text"]', '{"text": 3} and more', "{" * 10**5, "plain"],
)
def test_any_other_text_is_one_text_and_an_error_under_a_name_of_json(content, tmp_path):
    plain, named = tmp_path / "a.txt", tmp_path / "a.json"
    for path in (plain, named):
        path.write_text(content, encoding="utf-8-sig")
    assert file_texts([plain]) == [content]
    with pytest.raises(InputError, match=r"a\.json: line 1 is not a JSON object .* such as \.txt"):
        file_texts([named])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"text": "good"}\n{"text": "bad \\ud800 pair"}',
            "line 2 has half a surrogate pair at ch",
        ),
        (b'{"text": "fine \\ud83d\\ude00"}', None),
        ("zwölf".encode("latin-1"), r"is not UTF-8 text \(byte 2\); unpack or convert it"),
        ("zwölf".encode("utf-16"), "is not UTF-8 text"),
        ("twelve".encode("utf-16-le"), "holds null characters"),
        (b"\x1f\x8b\x08\x00", "is not UTF-8 text"),
        ("zwölf Kämpfer".encode(), None),
    ],
)
def test_characters(content, message, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    if message is None:
        assert len(file_texts([path])) == 1
        return
    with pytest.raises(InputError, match=message) as caught:
        file_texts([path])
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "halves"),
    [
        ("a\nb\nc\nd", ("a\nb", "c\nd")),
        ("\n".join(f"word{i}" for i in range(10, 30)), None),
        ("字" * 11, ("字" * 5, "字" * 6)),
        ("ab\tcd", ("ab", "cd")),
        ("x" * 100 + " y", ("x" * 51, "x" * 49 + " y")),
        ("a long-word-in-its-middle b", ("a long-word-i", "n-its-middle b")),
        ("\u3000" * 3 + "ab cd", ("\u3000" * 3 + "ab", "cd")),
    ],
)
def test_a_single_text_is_cut_at_the_blank_nearest_to_its_middle(text, halves):
    (one,), (other,) = split_texts([text])
    if halves is not None:
        assert (one, other) == halves
    assert text.startswith(one)
    assert text.endswith(other)
    assert abs(len(one) - len(other)) <= len(text) / 2 + 1


class Letters:
    """A tokenizer of a token a character that says how many it read."""

    unk_token_id = None

    def __init__(self):
        self.read = 0

    def __call__(self, text, add_special_tokens=True, verbose=True):
        self.read += len(text)
        return {"input_ids": [ord(letter) for letter in text]}


@pytest.mark.parametrize("text", ["word " * 10**5, "字" * 10**5, "\n" * 10**5 + "a"])
def test_a_long_text_is_read_only_as_far_as_it_takes(text):
    letters = Letters()
    encoder = Encoder(LoadedModel("m", nn.Identity(), tokenizer=letters))
    assert encoder.first(text, 40) == [ord(letter) for letter in text[:40]]
    assert letters.read < 2000
    assert encoder.first("short", 40) == [ord(letter) for letter in "short"]


def test_sequences_of_a_long_text_are_those_of_the_whole(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    tokenizer(tmp_path / "t", begin="<s>")
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "t")
    text = "the cat sat on a mat and ran to the hat " * 500
    encoder = Encoder(LoadedModel("m", nn.Identity(), tokenizer=loaded))
    found = encoder.sequences([text], 7, 8)
    whole = loaded(text, truncation=True, max_length=8, return_overflowing_tokens=True)
    assert found == whole["input_ids"][:7]
    assert encoder.sequences(["the cat sat"], 7, 3) == [[1, 2, 3], [1, 4]]


def test_a_tokenizer_that_fails_is_named():
    class Fails(Letters):
        def __call__(self, text, **options):
            raise RuntimeError("no such word\nand more")

    with pytest.raises(InputError, match=r"m: its tokenizer fails: RuntimeError: no such word$"):
        Encoder(LoadedModel("m", nn.Identity(), tokenizer=Fails()))


@pytest.mark.parametrize("kind", ["T5", "Whisper", "CLIP"])
def test_a_model_that_needs_more_than_token_ids_says_so_in_one_line(kind):
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    config = {
        "T5": lambda: transformers.T5Config(
            vocab_size=16, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2
        ),
        "Whisper": lambda: transformers.WhisperConfig(
            vocab_size=16, d_model=8, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=8,
            encoder_attention_heads=2, decoder_attention_heads=2, decoder_ffn_dim=8,
            max_source_positions=8, max_target_positions=8, num_mel_bins=4, pad_token_id=0,
            bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        ),
        "CLIP": lambda: transformers.CLIPConfig(
            text_config={"vocab_size": 16, "hidden_size": 8, "intermediate_size": 8,
                         "num_hidden_layers": 1, "num_attention_heads": 2, "eos_token_id": 2,
                         "bos_token_id": 1, "pad_token_id": 0},
            vision_config={"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
                           "num_attention_heads": 2, "image_size": 8, "patch_size": 4},
        ),
    }[kind]()  # fmt: skip
    module = getattr(transformers, f"{kind}Model")(config).train()
    loaded = LoadedModel("m", module, pretrained=True)
    with pytest.raises(InputError, match=r"on token ids alone .*safetensors") as caught:
        expect_token_ids(loaded, [3, 4])
    assert len(str(caught.value).splitlines()) == 1
    assert module.training


def test_a_model_of_token_ids_is_left_as_it_was():
    transformers = pytest.importorskip("transformers", reason="transformers is absent")
    config = transformers.BertConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2,
    )  # fmt: skip
    module = transformers.BertModel(config).train()
    expect_token_ids(LoadedModel("m", module, pretrained=True), [3, 4])
    assert all(part.training for part in module.modules())
