"""Warms up the learning rate of a Flax Linen model with a recipe, in a `TrainState`.

    python -m examples.flax_linen

Needs jax, optax and flax. A recipe is a published schedule under its own name: here linear warmup, a constant rate and
a cooldown over the last fifth of the run (warmup-stable-decay).
"""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training import train_state

from warmup_jax import schedules

NUM_STEPS = 100


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(64)(x))
        return nn.Dense(1)(x)[:, 0]


x = jax.random.normal(jax.random.key(1), (256, 16))
y = jnp.sin(x @ jax.random.normal(jax.random.key(2), (16,)))
rate = schedules.wsd(peak_lr=0.01, warmup_steps=20, num_steps=NUM_STEPS, decay_fraction=0.2)
print(*schedules.lint(rate, NUM_STEPS, peak_lr=0.01, warmup_steps=20) or ["lint: nothing suspicious"], sep="\n")

network = Network()
state = train_state.TrainState.create(
    apply_fn=network.apply, params=network.init(jax.random.key(0), x)["params"], tx=optax.adamw(rate)
)


@jax.jit
def update(state):
    loss, grads = jax.value_and_grad(lambda params: jnp.square(state.apply_fn({"params": params}, x) - y).mean())(
        state.params
    )
    return state.apply_gradients(grads=grads), loss


print("  update     rate     loss")
for t in range(NUM_STEPS):
    state, loss = update(state)
    if t in (0, 9, 19, 79, 89, NUM_STEPS - 1):
        print(f"{t + 1:8} {rate(t):8.4f} {loss:8.4f}")
