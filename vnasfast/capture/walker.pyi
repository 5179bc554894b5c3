from typing_extensions import disjoint_base

@disjoint_base
class Walker:
    @property
    def name(self) -> str: ...
    @property
    def format(self) -> str: ...
