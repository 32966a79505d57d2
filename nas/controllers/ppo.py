"""Proximal policy optimization (Schulman et al. 2017, arXiv:1707.06347) of the LSTM policy, in JAX, on the CPU.

JAX is imported inside the functions, and its arrays stay in them: parameters and optimizer state go in and come out as
numpy, so that a state is a plain value.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nas.controllers.policy import MASKED, Layout, Params, cell

if TYPE_CHECKING:
    import jax
    import optax

    Array: TypeAlias = jax.Array
    Arrays: TypeAlias = Mapping[str, jax.Array | np.ndarray]


@dataclass(frozen=True)
class Ppo:
    """Clipping range of the probability ratio, gradient steps an update, Adam's rate, weights of the loss' other terms."""

    clip: float
    passes: int
    learning_rate: float
    entropy: float
    imitation: float


@dataclass(frozen=True)
class Batch:
    """n walks. `old` are log-probabilities (n, T) when they were sampled; rows with the weight 0 are padding.

    `learned` (n,) weighs the walks whose probability is raised as such (imitation), `advantages` (n,) those that PPO is for.
    """

    tokens: np.ndarray
    active: np.ndarray
    old: np.ndarray
    advantages: np.ndarray
    weights: np.ndarray
    learned: np.ndarray


def init_optimizer(ppo: Ppo, params: Params) -> optax.OptState:
    """Adam's state before the first step."""
    import jax

    with jax.default_device(_cpu()):
        return jax.tree.map(np.asarray, _adam(ppo).init(dict(params)))


def update(
    ppo: Ppo, layout: Layout, params: Params, optimizer: optax.OptState, batch: Batch
) -> tuple[Params, optax.OptState]:
    """Parameters and optimizer state after `ppo.passes` steps on the batch."""
    import jax

    data = {**vars(batch), "options": layout.options}
    data = {key: value.astype(np.float32 if value.dtype == np.float64 else value.dtype) for key, value in data.items()}
    after = _compiled(ppo)(*jax.device_put((dict(params), optimizer, data), _cpu()))
    return jax.tree.map(np.asarray, after)


def _cpu() -> Any:
    """The CPU even where an accelerator is the default; where JAX sees no CPU, its first device."""
    import jax

    try:
        return jax.devices("cpu")[0]
    except RuntimeError:
        return jax.devices()[0]


@functools.cache
def _compiled(ppo: Ppo) -> Callable[..., tuple[optax.Params, optax.OptState]]:
    import jax
    import optax

    adam = _adam(ppo)

    @jax.jit
    def run(params: optax.Params, optimizer: optax.OptState, data: Arrays) -> tuple[optax.Params, optax.OptState]:
        def step(_: Array, carry: tuple[optax.Params, optax.OptState]) -> tuple[optax.Params, optax.OptState]:
            params, optimizer = carry
            updates, optimizer = adam.update(jax.grad(_loss)(params, data, ppo), optimizer, params)
            return optax.apply_updates(params, updates), optimizer

        return jax.lax.fori_loop(0, ppo.passes, step, (params, optimizer))

    return run


def _adam(ppo: Ppo) -> optax.GradientTransformation:
    import optax

    return optax.adam(ppo.learning_rate)


def _loss(params: Arrays, data: Arrays, ppo: Ppo) -> Array:
    """Mean over active decisions of PPO's clipped surrogate, less the entropy bonus, and the imitation term."""
    import jax.numpy as jnp

    log_probs, entropies = _walk(params, data)
    advantages = data["advantages"][:, None]
    ratio = jnp.exp(jnp.clip(log_probs - data["old"], -10.0, 10.0))
    gain = jnp.minimum(ratio * advantages, jnp.clip(ratio, 1 - ppo.clip, 1 + ppo.clip) * advantages)
    counted = data["active"] * data["weights"][:, None]
    learned = data["active"] * data["learned"][:, None]
    loss = -((gain + ppo.entropy * entropies) * counted).sum() / jnp.maximum(counted.sum(), 1e-6)
    return loss - ppo.imitation * (log_probs * learned).sum() / jnp.maximum(learned.sum(), 1e-6)


def _walk(params: Arrays, data: Arrays) -> tuple[Array, Array]:
    """Log-probabilities of the tokens and entropies of their softmaxes, both (n, T)."""
    import jax
    import jax.numpy as jnp

    n, hidden = len(data["tokens"]), params["lstm"].shape[1] // 4

    def step(
        carry: tuple[Array, Array, Array], now: Sequence[Array | np.ndarray]
    ) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
        x, h, c = carry
        embed, head, bias, options, token, active = now
        h, c = cell(jnp, params, x, h, c)
        logits = jnp.where(options[None, :], h @ head + bias[None, :], MASKED)
        log_p = jax.nn.log_softmax(logits, axis=1)
        entropy = -(jnp.exp(log_p) * log_p).sum(axis=1)
        chosen = jnp.take_along_axis(log_p, token[:, None], axis=1)[:, 0]
        return (embed[token] * active[:, None], h, c), (chosen, entropy)

    start = jnp.broadcast_to(params["start"][None, :], (n, len(params["start"])))
    state = jnp.zeros((n, hidden), jnp.float32)
    inputs = (params["embed"], params["head"], params["head_bias"], data["options"], data["tokens"].T, data["active"].T)
    _, (log_probs, entropies) = jax.lax.scan(step, (start, state, state), inputs)
    return log_probs.T, entropies.T
