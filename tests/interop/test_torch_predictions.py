"""Networks that take PyTorch's weights predict what PyTorch predicts, and PyTorch takes them back."""

from __future__ import annotations

import numpy as np
import pytest

import gpubp as bp
from layer_cases import LAYERS

torch = pytest.importorskip("torch")
nn = torch.nn


@pytest.fixture(autouse=True)
def the_same_weights_every_time() -> None:
    torch.manual_seed(0)


def prepared(module):
    """A module as after a training: no weight is 0 or 1, running statistics included."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, a in (*module.named_parameters(), *module.named_buffers()):
            if "running_var" in name:
                a.copy_(torch.rand(a.shape, generator=generator) + 0.5)
            elif a.is_floating_point() and a.ndim < 2:
                a.copy_(torch.randn(a.shape, generator=generator) * 0.3)
    return module.eval()


def images_first(x):
    return torch.tensor(np.moveaxis(x, -1, 1).copy())


def compared(net, module, x, given=None, rename=None, tolerance=1e-5):
    """Load, predict, and compare; then give the weights back to the module, and compare again."""
    prepared(module)
    report = net.load_torch(module.state_dict(), rename)
    with torch.no_grad():
        wanted = module(torch.tensor(x) if given is None else given)
    wanted = (wanted[0] if isinstance(wanted, tuple) else wanted).numpy()
    found = net.predict(x)
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
    return report


def test_an_mlp() -> None:
    net = bp.Network(bp.Sequential(bp.Dense(16), bp.ReLU(), bp.Dense(16), bp.Tanh(), bp.Dense(3)), 8, device="cpu")
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    x = np.random.default_rng(0).normal(size=(50, 8)).astype("float32")
    report = compared(net, module, x)
    assert report.complete and {one.by for one in report.taken} == {"name"}


class Block(nn.Module):
    """A residual block as torchvision has it, its shortcut last."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.downsample(x))


def residual_network():
    def conv(filters, size=3, padding=1):
        return [bp.Conv2D(filters, size, padding=padding, use_bias=False), bp.BatchNorm()]

    body = bp.Sequential(*conv(6), bp.ReLU(), *conv(6))
    layers = bp.Sequential(
        *conv(4), bp.ReLU(), bp.MaxPool2D(2), bp.Residual(body, bp.Sequential(*conv(6, 1, 0))), bp.ReLU(),
        bp.MaxPool2D(2), bp.Flatten(), bp.BatchNorm(), bp.Dropout(0.5), bp.Dense(10), bp.ReLU(), bp.Dense(3),
    )  # fmt: skip
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), Block(4, 6),
        nn.MaxPool2d(2), nn.Flatten(), nn.BatchNorm1d(54), nn.Dropout(), nn.Linear(54, 10), nn.ReLU(), nn.Linear(10, 3),
    )  # fmt: skip
    return bp.Network(layers, (12, 12, 3), device="cpu"), module


def test_a_cnn_with_a_residual_block() -> None:
    net, module = residual_network()
    x = np.random.default_rng(0).normal(size=(5, 12, 12, 3)).astype("float32")
    report = compared(net, module, x, images_first(x))
    assert report.complete and {one.by for one in report.taken} == {"order"}
    assert any("(C, H, W)" in note for one in report.taken for note in one.notes)


def test_a_cnn_of_pytorch_trains_on() -> None:
    """From PyTorch's weights on, the loss falls, and the first loss is PyTorch's."""
    net, module = residual_network()
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(64, 12, 12, 3)).astype("float32"), rng.integers(0, 3, 64)
    net.load_torch(prepared(module).state_dict())
    with torch.no_grad():
        theirs = float(nn.functional.cross_entropy(module(images_first(x)), torch.tensor(y)))
    loss, _ = net.loss_and_gradients(bp.SoftmaxCrossEntropy(), x, y, training=False)
    assert loss == pytest.approx(theirs, rel=1e-5)
    trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(), bp.Adam(0.01), batch_size=16)
    history = trainer.fit(x, y, epochs=20, verbose=False)
    assert history["loss"][-1] < 0.7 * loss


def test_a_flattened_map_goes_both_ways() -> None:
    """A decoder: the columns of the Dense before the Reshape stand in the other order, and a norm between."""
    layers = bp.Sequential(
        bp.Dense(24),
        bp.BatchNorm(),
        bp.ReLU(),
        bp.Reshape((3, 2, 4)),
        bp.Conv2D(2, 3, padding=1),
        bp.Flatten(),
        bp.Dense(3),
    )
    module = nn.Sequential(
        nn.Linear(5, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Unflatten(1, (4, 3, 2)), nn.Conv2d(4, 2, 3, padding=1),
        nn.Flatten(), nn.Linear(12, 3),
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(7, 5)).astype("float32")
    net = bp.Network(layers, 5, device="cpu")
    assert compared(net, module, x).complete
    again = nn.Sequential(*module)
    again.load_state_dict({name: torch.from_numpy(a) for name, a in net.to_torch_state().items()})
    np.testing.assert_allclose(again(torch.tensor(x)).detach().numpy(), net.predict(x), rtol=1e-4, atol=1e-5)


class Beside(nn.Module):
    """f(x) + x"""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Side(nn.Module):
    """[f(x), g(x)]"""

    def __init__(self, *inner):
        super().__init__()
        self.inner = nn.ModuleList(inner)

    def forward(self, x):
        return torch.cat([one(x) for one in self.inner], dim=1)


def test_flattened_maps_in_residual_and_parallel() -> None:
    """Behind a Residual the features keep PyTorch's order, and so the columns of its Dense do; side by side, one part
    has it and the other does not."""
    layers = bp.Sequential(
        bp.Conv2D(2, 2),
        bp.Parallel(bp.Sequential(bp.Flatten(), bp.LayerNorm()), bp.Sequential(bp.GlobalAvgPool2D(), bp.Dense(3))),
        bp.Residual(bp.Sequential(bp.Dense(4), bp.Tanh(), bp.Dense(21))),
        bp.Dense(2),
    )
    module = nn.Sequential(
        nn.Conv2d(1, 2, 2),
        Side(
            nn.Sequential(nn.Flatten(), nn.LayerNorm(18)),
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)),
        ),
        Beside(nn.Sequential(nn.Linear(21, 4), nn.Tanh(), nn.Linear(4, 21))),
        nn.Linear(21, 2),
    )
    x = np.random.default_rng(0).normal(size=(4, 4, 4, 1)).astype("float32")
    assert compared(bp.Network(layers, (4, 4, 1), device="cpu"), module, x, images_first(x)).complete


def test_convolutions_over_time_are_flattened_channel_by_channel() -> None:
    layers = bp.Sequential(bp.Conv1D(4, 3), bp.ReLU(), bp.MaxPool1D(2), bp.Flatten(), bp.Dense(2))
    module = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(), nn.Linear(12, 2))
    x = np.random.default_rng(0).normal(size=(5, 8, 3)).astype("float32")
    assert compared(bp.Network(layers, (8, 3), device="cpu"), module, x, images_first(x)).complete


def test_transposed_and_dilated_convolutions() -> None:
    """And those of volumes, whose flattened maps have the channels first there."""
    layers = bp.Sequential(
        bp.Conv2D(4, 3, padding=2, dilation=2, groups=2), bp.ReLU(), bp.Conv2DTranspose(6, 4, 2, 1, groups=2),
        bp.Tanh(), bp.Flatten(), bp.Dense(3),
    )  # fmt: skip
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=2, dilation=2, groups=2), nn.ReLU(),
        nn.ConvTranspose2d(4, 6, 4, 2, 1, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 6 * 8, 3),
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(5, 3, 4, 2)).astype("float32")
    assert compared(bp.Network(layers, (3, 4, 2), device="cpu"), module, x, images_first(x)).complete
    layers = bp.Sequential(bp.Conv3D(4, (1, 2, 3)), bp.ReLU(), bp.Conv3DTranspose(2, 2, 2), bp.Flatten(), bp.Dense(2))
    module = nn.Sequential(
        nn.Conv3d(3, 4, (1, 2, 3)), nn.ReLU(), nn.ConvTranspose3d(4, 2, 2, 2), nn.Flatten(), nn.Linear(2 * 4 * 4 * 4, 2)
    )
    x = np.random.default_rng(0).normal(size=(5, 2, 3, 4, 3)).astype("float32")
    assert compared(bp.Network(layers, (2, 3, 4, 3), device="cpu"), module, x, images_first(x)).complete
    layers = bp.Sequential(bp.Conv1DTranspose(4, 3, padding=0, stride=4), bp.Flatten(), bp.Dense(2))
    module = nn.Sequential(nn.ConvTranspose1d(3, 4, 3, 4), nn.Flatten(), nn.Linear(4 * 15, 2))
    x = np.random.default_rng(0).normal(size=(5, 4, 3)).astype("float32")
    assert compared(bp.Network(layers, (4, 3), device="cpu"), module, x, images_first(x)).complete


class Reader(nn.Module):
    """Words, a recurrent module, and a Linear on the last or on all states."""

    def __init__(self, kind, **options):
        super().__init__()
        self.words = nn.Embedding(11, 5)
        self.rnn = kind(5, 4, batch_first=True, **options)
        self.head = nn.Linear(4 * (1 + self.rnn.bidirectional), 2)

    def forward(self, x):
        return self.head(self.rnn(self.words(x))[0])


KINDS = [(nn.RNN, bp.SimpleRNN), (nn.LSTM, bp.LSTM), (nn.GRU, bp.GRU)]


@pytest.mark.parametrize(("theirs", "ours"), KINDS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_recurrent_networks(theirs, ours, layers: int, bidirectional: bool, bias: bool) -> None:
    module = Reader(theirs, num_layers=layers, bidirectional=bidirectional, bias=bias)
    one = ours(4, return_sequences=True)
    stack = [bp.Bidirectional(one) if bidirectional else one] * layers
    net = bp.Network(bp.Sequential(bp.Embedding(11, 5), *stack, bp.Dense(2)), 6, device="cpu")
    x = np.random.default_rng(0).integers(0, 11, (4, 6))
    assert compared(net, module, x).complete


class Transformer(nn.Module):
    """An encoder's block with the norms first, registered in the order in which it computes."""

    def __init__(self, bias=True):
        super().__init__()
        self.words, self.places = nn.Embedding(9, 8), nn.Parameter(torch.randn(1, 6, 8))
        self.norm1, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True, bias=bias)
        self.norm2, self.linear1, self.linear2 = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = self.words(x) + self.places
        y = self.norm1(x)
        x = x + self.attention(y, y, y)[0]
        x = x + self.linear2(torch.relu(self.linear1(self.norm2(x))))
        return self.head(x.mean(dim=1))


def transformer():
    block = [
        bp.Residual(bp.Sequential(bp.LayerNorm(), bp.MultiHeadAttention(2))),
        bp.Residual(bp.Sequential(bp.LayerNorm(), bp.Dense(16), bp.ReLU(), bp.Dense(8))),
    ]
    layers = bp.Sequential(bp.Embedding(9, 8), bp.PositionalEmbedding(6), *block, bp.MeanOverTime(), bp.Dense(3))
    return bp.Network(layers, 6, device="cpu")


@pytest.mark.parametrize("bias", [False, True])
def test_a_transformer(bias: bool) -> None:
    """A module's own parameters come first in a state dict, so that the positions come before the words there."""
    net = transformer()
    x = np.random.default_rng(0).integers(0, 9, (4, 6))
    report = compared(net, Transformer(bias), x)
    assert report.complete
    notes = [note for one in report.taken for note in one.notes]
    assert any("through WO into bO" in note for note in notes) == bias


def test_an_encoder_layer_of_pytorch() -> None:
    """nn.TransformerEncoderLayer registers its norms last: their numbers say which is which, and so does rename."""
    block = [
        bp.Residual(bp.Sequential(bp.LayerNorm(), bp.MultiHeadAttention(2))),
        bp.Residual(bp.Sequential(bp.LayerNorm(), bp.Dense(16), bp.ReLU(), bp.Dense(8))),
    ]
    net = bp.Network(bp.Sequential(*block, *block), (5, 8), device="cpu")
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    x = np.random.default_rng(0).normal(size=(4, 5, 8)).astype("float32")
    report = compared(net, module, x)
    assert report.complete and {one.by for one in report.taken} == {"shape and number"}
    inside = {"norm1": "0.0", "self_attn": "0.1", "norm2": "1.0", "linear1": "1.1", "linear2": "1.3"}
    rename = {}
    for k in (0, 1):
        for theirs, ours in inside.items():
            half, place = ours.split(".")
            rename[f"layers.{k}.{theirs}"] = f"{2 * k + int(half)}.0.{place}"
    assert compared(net, module, x, rename=rename).complete


def test_bfloat16_half_and_gradients() -> None:
    """Numbers of other types, and tensors that are being trained, are taken as they are."""
    module = nn.Linear(3, 2)
    for dtype in (torch.bfloat16, torch.float16, torch.float64, torch.float32):
        state = dict(module.to(dtype).named_parameters())
        net = bp.Network(bp.Dense(2), 3, device="cpu", dtype="float64")
        net.load_torch(state)
        wanted = state["weight"].detach().double().numpy().T
        np.testing.assert_array_equal(net.parameters["W"], wanted)


@pytest.mark.parametrize(
    "value", [torch.zeros(2, 3, device="meta"), torch.zeros(2, 3).to_sparse(), torch.zeros(2, 3) * 1j]
)
def test_tensors_without_numbers_are_refused(value) -> None:
    net = bp.Network(bp.Dense(2, use_bias=False), 3, device="cpu")
    before = net.parameters["W"].copy()
    with pytest.raises(bp.errors.ModelFileError, match="weight"):
        net.load_torch({"weight": value})
    np.testing.assert_array_equal(net.parameters["W"], before)


def test_a_module_in_place_of_its_state_dict() -> None:
    with pytest.raises(TypeError, match="state_dict"):
        bp.Network(bp.Dense(2), 3, device="cpu").load_torch(nn.Linear(3, 2))


TRAINED = [case for case in LAYERS if bp.Network(case.layer, case.shape[1:], device="cpu").parameters]


@pytest.mark.parametrize("case", TRAINED, ids=str)
def test_what_pytorch_was_given_comes_back_to_the_bit(case) -> None:
    """Through tensors, for every kind of layer; -0.0 too."""
    rng = np.random.default_rng(0)
    net = bp.Network(case.layer, case.shape[1:], device="cpu")
    for a in (*net.parameters.values(), *net.states.values()):
        a[...] = rng.normal(size=a.shape)
        a.reshape(-1)[0] = -0.0
    state = {name: torch.from_numpy(a) for name, a in net.to_torch_state().items()}
    again = bp.Network(case.layer, case.shape[1:], device="cpu", seed=1)
    report = again.load_torch(state, strict=True)
    assert report.complete and {one.by for one in report.taken} == {"name"}
    for name in (*net.parameters, *net.states):
        ours, theirs = ((n.parameters if name in n.parameters else n.states)[name] for n in (net, again))
        assert ours.tobytes() == theirs.tobytes(), name


def test_the_state_fits_the_same_layers_of_pytorch() -> None:
    """load_state_dict is strict, and takes it."""
    layers = bp.Sequential(
        bp.Conv2D(4, 3, groups=2), bp.BatchNorm(), bp.ReLU(), bp.Flatten(), bp.Dense(6), bp.LayerNorm(), bp.Dense(2)
    )
    net = bp.Network(layers, (4, 4, 2), device="cpu", seed=3)
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6), nn.LayerNorm(6),
        nn.Linear(6, 2),
    )  # fmt: skip
    module.load_state_dict({name: torch.from_numpy(a) for name, a in net.to_torch_state().items()})
    x = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype("float32")
    with torch.no_grad():
        np.testing.assert_allclose(module.eval()(images_first(x)).numpy(), net.predict(x), rtol=1e-5, atol=1e-6)
    for kind, ours in KINDS:
        recurrent = bp.Network(bp.Bidirectional(ours(3)), (4, 2), device="cpu")
        kind(2, 3, bidirectional=True).load_state_dict(
            {name: torch.from_numpy(a) for name, a in recurrent.to_torch_state().items()}
        )
    attention = bp.Network(bp.MultiHeadAttention(2), (4, 6), device="cpu").to_torch_state()
    nn.MultiheadAttention(6, 2).load_state_dict({name: torch.from_numpy(a) for name, a in attention.items()})


def test_files_of_pytorch_are_refused_with_the_lines_that_convert_them(tmp_path) -> None:
    """The two lines are run, and what they write is read."""
    safetensors = pytest.importorskip("safetensors.torch")
    module = nn.Linear(3, 2)
    net = bp.Network(bp.Dense(2), 3, device="cpu")
    forms = [({}, "new.pt"), ({"_use_new_zipfile_serialization": False}, "old.bin"), ({}, "none")]
    for options, name in forms:
        path = tmp_path / name
        torch.save(module.state_dict(), path, **options)
        with pytest.raises(bp.errors.ModelFileError, match="is a pickle") as found:
            net.load_torch(path)
        lines = [line.strip() for line in str(found.value).splitlines() if line.startswith("    ")]
        code = "\n".join(lines).replace(name, str(path)).replace(f'"{path.stem}.safe', f'"{tmp_path / path.stem}.safe')
        exec(code, {"torch": torch, "save_file": safetensors.save_file})
        net.load_torch(path.with_suffix(".safetensors"))
        np.testing.assert_array_equal(net.parameters["W"], module.weight.detach().numpy().T)
