"""The published XSDs of ISO 11783-10 for the tests.

Version 4.3 comes with the PyPI package isoxml-writer as it was published. Version 3.3 comes as the classes that xsdata
generated from the published XSD for the PyPI package isoxml; `version_3` writes them back as a schema.
"""

from dataclasses import MISSING, fields
from decimal import Decimal
from enum import EnumType
from importlib.resources import files
from typing import Any, get_args, get_type_hints

import isoxml.models.base.v3 as iso3
from lxml import etree

XS = "{http://www.w3.org/2001/XMLSchema}"
FACETS = {
    "min_inclusive": "minInclusive", "max_inclusive": "maxInclusive", "min_length": "minLength",
    "max_length": "maxLength", "pattern": "pattern",
}  # fmt: skip
TYPES = {"str": "xs:string", "int": "xs:long", "Decimal": "xs:decimal", "float": "xs:double", "bytes": "xs:hexBinary"}


def version_4() -> etree.XMLSchema:
    path = files("isoxml_writer") / "ISOXML_schema" / "ISO11783_TaskFile_V4-3.xsd"
    return etree.XMLSchema(etree.parse(str(path)))


def version_3() -> etree.XMLSchema:
    root = etree.Element(f"{XS}schema", nsmap={"xs": XS[1:-1]})
    done, left = set(), [iso3.Iso11783TaskData]
    while left:
        kind = left.pop()
        if kind not in done:
            done.add(kind)
            left += _element(root, kind)
    return etree.XMLSchema(root)


def _element(root: Any, kind: type) -> list[type]:
    """Add an element, and give the classes of its children."""
    body = etree.SubElement(etree.SubElement(root, f"{XS}element", name=kind.Meta.name), f"{XS}complexType")
    hints = get_type_hints(kind, vars(iso3) | {kind.__name__: kind})
    parts = fields(kind)
    children = [part for part in parts if part.metadata["type"] == "Element"]
    if children:
        choice = etree.SubElement(body, f"{XS}choice", minOccurs="0", maxOccurs="unbounded")
        for part in children:
            etree.SubElement(choice, f"{XS}element", ref=part.metadata["name"])
    for part in parts:
        if part.metadata["type"] == "Attribute":
            _attribute(body, part, hints[part.name])
    return [_inner(hints[part.name]) for part in children]


def _inner(hint: Any) -> Any:
    """The class within `None | X` or `list[X]`."""
    return next((each for each in get_args(hint) if each is not type(None)), hint)


def _attribute(body: Any, part: Any, hint: Any) -> None:
    use = "required" if part.metadata.get("required") else "optional"
    attribute = etree.SubElement(body, f"{XS}attribute", name=part.metadata["name"], use=use)
    kind, full = _inner(hint), part.metadata.get("full_name", "")
    if getattr(kind, "__name__", "") == "XmlDateTime":
        attribute.set("type", "xs:dateTime")
        return
    simple = etree.SubElement(attribute, f"{XS}simpleType")
    if isinstance(kind, EnumType):
        allowed = etree.SubElement(simple, f"{XS}restriction", base="xs:NMTOKEN")
        for member in kind:
            value = member.value[0] if isinstance(member.value, tuple) else member.value  # a comma too many in isoxml
            etree.SubElement(allowed, f"{XS}enumeration", value=str(value))
        return
    is_id = part.metadata["name"] == "A" and full.endswith("Id") and "pattern" in part.metadata
    base = "xs:ID" if is_id else "xs:IDREF" if "IdRef" in full else TYPES[kind.__name__]
    limits = etree.SubElement(simple, f"{XS}restriction", base=base)
    for name, facet in FACETS.items():
        if name in part.metadata:
            etree.SubElement(limits, f"{XS}{facet}", value=_written(part.metadata[name]))
    assert part.default is not MISSING or not part.init


def _written(value: Any) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)  # xs:decimal has no exponent
