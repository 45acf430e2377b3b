"""The check of a whole configuration: every violation is one sentence.

"SomeConfig.NAME: expected …; received …."
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcnn.setting_rules.relations import RELATIONS
from mrcnn.setting_rules.rules import RULES, is_right

if TYPE_CHECKING:
    from mrcnn.config import Config


def check_settings(config: Config) -> None:
    """Check every setting by itself, then beside the others.

    Raises:
        ValueError: with the name of the setting, what was expected and what was received.
    """
    for rule in RULES:
        for name in rule.names:
            if not is_right(rule, getattr(config, name)):
                raise _violation(config, name, rule.expected)
    for relation in RELATIONS:
        if not relation.check(config):
            raise _violation(config, relation.name, relation.expected(config))


def _violation(config: Config, name: str, expected: str) -> ValueError:
    received = getattr(config, name)
    return ValueError(
        f"{type(config).__name__}.{name}: expected {expected}; received {received!r}."
    )
