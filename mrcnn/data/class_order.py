"""The classes of a data set in the order of a network's, by their names."""

from __future__ import annotations

from collections.abc import Sequence

from mrcnn.data.dataset import Dataset

UNSEEN_SOURCE = "unseen"


def order_classes(dataset: Dataset, names: Sequence[str]) -> bool:
    """Number the classes of a data set as a network does.

    Classes that the network knows and the data set lacks get their numbers too; no image has them.

    Args:
        dataset: prepared; it is changed.
        names: the classes of the network, the background first.

    Returns:
        Whether anything changed.

    Raises:
        ValueError: the data set has a class that the network does not know, or a name twice.
    """
    own = [str(name) for name in dataset.class_names]
    if own[1:] == list(names[1:]):
        return False
    unknown = [name for name in own[1:] if name not in names[1:]]
    if unknown:
        raise ValueError(
            f"expected data of the classes that the network was trained on, "
            f"{', '.join(names[1:])}; received others too: {', '.join(unknown)}."
        )
    for kind, given in (("data set", own[1:]), ("network", list(names[1:]))):
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice:
            raise ValueError(
                f"the {kind} has several classes of one name, {', '.join(twice)}, so that classes "
                "cannot be told apart by their names; expected the same classes in one order: "
                f"{', '.join(names[1:])}; received {', '.join(own[1:])}."
            )
    known = dict(zip(own[1:], dataset.class_info[1:], strict=True))
    dataset.class_info = [
        dataset.class_info[0],
        *(
            known.get(name, {"source": UNSEEN_SOURCE, "id": number, "name": name})
            for number, name in enumerate(names[1:], start=1)
        ),
    ]
    dataset.prepare()
    return True
