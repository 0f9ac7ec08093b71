"""A toy model with one linear layer and a Gram known by hand, for the tests of extraction."""

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
    """The model by name: 'tests.helpers.toys:made'."""
    torch.manual_seed(0)
    return Net()
