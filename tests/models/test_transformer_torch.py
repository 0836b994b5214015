"""The encoder-decoder against PyTorch's nn.Transformer with the same weights."""

import numpy as np
import pytest

WIDTH, HEADS, VOCABULARY = 8, 2, 11


def tensors_of_block(block):
    """nn.TransformerEncoderLayer's or nn.TransformerDecoderLayer's state from the parameters of one block."""
    names = {"self_attention": "self_attn", "cross_attention": "multihead_attn"}
    norms = [name for name in ("self_attention_norm", "cross_attention_norm", "ffn_norm") if name in block]
    state = {}
    for ours, theirs in names.items():
        if ours in block:
            parts = [block[ours][name] for name in ("query", "key", "value")]
            state[f"{theirs}.in_proj_weight"] = np.concatenate([part["kernel"].T for part in parts])
            state[f"{theirs}.in_proj_bias"] = np.concatenate([part["bias"] for part in parts])
            state |= linear(f"{theirs}.out_proj", block[ours]["out"])
    state |= linear("linear1", block["ffn"]["up"]) | linear("linear2", block["ffn"]["down"])
    for i, name in enumerate(norms, 1):
        state |= {f"norm{i}.weight": block[name]["scale"], f"norm{i}.bias": block[name]["bias"]}
    return state


def linear(name, params):
    return {f"{name}.weight": params["kernel"].T, f"{name}.bias": params["bias"]}


def tensors_of_model(params, depths):
    state = {}
    for stack, depth in depths.items():
        for i in range(depth):
            tensors = tensors_of_block(params[f"{stack}_{i}"])
            state |= {f"{stack}.layers.{i}.{name}": value for name, value in tensors.items()}
        norm = params[f"{stack}_norm"]
        state |= {f"{stack}.norm.weight": norm["scale"], f"{stack}.norm.bias": norm["bias"]}
    return state


@pytest.mark.filterwarnings("ignore::UserWarning")  # its nested tensors, which it says it does not use
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_logits_are_those_of_torch(small_transformer, random_params, quick_jit, norm):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")
    model = small_transformer(norm=norm, encoder_depth=2, decoder_depth=2, positions="learned", tied=True)
    params = random_params(model)
    rng = np.random.default_rng(0)
    source, target = rng.integers(4, VOCABULARY, (3, 7)), rng.integers(4, VOCABULARY, (3, 6))
    source_segments = (np.arange(7) < np.array([[7], [4], [1]])).astype(np.int32)
    target_segments = (np.arange(6) < np.array([[5], [6], [2]])).astype(np.int32)
    inputs = dict(source=source, source_segments=source_segments, target=target, target_segments=target_segments)

    theirs = torch.nn.Transformer(WIDTH, HEADS, 2, 2, dim_feedforward=12, dropout=0.0, batch_first=True,
                                  norm_first=norm == "pre").eval()  # fmt: skip
    state = tensors_of_model(params, {"encoder": 2, "decoder": 2})
    theirs.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})

    def embedded(stack, row):
        positions = params[f"{stack}_positions"]["embedding"][: row.shape[1]]
        return torch.from_numpy(np.sqrt(WIDTH, dtype=np.float32) * params["tokens"]["embedding"][row] + positions)

    source_padding, target_padding = [torch.from_numpy(rows == 0) for rows in (source_segments, target_segments)]
    with torch.no_grad():
        x = theirs(embedded("encoder", source), embedded("decoder", target),
                   tgt_mask=torch.triu(torch.ones(6, 6, dtype=torch.bool), 1), src_key_padding_mask=source_padding,
                   tgt_key_padding_mask=target_padding, memory_key_padding_mask=source_padding)  # fmt: skip
        expected = x.numpy() @ params["tokens"]["embedding"].T
    logits = quick_jit(lambda *a: model.apply(*a, train=True, key=None)[0])(params, {}, inputs)
    real = target_segments == 1
    np.testing.assert_allclose(np.asarray(logits)[real], expected[real], rtol=1e-4, atol=1e-4)
    assert np.abs(expected[real]).max() > 1
