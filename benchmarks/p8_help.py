"""P8: `explr --help` and tab completion, beside those of a bare Hydra app."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from _timing import BARE_APP, EXPLR, alternate, checked, place, print_ratio, whole


def main() -> None:
    with place() as (folder, environment):
        print_ratio(
            "P8 --help",
            *alternate(
                partial(whole, (EXPLR, "--help"), folder, environment),
                partial(whole, (*BARE_APP, "--help"), folder, environment),
            ),
            "bare Hydra app",
            0.9,
        )

        # As the script that `-sc install=bash` prints asks for completions.
        def completion(command: Sequence[str], line: str) -> partial[float]:
            asking = {**environment, "COMP_LINE": line, "COMP_POINT": str(len(line))}
            query = (*command, "-sc", "query=bash")
            assert "framework=tensorflow" in checked(query, folder, asking)
            return partial(whole, query, folder, asking)

        print_ratio(
            "P8 tab completion",
            *alternate(
                completion((EXPLR,), "explr framework="),
                completion(BARE_APP, "python bare_app.py framework="),
            ),
            "bare Hydra app",
            0.9,
        )


if __name__ == "__main__":
    main()
