"""Descriptions of small models that several tests start from."""

BLOCKS = dict(
    width=8, heads=2, ffn_width=12, norm="post", norm_kind="layer", activation="relu", positions="sinusoidal",
    max_positions=8, bias=True, tied=False, scale_embedding=True, init="xavier", dropout=0.0, qk_norm=False,
    attention="own", scan_layers=False, remat=False, dtype="float32",
)  # fmt: skip
