"""XML without document types, by which a few bytes can grow to gigabytes."""

from pathlib import Path
from xml.etree import ElementTree as Xml

from agriseg.errors import DataError


class _Builder(Xml.TreeBuilder):
    def doctype(self, name: str, *_: str | None) -> None:
        raise ValueError(f"document type {name}")


def parsed_xml(path: Path, what: str) -> Xml.Element:
    """The root element of a file that should be `what`; raises `DataError` if damaged or with a document type."""
    try:
        return Xml.parse(path, Xml.XMLParser(target=_Builder())).getroot()  # noqa: S314 (no document types)
    except (Xml.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: is no {what} ({error}); export it again") from error
