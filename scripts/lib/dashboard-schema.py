"""Whether a dashboard is one by Grafana's own schema, as its published models have it.

    python dashboard-schema.py FILE...

Needs Grafana's package grafana-foundation-sdk. Each file is read into the models and written
again: what is missing then is a key that Grafana does not know. Then each value is held against
the type that its model declares. Says what is wrong and ends with 1.
"""

import enum
import json
import sys
import typing

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

# Keys that Grafana writes itself and its models leave out: of annotations from Prometheus, and of variables.
BEYOND = {"definition", "step", "tagKeys", "textFormat", "titleFormat", "useValueForTime"}


def missing(ours, theirs, path):
    """What of `ours` is not in `theirs`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from missing(value, theirs[key], f"{path}.{key}")
            elif not (key in BEYOND and path.startswith(("$.annotations", "$.templating"))):
                yield f"{path}.{key}: Grafana knows no such key there"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs)):
            yield from missing(one, other, f"{path}[{index}]")
    elif ours != theirs:
        yield f"{path}: {ours!r} was read as {theirs!r}"


def fits(value, kind):
    """Whether a value is of a declared type."""
    origin = typing.get_origin(kind)
    if kind in (object, typing.Any) or value is None:
        return True
    if origin is typing.Union:
        return any(fits(value, one) for one in typing.get_args(kind))
    if origin is list:
        return isinstance(value, list) and all(fits(one, typing.get_args(kind)[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(one, typing.get_args(kind)[1]) for one in value.values())
    if origin is typing.Literal:
        return value in typing.get_args(kind)
    if not isinstance(kind, type):
        return True
    if issubclass(kind, enum.Enum):
        return value in [one.value for one in kind]
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    # Some parts are not read into their models but kept as they are.
    return isinstance(value, kind) or (isinstance(value, dict) and kind.__module__ != "builtins")


def wrong_types(model, path):
    """Values of a model, and of those inside it, that are not of their declared type."""
    if isinstance(model, list):
        for index, one in enumerate(model):
            yield from wrong_types(one, f"{path}[{index}]")
    elif isinstance(model, dict):
        for key, one in model.items():
            yield from wrong_types(one, f"{path}.{key}")
    elif type(model).__module__.startswith("grafana_foundation_sdk.models") and not isinstance(model, enum.Enum):
        declared = typing.get_type_hints(type(model).__init__)
        for name, value in vars(model).items():
            if name in declared and not fits(value, declared[name]):
                yield f"{path}.{name}: {value!r} is not a {declared[name]}"
            yield from wrong_types(value, f"{path}.{name}")


def main(files):
    plugins.register_default_plugins()
    count = 0
    for file in files:
        with open(file, encoding="utf-8") as opened:
            ours = json.load(opened)
        model = dashboard.Dashboard.from_json(ours)
        theirs = json.loads(JSONEncoder().encode(model))
        for problem in [*missing(ours, theirs, "$"), *wrong_types(model, "$")]:
            print(f"{file}: {problem}", file=sys.stderr)
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
