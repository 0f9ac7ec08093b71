"""The options that say what is minimised, as they are given and as a problem gets them."""

from dataclasses import dataclass

from maskgap.instances.errors import InputError
from maskgap.instances.objective import ObjectiveSpec, objective_spec


@dataclass(frozen=True, slots=True)
class ObjectiveOptions:
    """As given. ridge: None for the objective's default."""

    objective: str = "mask"
    ridge: float | None = None

    def checked(self) -> ObjectiveSpec:
        """As a problem gets it. Raises InputError with one line that names the option."""
        try:
            return objective_spec(self.objective, self.ridge)
        except InputError as error:
            option = "--objective" if str(error).startswith("no objective") else "--ridge"
            raise InputError(f"{option}: {error}") from None

    def words(self) -> str:
        """The options as one would type them; nothing where they are the defaults."""
        name = "" if self.objective == "mask" else f" --objective {self.objective}"
        return name if self.ridge is None else f"{name} --ridge {self.ridge:g}"


DEFAULT_OBJECTIVE = ObjectiveOptions()
"""What is minimised unless something else is asked for."""
