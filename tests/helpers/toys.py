"""Toy models, which a command takes by name as `tests.helpers.toys:NAME`.

The first has one linear layer and a Gram known by hand.
"""

import torch
from torch import nn

from maskgap.instances.models.extract import extract_layers

TOKENS = torch.tensor([[1.0, 2.0, 0.0], [0.0, -1.0, 3.0], [2.0, 0.5, 1.0], [4.0, 0.0, -2.0]])
GRAM = (TOKENS.T @ TOKENS).double().numpy()  # small integers and halves: exact


class Net(nn.Module):
    """One linear layer `l`; its other arguments do nothing."""

    def __init__(self, d_in=3, d_out=2):
        super().__init__()
        self.l = nn.Linear(d_in, d_out)

    def forward(self, x, attention_mask=None, decoder_input_ids=None):
        return self.l(x)


def one(model, batches, layers="*", **options):
    found = list(extract_layers(model, batches, layers, **options))
    assert len(found) == 1
    return found[0]


def masked(x, mask):
    return {"x": torch.as_tensor(x), "attention_mask": torch.tensor(mask)}


def made():
    torch.manual_seed(0)
    return Net()


class Pooled2D(Net):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(3, 3)


class Blocks(torch.nn.Module):
    """Three blocks of one linear layer each, one after another."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def two_layers():
    """Y = W2 W1 x, small integers, no two scores alike."""
    model = nn.Sequential(nn.Linear(4, 4, bias=True), nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(
            torch.tensor([[1.0, 2, 3, 4], [4, 3, 2, 1], [-1, 5, 2, -3], [2, 1, 4, 3]])
        )
        model[0].bias.fill_(0.0)
        model[1].weight.copy_(
            torch.tensor([[3.0, 1, 4, 2], [1, -2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1]])
        )
    return model


def attention():
    """'tests.helpers.toys:attention': a block of torch's own transformer."""
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)


def large():
    """'tests.helpers.toys:large': a model of 16 KiB."""
    return nn.Linear(64, 64)


class Rounding(nn.Linear):
    """'tests.helpers.toys:Rounding': saves other numbers than it has."""

    def __init__(self):
        super().__init__(4, 2)

    def state_dict(self, *args, **kwargs):
        state = super().state_dict(*args, **kwargs)
        self.calls = getattr(self, "calls", 0) + 1
        return {n: t.round(decimals=1) if self.calls > 1 else t for n, t in state.items()}


BUILD = {}
"""What `chosen` builds next, so that one name stands for every kind of model."""


def chosen():
    torch.manual_seed(0)
    return BUILD["next"]()
