"""What column error feedback can make of nearest rounding, told by statistics alone.

    python feedback_limit.py model.stats.safetensors

With errors of equal size in all columns, independent of each other, nearest codes cost tr(H) and
feedback tr(diag(U)²), `UUᵀ = H` with U upper triangular and columns by descending diagonal. No order
and no factor of H makes that less than n det(H)^(1/n). Prints both over tr(H), as means over layers
with a whole H.
"""

import argparse

import numpy as np
from safetensors import safe_open

DAMPING = 0.01


def limits(file, module):
    covariance = file.get_tensor(f"{module}.covariance").astype(np.float64)
    mean = file.get_tensor(f"{module}.mean").astype(np.float64)
    moment = covariance + np.outer(mean, mean)
    diagonal = np.diag(moment)
    # Reversed, the lower factor is the upper one; the reversed order is the ascending one.
    order = np.argsort(diagonal, kind="stable")
    damped = moment[np.ix_(order, order)] + DAMPING * diagonal.mean() * np.eye(len(order))
    squares = np.diag(np.linalg.cholesky(damped)) ** 2
    return squares.mean() / diagonal.mean(), np.exp(np.log(squares).mean()) / diagonal.mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("statistics")
    with safe_open(parser.parse_args().statistics, "np") as file:
        modules = [k.removesuffix(".covariance") for k in file.keys() if k.endswith(".covariance")]
        found = np.array([limits(file, module) for module in modules])
    feedback, any_order = found.mean(axis=0)
    print(f"{len(found)} layers: feedback {feedback:.3f}, no order below {any_order:.3f}")


if __name__ == "__main__":
    main()
