"""The vocabulary as tables: what `docs/add-a-source.md` shows."""

from lora_ref.claims.registry import QUANTITIES, Parameter


def as_markdown() -> str:
    """Return a table of quantities for each topic.

    A key in brackets may be left out; what holds then stands behind it.
    """
    topics: dict[str, list[str]] = {}
    for q in QUANTITIES.values():
        keys = ", ".join(map(_key, q.parameters))
        row = f"| `{q.name}` | {q.means} | {keys} | {q.returns.description} |"
        topics.setdefault(q.topic, []).append(row)
    lines = []
    for topic in sorted(topics):
        lines += [f"### {topic}", "", "| quantity | what it is | keys | printed is |"]
        lines += ["|---|---|---|---|", *topics[topic], ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _key(parameter: Parameter) -> str:
    text = f"`{parameter.key}`"
    if parameter.kind.name in ("terms", "values"):
        text += " (a list)"
    if parameter.words:
        text += f" ({', '.join(parameter.words)})"
    if parameter.required:
        return text
    default = "" if parameter.default is None else f" = {parameter.default}".replace("F", "f")
    return f"[{text}]" if parameter.kind.name == "matrix" else f"[{text}{default}]"
