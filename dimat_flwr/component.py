"""What every exchangeable part (algorithm, topology, data set, ...) has in common: a strict, frozen pydantic dataclass.

A part is one class in one file and one yaml of ``conf/``, whose ``_target_`` names the class and whose other keys are
its fields. Declared as ``@dataclass(frozen=True, kw_only=True, config=STRICT)`` (pydantic's ``dataclass``), a wrong
key, type or value is refused with the field's name; checks across fields go into pydantic validators.
"""

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid", validate_default=True)
