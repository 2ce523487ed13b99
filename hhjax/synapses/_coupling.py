"""What a coupling is, and several of them side by side."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._base.math import relax_by
from .._base.parameters import check_parameters, Checked, put, shown
from .._base.random import fold_in_name
from ..connect import Weights


class AbstractCoupling(Checked):
    """A way in which neurons act on each other.

    Its state is a pytree of arrays, of which each obeys dx/dt = drive − rate·x.

    **Fields:**

    - `pre`, `post`: the populations that send and receive, by name; by default all neurons.
    """

    pre: str | None = eqx.field(default=None, static=True, kw_only=True)
    post: str | None = eqx.field(default=None, static=True, kw_only=True)

    @abc.abstractmethod
    def steady_state(self, V: Float[Array, " pre"]) -> Any:
        """The state at rest when every sending neuron j is held at V_j (mV)."""

    @abc.abstractmethod
    def linear_form(self, V: Float[Array, " pre"], s: Any) -> tuple[Any, Any]:
        """(drive, rate) of the coupling's own state, in 1/ms, given V of the sending neurons."""

    @abc.abstractmethod
    def linear_current(self, V: Float[Array, " n"], s: Any) -> tuple[Array, Array]:
        """(drive µA/cm², conductance mS/cm²): the inward current drive − conductance·V.

        `V` is that of the n receiving neurons.
        """

    @abc.abstractmethod
    def check(self, n: int, pre: int | None = None) -> None:
        """Refuse parameters that do not fit n receiving and `pre` (by default n) sending neurons."""

    def sizes(self, n: int, pre: int) -> dict[str, int]:
        """The sizes that a parameter may have besides being a scalar, by the end it belongs to."""
        return {"post": n, "pre": pre}

    def _check_made(self) -> None:
        for end in ("pre", "post"):
            if not isinstance(name := getattr(self, end), str | None):
                raise TypeError(f"`{end}` must be the name of a population, got {shown(name)}.")

    def junctions(self, n: int) -> list[tuple[slice, Weights]]:
        """Conductances W (mS/cm²) of a current Σⱼ Wᵢⱼ (Vⱼ − Vᵢ), and the neurons, of n, which it joins.

        This current is not part of `linear_current`.
        """
        return []

    @property
    def V_is_linear(self) -> bool:
        """Whether the current is linear in V at fixed s."""
        return True

    @property
    def states_are_independent(self) -> bool:
        """Whether at fixed V no part of the state acts on another."""
        return True

    @property
    def flow_is_exact(self) -> bool:
        """Whether `flow` is exact."""
        return self.states_are_independent

    def flow(self, V: Float[Array, " pre"], s: Any, dt: Array, at: Any) -> Any:
        """The state `s` after `dt` (ms) with V held, each part with the others as they are in `at`."""
        drive, rate = self.linear_form(V, at)
        return jax.tree.map(lambda x, *form: relax_by(x, form, dt), s, drive, rate)

    def links(self, s: Any) -> dict[tuple[int, int], Array]:
        """How much (1/ms) of a leaf of the state, which none feeds, feeds another at fixed V.

        By (fed, feeding), which are numbers in `jax.tree.leaves(s)`; what is not named costs `exp_euler`
        no more than accuracy.
        """
        return {}

    def renewed(self, s: Any) -> Any:
        """A state that an older version saved as this one has it; any other as it is."""
        return s

    @property
    def has_events(self) -> bool:
        """Whether `after_step` does anything."""
        return False

    def after_step(self, t: Array, end: Array, dt: Array, before: Array, after: Array, s: Any) -> Any:
        """The state at the end of a step, after what spikes within it bring about.

        **Arguments:** `t`, `end`: start and end of the step, ms; `dt`: its length, ms; `before`,
        `after`: V of the sending neurons at its start and end, mV; `s`: the state at its end.
        """
        return s

    def with_keys(self, key: Array | None) -> "AbstractCoupling":
        """The coupling with random keys for a run, made from `key`, where it needs some and has none.

        **Raises:** `ValueError` where `key` is `None` and the coupling needs one.
        """
        return self

    def missed(self, s: Any) -> Bool[Array, ""]:
        """Whether the state is not finite because `after_step` could not hold a spike."""
        return jnp.asarray(False)


class Couplings(AbstractCoupling):
    """Couplings by name, each between the populations that its `pre` and `post` name.

    Made by [`hh.Network`][] from a dict. Its state is a dict of theirs.

    **Fields:** `parts`: the couplings; `ranges`: name, start and stop of each population in V;
    `n`: how many neurons there are.
    """

    parts: dict[str, AbstractCoupling]
    ranges: tuple[tuple[str, int, int], ...] = eqx.field(static=True)
    n: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        known = [name for name, _, _ in self.ranges]
        for name, part in self.parts.items():
            if not isinstance(part, AbstractCoupling):
                raise TypeError(
                    f"`coupling[{name!r}]` must be a coupling such as hh.GradedSynapse(W), got {part!r}."
                )
            for field in ("pre", "post"):
                end = getattr(part, field)
                if end is not None and end not in known:
                    raise ValueError(f"`coupling[{name!r}].{field}` must be one of {known}, got {end!r}.")

    def _range(self, name: str | None) -> slice:
        found = [slice(start, stop) for known, start, stop in self.ranges if known == name]
        return found[0] if found else slice(0, self.n)

    def _ends(self, part: AbstractCoupling) -> tuple[slice, slice]:
        return self._range(part.post), self._range(part.pre)

    def steady_state(self, V: Float[Array, " n"]) -> dict[str, Any]:
        return {name: part.steady_state(V[self._range(part.pre)]) for name, part in self.parts.items()}

    def linear_form(self, V: Float[Array, " n"], s: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        forms = {
            name: part.linear_form(V[self._range(part.pre)], s[name]) for name, part in self.parts.items()
        }
        return {k: form[0] for k, form in forms.items()}, {k: form[1] for k, form in forms.items()}

    def linear_current(self, V: Float[Array, " n"], s: Any) -> tuple[Array, Array]:
        drive, conductance = jnp.zeros_like(V), jnp.zeros_like(V)
        for name, part in self.parts.items():
            post = self._range(part.post)
            driven, conducted = part.linear_current(V[post], s[name])
            drive, conductance = drive.at[post].add(driven), conductance.at[post].add(conducted)
        return drive, conductance

    def junctions(self, n: int) -> list[tuple[slice, Weights]]:
        found = []
        for part in self.parts.values():
            post = self._range(part.post)
            for at, weights in part.junctions(post.stop - post.start):
                found.append((slice(post.start + at.start, post.start + at.stop), weights))
        return found

    def check(self, n: int, pre: int | None = None) -> None:
        for name, part in self.parts.items():
            post, sending = (end.stop - end.start for end in self._ends(part))
            try:
                part.check(post, None if part.pre == part.post else sending)
            except ValueError as error:
                raise ValueError(str(error).replace("`coupling.", f"`coupling[{name!r}].")) from None
            check_parameters(part, f"network.coupling[{name!r}]", part.sizes(post, sending))

    @property
    def V_is_linear(self) -> bool:
        return all(part.V_is_linear for part in self.parts.values())

    @property
    def states_are_independent(self) -> bool:
        return all(part.states_are_independent for part in self.parts.values())

    @property
    def flow_is_exact(self) -> bool:
        return all(part.flow_is_exact for part in self.parts.values())

    def flow(self, V: Float[Array, " n"], s: Any, dt: Array, at: Any) -> dict[str, Any]:
        return {
            name: part.flow(V[self._range(part.pre)], s[name], dt, at[name])
            for name, part in self.parts.items()
        }

    def links(self, s: Any) -> dict[tuple[int, int], Array]:
        found, first = {}, 0
        for name in sorted(self.parts):  # as jax orders the leaves of a dict
            for (fed, feeding), rate in self.parts[name].links(s[name]).items():
                found[first + fed, first + feeding] = rate
            first += len(jax.tree.leaves(s[name]))
        return found

    def renewed(self, s: Any) -> Any:
        if not isinstance(s, dict):
            return s
        return {name: self.parts[name].renewed(x) if name in self.parts else x for name, x in s.items()}

    @property
    def has_events(self) -> bool:
        return any(part.has_events for part in self.parts.values())

    def after_step(
        self, t: Array, end: Array, dt: Array, before: Array, after: Array, s: Any
    ) -> dict[str, Any]:
        def each(name: str, part: AbstractCoupling) -> Any:
            pre = self._range(part.pre)
            return part.after_step(t, end, dt, before[pre], after[pre], s[name])

        return {name: each(name, part) for name, part in self.parts.items()}

    def with_keys(self, key: Array | None) -> AbstractCoupling:
        own = lambda name: None if key is None else fold_in_name(key, name)
        return put(self, parts={name: part.with_keys(own(name)) for name, part in self.parts.items()})

    def missed(self, s: Any) -> Bool[Array, ""]:
        return jnp.stack([part.missed(s[name]) for name, part in self.parts.items()]).any()
