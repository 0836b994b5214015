"""Accumulates gradients with `optax.MultiSteps`: the warmup counts updates of the parameters, not batches.

    python -m examples.multisteps

Needs jax and optax. With gradients of 4 batches for each update, a warmup of 5 updates ends after 20 batches. Put the
schedule inside `MultiSteps`, as here; around it, it would count batches.
"""

import jax
import jax.numpy as jnp
import optax

from warmup_jax import schedules, transforms

ACCUMULATE, WARMUP_STEPS, NUM_BATCHES = 4, 5, 28

rate = schedules.combine(
    schedules.linear_warmup(WARMUP_STEPS), schedules.constant_decay(), peak_lr=0.1, num_steps=NUM_BATCHES // ACCUMULATE
)
sgd = optax.chain(optax.trace(0.9), transforms.scale_by_recorded_learning_rate(rate))
optimizer = optax.MultiSteps(sgd, every_k_schedule=ACCUMULATE)
teacher = jax.random.normal(jax.random.key(1), (16,))


@jax.jit
def step(params, state, key):
    x = jax.random.normal(key, (32, 16))
    loss, grads = jax.value_and_grad(lambda w: jnp.square(x @ w - x @ teacher).mean() / 2)(params)
    updates, state = optimizer.update(grads, state, params)  # zeros until the fourth batch
    return optax.apply_updates(params, updates), state, loss


params = jnp.zeros(16)
state = optimizer.init(params)
print("   batch  updates     rate     loss")
for batch in range(NUM_BATCHES):
    params, state, loss = step(params, state, jax.random.fold_in(jax.random.key(2), batch))
    if optimizer.has_updated(state):
        applied = transforms.current_learning_rate(state)
        print(f"{batch + 1:8} {state.gradient_step:8} {applied:8.4f} {loss:8.4f}")
