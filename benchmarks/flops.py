"""Floating-point operations of a program, their rate on this machine, and the parameters of a model."""

import math
import time

import jax


def count(function, *args):
    """Returns the operations of the matrix products and convolutions in `function(*args)`, which is only traced.

    A multiply-add counts two. A convolution counts all its taps, including those that fall on padding.

    Raises:
      ValueError: for a matrix product or convolution in a while loop.
    """
    return of_jaxpr(jax.make_jaxpr(function)(*args).jaxpr)


def of_jaxpr(jaxpr):
    return sum(map(of_equation, jaxpr.eqns))


def of_equation(equation):
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracting, _), _ = params["dimension_numbers"]
        return 2 * outputs(equation) * math.prod(equation.invars[0].aval.shape[axis] for axis in contracting)
    if name == "conv_general_dilated":
        kernel, out_axis = equation.invars[1].aval.shape, params["dimension_numbers"].rhs_spec[0]
        return 2 * outputs(equation) * (math.prod(kernel) // kernel[out_axis])
    inner = [of_jaxpr(jaxpr) for value in params.values() for jaxpr in jaxprs_in(value)]
    if name == "scan":
        return params["length"] * sum(inner)
    if name == "cond":
        return max(inner)
    if name == "while" and sum(inner):
        raise ValueError("matrix products in a while loop, whose number of iterations is unknown")
    return sum(inner)


def parameters(model):
    """Returns the number of parameters of a `models.Model`; nothing is computed."""
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def outputs(equation):
    return math.prod(equation.outvars[0].aval.shape)


def jaxprs_in(value):
    """Returns the jaxprs in a parameter of an equation, closed or open, alone or in a sequence."""
    if isinstance(value, (tuple, list)):
        return [jaxpr for each in value for jaxpr in jaxprs_in(each)]
    if hasattr(value, "eqns"):
        return [value.jaxpr if hasattr(value, "jaxpr") else value]
    return jaxprs_in(value.jaxpr) if hasattr(value, "jaxpr") else []


def matmul_rate(size, dtype, repetitions=10):
    """Returns the operations per second of the fastest of several square matrix products."""
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype)
    multiply = jax.jit(lambda a, b: a @ b)
    times = []
    for _ in range(1 + repetitions):  # the first compiles
        start = time.perf_counter()
        multiply(matrix, matrix).block_until_ready()
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)
