"""Gives each group of parameters a warmup of its own, as in fine-tuning: a long one for the body, none for the head.

    python -m examples.parameter_groups

Needs jax and optax. `scale_by_warmup` multiplies the updates of a finished chain, so it works with any optimizer and
with schedules that cannot be changed. Labels assign parameters to groups, as in `optax.partition`.
"""

import jax
import jax.numpy as jnp
import optax

from warmup_jax import schedules, transforms

NUM_STEPS = 50

params = {
    "body": jax.random.normal(jax.random.key(0), (16, 64)) / 4,  # stands for pretrained weights
    "head": jnp.zeros((64, 1)),
}
optimizer = optax.chain(
    optax.scale_by_adam(),
    transforms.scale_by_recorded_learning_rate(0.01),
    transforms.scale_by_warmup(
        {"pretrained": schedules.linear_warmup(40), "new": schedules.no_warmup()},
        labels={"body": "pretrained", "head": "new"},
    ),
)
x = jax.random.normal(jax.random.key(1), (256, 16))
y = jnp.sin(x @ jax.random.normal(jax.random.key(2), (16,)))


def loss_fn(params):
    return jnp.square((jax.nn.relu(x @ params["body"]) @ params["head"])[:, 0] - y).mean()


@jax.jit
def update(params, state):
    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss


state = optimizer.init(params)
print("  update     body     head     loss")
for t in range(NUM_STEPS):
    params, state, loss = update(params, state)
    if t in (0, 9, 19, 39, NUM_STEPS - 1):
        body, head = (transforms.current_learning_rate(state, label) for label in ("pretrained", "new"))
        print(f"{t + 1:8} {body:8.4f} {head:8.4f} {loss:8.4f}")
